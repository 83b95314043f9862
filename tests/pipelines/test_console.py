"""What commands say: names out of requests cannot give a terminal orders."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from pipelines import cli
from pipelines import console as console_module
from pipelines.console import Console
from schemas.errors import printable

NAME = "mallory\x1b]0;owned\x07\x1b[2J\u202e"


@pytest.mark.parametrize("plain", [True, False])
def test_nothing_that_a_terminal_obeys_is_passed_on(
    plain: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with Console(plain=plain) as console:
        console.step(f"Look at {NAME}")
        console.note(f"{NAME} is new")
        console.warn(f"{NAME} is odd")
        console.result({}, [f"{NAME}\tof a table"], wrote=[NAME], then=[NAME])
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert "mallory" in text
        assert "\x1b]0;owned" not in text
        assert "\x07" not in text
        assert "\u202e" not in text
    assert "\tof a table" in said.out


def test_json_has_the_name_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with Console(as_json=True) as console:
        console.result({"account": NAME})
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert json.loads(out)["account"] == NAME


@pytest.mark.parametrize(
    "command",
    [("explain", "--output", f"duckdb:///nowhere-{NAME}.duckdb"), ("explain", f"--{NAME}")],
)
def test_errors_too(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(command) == 2
    said = capsys.readouterr().err
    assert "mallory" in said
    assert "\x1b" not in said


def test_line_ends_stay_where_they_are_asked_for() -> None:
    assert printable("a\nb\r", "\n") == "a\nb\N{REPLACEMENT CHARACTER}"
    assert printable("a\nb") == "a\N{REPLACEMENT CHARACTER}b"


def test_what_follows_from_our_own_error_is_not_told_with_a_traceback(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000.0
    monkeypatch.setattr(console_module._worth_reading, "_told", 0.0)
    monkeypatch.setattr(console_module.time, "monotonic", lambda: now)
    log = logging.getLogger("apache_beam.runners.worker.sdk_worker")
    caplog.set_level(logging.ERROR, log.name)  # a stream that this process ran has left it quiet
    handler = logging.StreamHandler(sys.stderr)
    log.addHandler(handler)
    failed = "Error processing instruction %s. Original traceback is\n%s\n"
    try:
        with Console():
            log.error(failed, 1, "Traceback: RuntimeError: of a stranger")
            log.error(failed, 2, "Traceback: schemas.errors.DistilwatchError: no room")
            log.error(failed, 3, "Traceback: RuntimeError: cancelled")
            log.error("something else")
            now += 11
            log.error(failed, 4, "Traceback: RuntimeError: later")
    finally:
        log.removeHandler(handler)
    said = capsys.readouterr().err
    assert "of a stranger" in said
    assert "something else" in said
    assert "later" in said
    assert "no room" not in said
    assert "cancelled" not in said
