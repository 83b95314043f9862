from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest

from pipelines import cli
from pipelines.commands import group
from pipelines.drill import Drill

HEAVY = ("apache_beam", "sklearn", "pyod", "pandas", "numpy", "pydantic", "duckdb", "rich", "kafka")
COMMANDS = (
    "demo", "simulate", "train", "detect", "evaluate", "report", "explain", "known-texts", "config",
    "doctor", "completion",
)  # fmt: skip


def _run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.run(args)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["detect", "--help"], ["detekt"]])
def test_help_and_typos_import_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys; from pipelines import cli; cli.run(sys.argv[1:]); "
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=True
    )
    assert "HEAVY []" in done.stdout


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, "--help")
    assert code == 0
    for name in COMMANDS:
        assert f"  {name} " in out
    for words in ("0 done", "1 unexpected failure", "2 a mistake", "130 interrupted"):
        assert words in " ".join(out.split())


def test_the_version_says_what_decides_how_a_run_behaves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from apache_beam.version import __version__ as beam_version

    from transforms.coverage.layout import LAYOUT_VERSION
    from transforms.scoring.bundle import FORMAT

    code, out, _ = _run(capsys, "--version")
    told = {" ".join(line.split()[:-1]): line.split()[-1] for line in out.splitlines()}
    assert code == 0
    assert told["apache-beam"] == beam_version
    assert (told["bundle format"], told["sketch layout"]) == (str(FORMAT), str(LAYOUT_VERSION))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_completion(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    code, out, _ = _run(capsys, "completion", shell)
    assert code == 0
    assert "_DISTILWATCH_COMPLETE" in out


def test_completion_knows_commands_options_and_values() -> None:
    def complete(*words: str) -> set[str]:
        asked = os.environ | {
            "_DISTILWATCH_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["distilwatch", *words]),
            "COMP_CWORD": str(len(words)),
        }
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.cli"], capture_output=True, text=True, env=asked,
            check=True,
        )  # fmt: skip
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    assert {"detect", "demo"} <= complete("de")
    assert {"--dry-run"} <= complete("detect", "--dry")
    assert {"otlp", "kong"} <= complete("detect", "--input-format", "")


def _all_commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for below, one in command.commands.items():
            yield from _all_commands(one, f"{name} {below}")


@pytest.mark.parametrize(("name", "command"), list(_all_commands(group.cli, "distilwatch")))
def test_help_leaves_nothing_open(name: str, command: click.Command) -> None:
    assert command.help
    assert name == "distilwatch" or re.search(r"Examples?:\n(.*\n)? +.*distilwatch ", command.help)
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            chosen = option.is_flag or option.count or isinstance(option.type, click.Choice)
            assert chosen or option.metavar, (
                f"{option.opts} says of what type it is, not what it is"
            )
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=name, max_content_width=100)
        assert "..." not in command.get_help(context).split("Commands:")[1], "a sentence is cut"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    command = group.cli.commands[name]
    found = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    for one in found:
        assert one.help
        for parameter in one.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, parameter.name


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["detct"], "Did you mean 'detect'"),
        (["train", "--inptu", "x"], "Did you mean '--input'"),
        (["detect", "--input", "x", "--bundle", "b"], "--output"),
        (["detect", "--runner", "flnik"], "is not one of 'direct', 'prism'"),
        (["train", "--input", "a", "--bundle", "b", "--runner"], "requires an argument"),
    ],
)
def test_mistakes_in_the_command_line(
    capsys: pytest.CaptureFixture[str], args: list[str], hint: str
) -> None:
    code, out, err = _run(capsys, *args)
    assert code == 2
    assert hint.lower() in err.lower()
    assert not out


