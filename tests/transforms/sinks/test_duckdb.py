from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pipelines.tables import connect
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.sinks import check_sink
from transforms.sinks import duckdb as sink
from transforms.sinks.duckdb import opened, write_tables
from transforms.sinks.duckdb_gate import connected_to_write
from transforms.sinks.staging import _StageFn

HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); sys.stdin.read()"


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A database that another process keeps open."""
    path = tmp_path / "held.duckdb"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield path
        assert holder.stdin is not None
        holder.stdin.close()


def test_a_locked_database_is_told_of_before_anything_starts(held: Path) -> None:
    with pytest.raises(DistilwatchError, match=r"in use by \S+ \(process \d+\).*close the program"):
        check_sink(f"duckdb:///{held}")
    check_sink(f"duckdb:///{held}", wait=True)
    with pytest.raises(DistilwatchError, match="in use by"):
        write_tables(held, {})
    assert held.exists()


@pytest.mark.parametrize(
    ("name", "text"), [("notes.duckdb", "precious\n"), ("events.jsonl", '{"n": 1}\n{"n": 2}\n')]
)
def test_what_is_no_database_is_told_of_and_left_alone(
    tmp_path: Path, name: str, text: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    for wait in (False, True):
        with pytest.raises(DistilwatchError, match="no DuckDB database"):
            check_sink(f"duckdb:///{path}", wait)
    with pytest.raises(DistilwatchError, match="no DuckDB database"):
        write_tables(path, {})
    with pytest.raises(DistilwatchError, match="no DuckDB database"), connect(path):
        pass
    assert path.read_text() == text
    check_sink(f"duckdb:///{tmp_path}/new.duckdb")
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_no_half_of_a_new_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "VIEWS", {"v": "SELECT error('No space left on device')"})
    new, old = tmp_path / "new.duckdb", tmp_path / "old.duckdb"
    with duckdb.connect(str(old)) as connection:
        connection.execute("CREATE TABLE mine AS SELECT 7 AS n")
    for path in (new, old):
        with pytest.raises(DistilwatchError, match="no space is left on the disk"):
            write_tables(path, {})
    left = [p.name for p in tmp_path.iterdir() if p.suffix != ".lock"]
    assert left == ["old.duckdb"]
    with duckdb.connect(str(old), read_only=True) as connection:
        assert connection.execute("SELECT n FROM mine").fetchall() == [(7,)]
        tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert tables == [("mine",)]


def test_tables_that_another_process_made_meanwhile_are_not_half_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.duckdb"

    @contextmanager
    def slow_to_open(where: Path, patience_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
        with connected_to_write(where) as theirs:  # they have the gate first
            theirs.execute("CREATE TABLE theirs AS SELECT 7 AS n")
        with opened(where, patience_s) as connection:
            yield connection

    monkeypatch.setattr(sink, "opened", slow_to_open)
    monkeypatch.setattr(sink, "VIEWS", {"v": "SELECT error('No space left on device')"})
    with pytest.raises(DistilwatchError, match="no space is left on the disk"):
        write_tables(path, {})
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("SELECT n FROM theirs").fetchall() == [(7,)]


def test_a_cluster_that_lives_on_has_its_members_of_each_window_also_in_older_tables(
    tmp_path: Path,
) -> None:
    path = tmp_path / "out.duckdb"
    table = TABLES["cluster_members"]
    day = 86_400_000

    def members(start_ms: int | None, *accounts: str, requests: int = 250) -> dict[str, pa.Table]:
        rows = [
            {"cluster_id": "c", "revision": 500, "account_id": a, "since": (start_ms or 0) + 1,
             "links": [], "window_start": start_ms, "request_count": requests}
            for a in accounts
        ]  # fmt: skip
        return {"cluster_members": table.to_arrow(rows)}

    # As an older version made it: another key, and a column of somebody's own.
    before = replace(table, key=("cluster_id", "revision", "account_id"), key_added=())
    with duckdb.connect(str(path)) as connection:
        connection.execute(before.duckdb_ddl())
        connection.execute("ALTER TABLE cluster_members ADD COLUMN note VARCHAR")
        old = members(None, "a")["cluster_members"]
        connection.register("old", old)
        connection.execute("INSERT INTO cluster_members BY NAME SELECT *, 'mine' AS note FROM old")
    for start_ms, others in ((0, "b"), (28 * day, "z"), (28 * day, "z")):
        write_tables(path, members(start_ms, "a", others))
    write_tables(path, members(28 * day, "a", requests=100), define=False)
    with duckdb.connect(str(path), read_only=True) as connection:
        found = connection.execute(
            "SELECT epoch_ms(window_start), account_id, request_count, note FROM cluster_members "
            "ORDER BY 1 NULLS FIRST, 2"
        ).fetchall()
    assert found == [
        (None, "a", 250, "mine"),
        (0, "a", 250, None),
        (0, "b", 250, None),
        (28 * day, "a", 100, None),
        (28 * day, "z", 250, None),
    ]


def test_a_worker_without_room_says_how_to_get_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transforms.sinks.staging.pq.write_table", full)
    stage = _StageFn("run_health", str(tmp_path))
    stage.start_bundle()
    stage.process({"run_id": "r", "metric": "read", "value": 1})
    with pytest.raises(DistilwatchError, match=r"No space left on device.*set run\.tmp"):
        stage.finish_bundle()


def test_tables_of_an_older_version_get_the_columns_added_since_and_keep_their_rows(
    tmp_path: Path,
) -> None:
    path, letters = tmp_path / "out.duckdb", TABLES["dead_letters"]
    row = {"source": "file", "partition": 0, "offset": 1, "reason": "not_json"}
    whole = letters.arrow()
    write_tables(path, {"dead_letters": pa.Table.from_pylist([row], whole)})
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE dead_letters DROP COLUMN detail")
        connection.execute("ALTER TABLE flagged_clusters DROP COLUMN q_value")
    with (
        pytest.raises(DistilwatchError, match=r"of an older version, without q_value.*detect"),
        connect(path),
    ):
        pass
    new = row | {"offset": 2, "detail": "detail", "run_id": "run"}
    write_tables(path, {"dead_letters": pa.Table.from_pylist([new], whole)})
    with connect(path) as connection:
        found = connection.execute(
            'SELECT "offset", detail, run_id FROM dead_letters ORDER BY "offset"'
        ).fetchall()
    assert found == [(1, None, None), (2, "detail", "run")]
