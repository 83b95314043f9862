"""Ctrl-C while a command starts counts, whoever swallows it; SIGTERM cleans up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pipelines import cli, interrupts
from pipelines.console import Console
from pipelines.interrupts import stopped_by_signals
from tests.support.sketches import small_bundle
from tests.support.small_world import as_lines, requests, settings_file
from transforms.scoring.bundle import save_bundle


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


AT_WORK = """
import os, signal, sys, time
from pipelines.cli import main
from transforms.scoring import together

def interrupted(*_):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

# A shell that starts tests in the background has them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
together.session_scores = interrupted
sys.argv = ["distilwatch", *sys.argv[1:]]
main()
"""


def test_ctrl_c_at_work_gets_one_word_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "live.jsonl").write_bytes(b"\n".join(as_lines(requests(5, 4, 3_600_000))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
        save_bundle(small_bundle(), tmp_path / "bundle")
    passing = tmp_path / "passing"
    passing.mkdir()
    done = subprocess.run(
        [
            sys.executable, "-c", AT_WORK, "detect", "--input", tmp_path / "live.jsonl",
            "--bundle", tmp_path / "bundle", "--output", f"duckdb:///{tmp_path}/out.duckdb",
            "--config", settings_file(tmp_path),
        ],
        capture_output=True, text=True, check=False, timeout=240,
        env=os.environ | {"DISTILWATCH_HOME": str(tmp_path / "home"), "TMPDIR": str(passing)},
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert "Score sessions" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith("error: interrupted\n")
    assert not list(passing.iterdir())
    assert not (tmp_path / "out.duckdb").exists()


def test_signals_stop_gently_and_a_second_ctrl_c_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopped_by_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(2)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