def test_all_problems_of_detect_are_told_at_once_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("sessions:\n  gapp: 3\n")
    (tmp_path / "events.jsonl").write_text("{}\n")
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = _run(
        capsys,
        "detect",
        "--input", str(tmp_path / "event.jsonl"),
        "--input", "kafak://127.0.0.1:9/t",
        "--bundle", str(tmp_path / "bundle"),
        "--output", f"duckdb:///{tmp_path}/file/out.duckdb",
        "--output", "bigqeury://p/d",
        "--output", "paquet:///p",
        "--config", str(settings),
        "--", "--direct_num_worker=2",
    )  # fmt: skip
    assert code == 2
    assert not out
    assert "Traceback" not in err
    assert "8 things" in err
    for words in (
        "did you mean gap?",
        f"did you mean {tmp_path}/events.jsonl?",
        "did you mean kafka://?",
        "did you mean parquet:?",
        "no bundle there",
        "out.duckdb",
        "bigqeury",
        "did you mean --direct_num_workers",
    ):
        assert words in err
    assert sorted(tmp_path.rglob("*")) == before


def test_all_problems_of_train_are_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        "scoring:\n  detectors:\n    - {name: KNN, params: {n_neighbours: 3}}\n"
        f"run:\n  tmp: {tmp_path}/gone\n"
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").write_text("x")
    code, _, err = _run(
        capsys,
        "train",
        "--input", str(tmp_path / "none" / "history.jsonl"),
        "--bundle", str(tmp_path / "other"),
        "--config", str(settings),
    )  # fmt: skip
    assert code == 2
    assert "Traceback" not in err
    assert "4 things" in err
    assert f"the folder does not exist (run.tmp {tmp_path}/gone)" in err
    assert "there is no folder" in err
    assert "something else than a bundle" in err
    assert "did you mean n_neighbors?" in err
    assert (tmp_path / "other" / "precious").exists()


def test_tables_and_labels_that_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("evaluate", "report"):
        code, _, err = _run(
            capsys,
            command,
            "--output", f"duckdb:///{tmp_path}/none.duckdb",
            "--labels", str(tmp_path / "none.jsonl"),
        )  # fmt: skip
        assert code == 2
        assert "2 things" in err
        assert "Traceback" not in err
    code, _, err = _run(capsys, "explain", "c-1", "--output", f"duckdb:///{tmp_path}/none.duckdb")
    assert code == 2
    assert "distilwatch detect" in err
    assert not list(tmp_path.iterdir())


def test_folders_to_read_from_are_looked_at_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    folders = ["--corpus", f"{tmp_path}/none", "--traces", f"{tmp_path}/file"]
    for command in (
        ["simulate", "--out", f"{tmp_path}/out.jsonl"],
        ["evaluate", "--protocol", "--out", f"{tmp_path}/out"],
    ):
        code, _, err = _run(capsys, *command, *folders)
        assert code == 2
        assert "2 things" in err
        assert f"the folder does not exist (--corpus {tmp_path}/none)" in err
        assert f"is a file, not a folder (--traces {tmp_path}/file)" in err
    code, _, err = _run(capsys, "train", "--input", str(tmp_path), "--bundle", f"{tmp_path}/b")
    assert code == 2
    assert f"give its files: '{tmp_path}/*.jsonl'" in err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_json_speaks_json_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _run(
        capsys, "explain", "c-1", "--output", f"duckdb:///{tmp_path}/none.duckdb", "--json"
    )
    assert code == 2
    assert json.loads(out)["error"]["kind"] == "mistake"
    assert not err


def test_unexpected_failures_say_where_and_exit_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("pipelines.config.load_config", fail)
    code, _, err = _run(capsys, "config", "show")
    assert code == 1
    assert "Traceback" in err
    assert "unexpected failure: RuntimeError: boom" in err


@pytest.fixture
def in_json(tmp_path: Path) -> Iterator[Path]:
    """Settings that ask for logs in JSON; what they change is as before afterwards."""
    path = tmp_path / "settings.yaml"
    path.write_text("observe: {log_format: json}\n", encoding="utf-8")
    before = logging.getLogger().handlers[:]
    yield path
    logging.getLogger().handlers[:] = before


def _detect(folder: Path) -> list[str]:
    return [
        "detect", "--input", f"{folder}/none.jsonl", "--bundle", f"{folder}/none", "--output",
        f"duckdb:///{folder}/out.duckdb",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["detect", "send", "triage"])
