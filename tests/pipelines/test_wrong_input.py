"""What people get wrong: one message says how to mend it, and nothing is lost by it."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import cli
from pipelines.config import load_config
from pipelines.console import Console
from pipelines.decisions import the_one, undo_decision
from pipelines.evaluate import write_markdown
from pipelines.judge import judge
from pipelines.triage.audit import AuditLog
from pipelines.user import user_here
from pipelines.watching import try_indicators
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from tests.support.commands import query
from transforms.sharing.watch.listing import write_watch_list
from transforms.sinks.duckdb import write_tables

Said = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command that must end with the exit code of a mistake, and returns what it says."""

    def run(*arguments: object) -> str:
        assert cli.run([*map(str, arguments)]) == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return said

    return run


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A database of ours with one run, and nothing else."""
    path = tmp_path / "out.duckdb"
    health = [{"run_id": "run-1", "metric": "read", "value": 3}]
    write_tables(path, {"run_health": TABLES["run_health"].to_arrow(health)})
    return path


@pytest.mark.parametrize(
    "command",
    [
        ("tables", "query", "SELECT 1"), ("report",), ("explain",), ("triage",), ("doctor",),
        ("alerts", "send"), ("alerts", "outbox", "list"), ("dlq", "list"), ("tables", "compact"),
        ("forget", "acct-1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["duckdb", "parquet", "bigquery"])
def test_brackets_that_hold_no_address_are_told(
    command: tuple[str, ...], scheme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*command, "--output", f"{scheme}://[x/y"]) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert "[x/y" in out + err


def test_a_pattern_that_only_bash_knows_matches_no_file(tmp_path: Path, refused: Said) -> None:
    (tmp_path / "a.folder").mkdir()
    (tmp_path / "b.jsonl").write_text("{}\n")
    for pattern in ("**.nothing", "*.folder"):
        said = refused("train", "--input", tmp_path / pattern, "--bundle", tmp_path / "bundle")
        assert "no file matches" in said
    said = refused("train", "--input", tmp_path / "**.jsonl", "--bundle", tmp_path / "bundle")
    assert "no event of the history" in said  # as `glob` reads it, which is what reads the files


def test_a_folder_of_labels_is_called_one(tmp_path: Path, tables: Path, refused: Said) -> None:
    said = refused("evaluate", "--output", f"duckdb:///{tables}", "--labels", tmp_path)
    assert "is a folder, not a file" in said


def test_nothing_but_a_comment_is_no_query(tables: Path, refused: Said) -> None:
    for sql in ("", "-- nothing"):
        said = refused("tables", "query", "--output", f"duckdb:///{tables}", "--", sql)
        assert "there is no query" in said


def test_columns_of_one_name_are_no_json(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT 1 AS n, 2 AS m, 3 AS n"
    assert cli.run(["tables", "query", "--output", f"duckdb:///{tables}", "--json", sql]) == 2
    assert (
        "several columns are called n," in json.loads(capsys.readouterr().out)["error"]["message"]
    )


def test_settings_that_hold_themselves_are_no_yaml(tmp_path: Path, refused: Said) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("sessions: &a [*a]\n")
    assert "is not YAML" in refused("config", "check", path)


def test_a_value_that_beam_refuses_is_told_in_a_line(tmp_path: Path, refused: Said) -> None:
    (tmp_path / "e.jsonl").write_text("{}\n")
    said = refused(
        "train", "--input", tmp_path / "e.jsonl", "--bundle", tmp_path / "bundle", "--",
        "--direct_num_workers=many",
    )  # fmt: skip
    assert "Beam refuses an option: argument --direct_num_workers: invalid int value" in said
    assert "usage:" not in said


def test_figures_go_to_a_folder_that_is_made_or_it_is_said_why_not(tmp_path: Path) -> None:
    result = judge([], [], {})
    path = write_markdown(result, tmp_path / "new" / "figures.md")
    assert path.read_text().startswith("# Evaluation")
    with pytest.raises(DistilwatchError, match="cannot be written"):
        write_markdown(result, path / "figures.md")


def test_no_option_of_the_protocol_is_passed_over(tmp_path: Path, refused: Said) -> None:
    how = ("--protocol", "--only", "adaptive", "--out", tmp_path, "--markdown", tmp_path / "x.md")
    assert "--markdown cannot be used with --protocol" in refused("evaluate", *how)


def test_options_before_an_export_are_not_passed_over(refused: Said) -> None:
    for option in ("--output", "--config"):
        said = refused("triage", option, "x", "export", "c-1", "--output", "y", "--html", "z")
        assert "Give --output and --config after export" in said


def test_simulated_events_and_labels_need_files_of_their_own(tmp_path: Path, refused: Said) -> None:
    out = tmp_path / "events.jsonl"
    for option in ("--history", "--labels"):
        said = refused("simulate", "--out", out, option, f"{tmp_path}/./events.jsonl")
        assert f"two options name one file (--out, {option} " in said
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_database_is_not_waited_for(tmp_path: Path, refused: Said) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event_id": "e"}\n')
    began = time.monotonic()
    assert "is no DuckDB database" in refused("tables", "expire", "--output", f"duckdb:///{path}")
    assert time.monotonic() - began < 30  # a database that is locked is waited for, 60 s


def test_doctor_and_detect_see_that_what_the_settings_name_is_missing(
    tmp_path: Path, refused: Said, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "e.jsonl").write_text("{}\n")
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"run: {{tmp: {tmp_path}/none}}\nwatch: {{list: {tmp_path}/watch.json}}\n"
        f"observe: {{metrics_file: {tmp_path}/none/run.prom}}\n"
    )
    named = ("run.tmp", "watch.list", "observe.metrics_file")
    said = refused(
        "detect", "--config", settings, "--input", tmp_path / "e.jsonl", "--bundle", tmp_path,
        "--output", f"duckdb:///{tmp_path}/out.duckdb",
    )  # fmt: skip
    assert all(name in said for name in named)
    assert cli.run(["doctor", "--config", str(settings), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)["findings"]
    status = {one["name"]: one["status"] for one in found}
    assert [status[name] for name in named] == ["fail"] * 3


def test_an_empty_name_decides_nothing_though_there_is_only_one_cluster(tables: Path) -> None:
    """`alerts decide "$CLUSTER"` in a script whose variable is not set."""
    only: list[dict[str, Any]] = [{"cluster_id": "c-1"}]
    assert the_one(only, "c-", "here") == only[0]
    with pytest.raises(DistilwatchError, match="begin with ''"):
        the_one(only, "", "here")
    row = {
        "disposition_id": "d-1", "revision": 1, "cluster_id": "c-1", "decision": "confirm",
        "decided_by": "me", "decided_at": 1_000, "reason": "so", "source": "command",
    }  # fmt: skip
    write_tables(tables, {"dispositions": TABLES["dispositions"].to_arrow([row])})
    with pytest.raises(DistilwatchError, match="there is no decision"):
        undo_decision(f"duckdb:///{tables}", "", "wrong")
    undo_decision(f"duckdb:///{tables}", "d", "wrong")


def test_tables_of_a_real_run_are_not_replaced_by_a_dry_run(tmp_path: Path, tables: Path) -> None:
    write_watch_list(tmp_path / "watch.json", [])
    (tmp_path / "notes.txt").write_text("mine")
    before = tables.read_bytes()
    for path in (tables, tmp_path / "notes.txt", tmp_path):
        with pytest.raises(DistilwatchError, match="something else than a dry run"):
            try_indicators(
                tmp_path / "watch.json", [], tmp_path, f"duckdb:///{path}", load_config(None),
                Console(as_json=True),
            )  # fmt: skip
    assert tables.read_bytes() == before
    assert query(tables, "SELECT run_id FROM run_health") == [("run-1",)]


def test_other_lines_than_indicators_do_not_empty_a_watch_list(
    tmp_path: Path, refused: Said
) -> None:
    (tmp_path / "events.jsonl").write_text('{"event_id": "e", "account_id": "a"}\n')
    (tmp_path / "watch.json").write_text("as it was")
    said = refused(
        "share", "watch", "--from", tmp_path / "events.jsonl", "--list", tmp_path / "watch.json"
    )
    assert "a line is no row of the table indicators" in said
    assert (tmp_path / "watch.json").read_text() == "as it was"


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under any number."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert user_here().startswith("uid ")


def test_an_audit_log_that_cannot_be_written_says_why_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    monkeypatch.setattr(log, "_path", Path("/dev/full"))
    with pytest.raises(DistilwatchError, match=r"audit log cannot be written \(No space left"):
        log.note("case seen", "me")
