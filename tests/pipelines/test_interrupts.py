"""Ctrl-C while a command starts counts, whoever swallows it; SIGTERM cleans up."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pipelines import cli, interrupts
from pipelines.console import Console
from pipelines.detect.endless import stopped_by_signals


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    # Tests that run in the background of a shell have been started to ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    at_the_end = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    interrupts.remember()
    yield
    signal.signal(signal.SIGINT, before)
    signal.signal(signal.SIGTERM, at_the_end)
    with suppress(KeyboardInterrupt):
        interrupts.raise_swallowed()


def swallow() -> None:
    """As a library does that catches everything around an import of its own."""
    with suppress(BaseException):
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()


def test_it_is_raised_once_where_a_command_looks() -> None:
    Console(plain=True).step("before")
    swallow()
    with pytest.raises(KeyboardInterrupt):
        Console(plain=True).step("after")
    Console(plain=True).step("and again")


def test_a_stream_does_not_start_that_was_stopped_meanwhile() -> None:
    swallow()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stopped_by_signals():
        raise AssertionError("it went on")
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_command_ends_with_130_although_an_import_swallowed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def detect(*_: object, **__: object) -> None:
        swallow()
        Console(plain=True).step("Verify the bundle")
        raise AssertionError("it went on")

    monkeypatch.setattr("pipelines.commands.group.cli.main", detect)
    monkeypatch.setattr(sys, "argv", ["distilwatch", "detect"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == cli.INTERRUPTED
    assert "interrupted" in capsys.readouterr().err


def test_who_was_started_to_ignore_it_does() -> None:
    """As in the background of a shell, or with nohup."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupts.remember()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_sigterm_leaves_nothing_behind_and_a_second_one_ends_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def detect(*_: object, **__: object) -> None:
        with TemporaryDirectory(dir=tmp_path):
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    monkeypatch.setattr("pipelines.commands.group.cli.main", detect)
    monkeypatch.setattr(sys, "argv", ["distilwatch", "detect"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 143
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