def test_the_error_that_ends_a_command_is_json_where_logs_are(
    command: str, in_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = ["--output", f"duckdb:///{tmp_path}/none.duckdb"]
    args = {"detect": _detect(tmp_path), "send": ["alerts", "send", *none],
            "triage": ["triage", *none, "--port", "0"]}  # fmt: skip
    code, out, err = _run(capsys, *args[command], "--config", str(in_json))
    assert (code, out) == (2, "")
    said = [json.loads(line) for line in err.splitlines()]
    assert said[-1]["level"] == "error"
    assert said[-1]["kind"] == "mistake"
    assert "none" in said[-1]["message"]
    # The next command of this process has settings of its own.
    assert "error: " in _run(capsys, *args[command])[2]


def test_an_unexpected_failure_is_one_object_where_logs_are_json(
    in_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("pipelines.telling.tell", fail)
    args = ["alerts", "send", "--output", f"duckdb:///{tmp_path}/x", "--config", str(in_json)]
    code, _, err = _run(capsys, *args)
    assert code == 1
    said = json.loads(err.splitlines()[-1])
    assert said["message"] == "unexpected failure: RuntimeError: boom"
    assert "in fail" in said["traceback"]


def test_our_errors_are_found_inside_what_a_runner_wraps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from schemas.errors import DistilwatchError

    def fail(*_: object, **__: object) -> None:
        try:
            raise DistilwatchError("disk full", "out.duckdb", "free some space")
        except DistilwatchError as error:
            raise RuntimeError("while running step 7") from error

    monkeypatch.setattr("pipelines.config.load_config", fail)
    code, _, err = _run(capsys, "config", "show")
    assert code == 2
    assert "disk full (out.duckdb): free some space" in err
    assert "Traceback" not in err


def test_our_errors_are_found_in_the_text_of_a_worker_and_lose_what_beam_put_in(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(
            "Traceback (most recent call last):\n  File x\nschemas.errors.DistilwatchError: disk "
            "full [while running 'Stage/Stage'] (/tmp): free some space\n"
        )

    monkeypatch.setattr("pipelines.config.load_config", fail)
    code, _, err = _run(capsys, "config", "show")
    assert code == 2
    assert err.endswith("error: disk full (/tmp): free some space\n")
    assert "Traceback" not in err


def test_interruption_exits_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.config.load_config", stop)
    assert _run(capsys, "config", "show")[0] == 130


# Sends this process a real Ctrl-C when a module is about to be imported.
INTERRUPTING = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

# A shell that starts tests in the background has them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
from pipelines.cli import run
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    "module",
    [
        "click",  # the first that is not Python's own
        "pipelines.commands.detect",
        "pydantic",
        "numpy._core._multiarray_umath",  # whose importer turns some errors into others
        "apache_beam",
    ],
)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_ctrl_c_while_the_command_starts_gets_one_word(
    module: str, more: list[str], tmp_path: Path
) -> None:
    (tmp_path / "events.jsonl").write_text("{}\n")
    detect = [
        "detect", "--input", f"{tmp_path}/events.jsonl", "--bundle", str(tmp_path),
        "--output", f"duckdb:///{tmp_path}/out.duckdb", *more,
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTING, module, *detect],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    if more:
        assert json.loads(done.stdout)["error"]["kind"] == "interrupted"
    else:
        assert done.stderr.endswith("error: interrupted\n")
        assert done.stderr.count("interrupted") == 1


@pytest.mark.parametrize(
    ("interrupted", "complete", "waiting", "dead", "code"),
    [
        (False, True, 0, 0, 0),
        (True, True, 0, 0, 130),
        (False, False, 0, 0, 2),
        (True, False, 0, 0, 130),
        (False, True, 2, 0, 2),
        (False, True, 0, 1, 2),
        (True, True, 2, 1, 130),
    ],
)
def test_detect_claims_only_what_was_written(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    interrupted: bool,
    complete: bool,
    waiting: int,
    dead: int,
    code: int,
) -> None:
    from pipelines.detect import DetectSummary

    health = {"read": 9, "scored": 6, "refused": 3, "refused_not_json": 1, "refused_late": 2}
    summary = DetectSummary(
        "run-1", "b1", health, {}, interrupted, complete, waiting=waiting, dead=dead
    )
    monkeypatch.setattr("pipelines.preflight.check_bundle", lambda _: None)
    monkeypatch.setattr("pipelines.detect.detect", lambda *_: summary)
    (tmp_path / "events.jsonl").write_text("{}\n")
    output = f"duckdb:///{tmp_path}/out.duckdb"
    exits, out, _ = _run(
        capsys, "detect", "--input", f"{tmp_path}/events.jsonl", "--bundle", "b", "--output", output
    )
    assert exits == code
    assert "Refused: 2 late, 1 not_json; each is in the table dead_letters" in out
    assert (output in out) == complete
    untold = f"Of the messages to people on call {waiting} wait and {dead} were given up"
    assert (untold in out) == bool(waiting or dead)
    if complete:
        send, look = ("alerts send", "alerts outbox list --state dead")
        assert (f"distilwatch {send} --output {output}" in out) == bool(waiting)
        assert (f"distilwatch {look} --output {output}" in out) == bool(dead)


def test_config_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown, _ = _run(capsys, "config", "show")
    assert code == 0
    file = tmp_path / "all.yaml"
    file.write_text(shown.replace("gap: 30 min", "gap: 20 min"))
    code, out, _ = _run(capsys, "config", "check", str(file))
    assert code == 0
    assert "Other than the defaults: sessions.gap." in out
    assert f"distilwatch doctor --config {file}" in out
    code, out, _ = _run(capsys, "config", "check", str(file), "--json")
    assert json.loads(out) == {"ok": True, "changed": ["sessions.gap"]}
    file.write_text("run: {paralelism: 2}\n")
    code, _, err = _run(capsys, "config", "check", str(file))
    assert code == 2
    assert "did you mean parallelism?" in err


def test_closed_pipes_are_no_failure() -> None:
    done = subprocess.run(
        f"{sys.executable} -m pipelines.cli config show | head -1",
        shell=True, capture_output=True, text=True, check=False, env={**os.environ},
    )  # fmt: skip
    assert "Traceback" not in done.stderr


def test_what_to_do_next_can_be_typed_where_the_command_is_not_on_the_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.console import Console

    program = tmp_path / ".venv" / "bin" / "distilwatch"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(program), "demo"])
    monkeypatch.setenv("PATH", "")
    Console().result({}, then=["distilwatch explain", "open it"])
    assert ".venv/bin/distilwatch explain\n  open it\n" in capsys.readouterr().out
    monkeypatch.setenv("PATH", str(program.parent))
    Console().result({}, then=["distilwatch explain"])
    assert "\n  distilwatch explain\n" in capsys.readouterr().out


def test_warnings_of_beam_that_concern_nobody_are_not_heard(
    caplog: pytest.LogCaptureFixture,
) -> None:
    import logging

    from pipelines.console import Console
    from schemas.errors import DistilwatchError

    Console()
    logging.warning("apitools not found, and bigquery client libraries are not available")
    logging.warning("the disk is nearly full")
    for told in (DistilwatchError("in one line"), KeyboardInterrupt(), SystemExit(143)):
        try:
            raise told
        except BaseException as error:
            logging.getLogger("apache_beam.runners.common").exception(error)
    assert [record.getMessage() for record in caplog.records] == ["the disk is nearly full"]


@pytest.mark.parametrize(("told_s", "missed"), [(None, []), (1.0, ["pager"])])
def test_a_drill_that_reached_nobody_ends_with_2(
    told_s: float | None, missed: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shown = Drill(24, 20, ["c-1"], "high", 3.0, told_s, {}, missed)
    monkeypatch.setattr("pipelines.drill.drill", lambda *_: shown)
    assert _run(capsys, "alerts", "drill")[0] == 2
    whole = replace(shown, told_s=1.0, missed=[])
    monkeypatch.setattr("pipelines.drill.drill", lambda *_: whole)
    assert _run(capsys, "alerts", "drill")[0] == 0
