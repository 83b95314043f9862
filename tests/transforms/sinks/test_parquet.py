"""Parquet tables as a database: beside writers, with many readers, after crashes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.settings import TablesConfig
from pipelines.tables import connect
from pipelines.upkeep import compact, expire, open_as_database
from schemas.tables import TABLES
from tests.support.views import DAY, EXPECTED, ROWS, T0, in_order
from transforms.sinks import parquet_files
from transforms.sinks.duckdb import write_tables
from transforms.sinks.parquet import add_parquet
from transforms.sinks.spool import Spool

REPOSITORY = Path(__file__).resolve().parents[3]


def add(folder: Path, batch: int, rows: dict[str, list[dict[str, Any]]], run: str = "r1") -> None:
    tables = {name: TABLES[name].to_arrow(some) for name, some in rows.items()}
    add_parquet(folder, run, f"batch-{batch:020d}", tables)


def score(name: str, revision: int, value: float = 0.0, day: int = 0) -> dict[str, Any]:
    start = T0 + day * DAY
    return {
        "session_id": name, "revision": revision, "level": "profile", "key_kind": "account",
        "key": name, "session_start": start, "session_end": start, "request_count": revision,
        "score": value, "p_value": 0.5,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The world of the views, in several files."""
    path = tmp_path / "tables"
    for name, rows in ROWS.items():
        for i, row in enumerate(rows if name != "run_health" else []):
            add(path, i, {name: [row]})
    add(path, 0, {"run_health": ROWS["run_health"]})
    return path


@pytest.mark.parametrize("compacted", [False, True])
def test_the_views_say_the_same_as_of_a_database(folder: Path, compacted: bool) -> None:
    if compacted:
        compact(f"parquet:///{folder}", 0)
    database = open_as_database(f"parquet:///{folder}", folder.parent / "views.duckdb")
    with duckdb.connect(str(database), read_only=True) as connection:
        for view, columns, rows in EXPECTED:
            found = connection.execute(f"SELECT {columns} FROM {view}").fetchall()
            assert in_order(found) == in_order(rows), view


def test_of_two_versions_of_a_row_the_last_written_counts_as_in_a_database(tmp_path: Path) -> None:
    folder, database = tmp_path / "tables", tmp_path / "out.duckdb"
    # The run that wrote last comes first in the alphabet.
    for run, value in (("r2", 1.0), ("r1", 2.0)):
        row = score("a", 1, value)
        add(folder, 0, {"session_scores": [row]}, run)
        write_tables(database, {"session_scores": TABLES["session_scores"].to_arrow([row])})
    for _ in range(2):
        for path in (folder, database):
            with connect(path) as connection:
                assert connection.execute("SELECT score FROM session_scores").fetchall() == [(2.0,)]
        compact(f"parquet:///{folder}", 0)


def test_a_view_sees_the_past_as_it_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    add(folder, 1, {"session_scores": [score("a", 1)]})
    then = time.time_ns()
    add(folder, 2, {"session_scores": [score("a", 2), score("b", 1)]})
    compact(f"parquet:///{folder}", 0)
    uri = f"parquet:///{folder}"
    for until, ids in ((then, ["a"]), (None, ["a", "b"])):
        target = open_as_database(uri, tmp_path / "views.duckdb", until)
        with duckdb.connect(str(target), read_only=True) as connection:
            found = connection.execute("SELECT DISTINCT session_id FROM session_scores ORDER BY 1")
            assert [row[0] for row in found.fetchall()] == ids


def test_a_database_opened_before_the_first_row_sees_it_when_it_comes(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    add(folder, 1, {"session_scores": [score("a", 1)]})
    target = open_as_database(f"parquet:///{folder}", tmp_path / "views.duckdb")
    with duckdb.connect(str(target), read_only=True) as connection:
        count = "SELECT count(*) FROM current_clusters"
        assert connection.execute(count).fetchone() == (0,)
        add(folder, 2, {"flagged_clusters": ROWS["flagged_clusters"]})
        assert connection.execute(count).fetchone() == (4,)


def test_nothing_but_views_is_overwritten(tmp_path: Path) -> None:
    from schemas.errors import DistilwatchError

    add(tmp_path / "tables", 1, {"session_scores": [score("a", 1)]})
    precious = tmp_path / "precious.duckdb"
    write_tables(precious, {})
    with pytest.raises(DistilwatchError, match="something else"):
        open_as_database(f"parquet:///{tmp_path / 'tables'}", precious)


# --- a running writer, a compactor, and readers, each a process -----------------------------------

_WRITE = """
import sys, time
from pathlib import Path
from tests.support.views import _cluster, _member
from tests.transforms.sinks.test_parquet import add, score
folder, batches = Path(sys.argv[1]), int(sys.argv[2])
for i in range(1, batches + 1):
    name = f"c-{i}"
    add(folder, i, {
        "session_scores": [score(f"s{i}", 1, day=i % 3), score("same", 1, float(i))],
        "flagged_clusters": [_cluster(name, 10, 0.5)],
        "cluster_members": [_member(name, 10, f"a{i}-{j}", 5) for j in range(2)],
        "run_health": [{"run_id": "r1", "metric": "read", "value": i}],
    })
"""

_READ = """
import sys, duckdb
from pathlib import Path
from transforms.sinks.parquet_views import make_views
folder, database, stop = sys.argv[1:]
last, looks = 0, 0
if database:
    connection = duckdb.connect(database, read_only=True)
print("ready", flush=True)
while True:
    if not database:
        connection = duckdb.connect()
        make_views(connection, Path(folder))
    ended = Path(stop).exists()
    (rows,) = connection.execute("SELECT count(*) FROM session_scores").fetchone()
    assert rows >= last, f"{rows} rows after {last}"
    last = rows
    lonely = connection.execute(
        "SELECT cluster_id FROM flagged_clusters ANTI JOIN cluster_members USING (cluster_id)"
    ).fetchall()
    assert not lonely, lonely
    (same,) = connection.execute(
        "SELECT count(*) FROM session_scores WHERE session_id = 'same'").fetchone()
    assert same <= 1, same
    connection.execute("SELECT * FROM run_balance").fetchall()
    looks += 1
    if ended:
        break
print(looks, last)
"""

_COMPACT = """
import sys, time
from pathlib import Path
from transforms.sinks.compaction import compact_folder
while not Path(sys.argv[2]).exists():
    compact_folder(Path(sys.argv[1]), float(sys.argv[3]))
    time.sleep(0.2)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )


def ended(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def writing(tmp_path: Path) -> tuple[Path, Path, Path]:
    folder = tmp_path / "tables"
    add(folder, 0, {"session_scores": [score("first", 1)]})
    database = open_as_database(f"parquet:///{folder}", tmp_path / "views.duckdb")
    return folder, database, tmp_path / "stop"


@pytest.mark.slow
@pytest.mark.parametrize(("follow", "grace"), [(True, 3600), (False, 10)])
def test_readers_are_right_while_a_run_writes_and_files_are_joined(
    writing: tuple[Path, Path, Path], follow: bool, grace: int
) -> None:
    folder, database, stop = writing
    batches = 40
    readers = [start(_READ, folder, database if follow else "", stop) for _ in range(2)]
    compactor = start(_COMPACT, folder, stop, grace)
    for reader in readers:
        assert reader.stdout is not None
        reader.stdout.readline()
    try:
        ended(start(_WRITE, folder, batches))
    finally:
        stop.touch()
    ended(compactor)
    for reader in readers:
        looks, rows = map(int, ended(reader).split())
        assert looks > 1
        assert rows == batches + 2
    compact(f"parquet:///{folder}", 0)
    for name in ("session_scores", "flagged_clusters"):
        for day in parquet_files.days(folder, name):
            assert len(list(day.glob("*.parquet"))) == 1


# --- crashes --------------------------------------------------------------------------------------

_CRASH = """
import os, sys
from pathlib import Path
left = int(sys.argv[2])
def counted(function):
    def call(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return function(*arguments, **named)
    return call
os.replace = counted(os.replace)
Path.unlink = counted(Path.unlink)
from transforms.sinks.compaction import compact_folder
compact_folder(Path(sys.argv[1]), 0)
"""


@pytest.mark.slow
def test_a_compaction_that_is_killed_anywhere_loses_nothing_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    for i in range(3):
        add(folder, i, {"session_scores": [score("a", 1, float(i)), score(f"b{i}", 1)]})

    def rows() -> list[Any]:
        with connect(folder) as connection:
            return connection.execute("SELECT * FROM session_scores ORDER BY ALL").fetchall()

    before, steps = rows(), 0
    while True:
        process = start(_CRASH, folder, steps)
        process.communicate(timeout=120)
        assert rows() == before
        if process.returncode == 0:
            break
        assert process.returncode == -9
        add(folder, 10 + steps, {"session_scores": [score("a", 1, 2.0)]})  # something to join
        steps += 1
    assert steps > 3
    [day] = parquet_files.days(folder, "session_scores")
    assert len(list(day.glob("*.parquet"))) == 1
    assert not [f for f in day.iterdir() if f.suffix != ".parquet"]


def test_a_file_that_was_written_anew_after_it_was_joined_stays(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    add(folder, 0, {"session_scores": [score("a", 1)]})
    add(folder, 1, {"session_scores": [score("b", 1)]})
    compact(f"parquet:///{folder}", 3600)
    add(folder, 1, {"session_scores": [score("b", 1, 7.0), score("c", 1)]})  # the batch again
    compact(f"parquet:///{folder}", 0)
    compact(f"parquet:///{folder}", 0)
    with connect(folder) as connection:
        found = connection.execute("SELECT session_id, score FROM session_scores ORDER BY 1")
        assert found.fetchall() == [("a", 0.0), ("b", 7.0), ("c", 0.0)]


# --- retention ------------------------------------------------------------------------------------


def both(tmp_path: Path) -> tuple[Path, Path]:
    """The world of the views as a folder and as a file."""
    folder, database = tmp_path / "tables", tmp_path / "out.duckdb"
    evidence = [
        {"cluster_id": name, "window_start": T0, "revision": revision, "account_count": 2}
        for name, revision in (("c-1", 100), ("c-1", 400), ("c-4", 30))
    ]
    steps = [
        ROWS["alerts"][0] | {"alert_id": "l-6", "revision": n, "changed_at": T0 + 2 * n * DAY - DAY}
        for n in (1, 2)
    ]
    rows = ROWS | {"cluster_evidence": evidence, "alerts": [*ROWS["alerts"], *steps]}
    tables = {name: TABLES[name].to_arrow(part) for name, part in rows.items()}
    add_parquet(folder, "r1", "batch-1", tables)
    write_tables(database, tables)
    return folder, database


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with connect(path) as connection:
        return {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall()
            for name in TABLES
        }


def test_what_is_old_goes_and_the_newest_revision_stays(tmp_path: Path) -> None:
    folder, database = both(tmp_path)
    config = TablesConfig(
        keep_scores="0", keep_revisions="1 d", keep_clusters="2 d", keep_dead_letters="1 d",
        keep_shared="0",
    )  # fmt: skip
    now = T0 + 3 * DAY + DAY // 2
    uris = f"parquet:///{folder}", f"duckdb:///{database}"
    dry = [expire(uri, config, now, dry_run=True) for uri in uris]
    assert contents(folder) == contents(database)
    counts = [expire(uri, config, now) for uri in uris]
    assert counts[0] == counts[1]
    # What goes only because its cluster went is not foreseen.
    assert dry[0] == dry[1]
    assert set(dry[0]) | {"cluster_members", "cluster_evidence"} == set(counts[0])
    assert all(counts[0][name] == n for name, n in dry[0].items() if name != "cluster_members")
    assert contents(folder) == contents(database)
    left = contents(database)
    # Last seen more than two days ago: c-4; older revisions: of c-1, c-2 and s1.
    assert [row[:2] for row in left["flagged_clusters"]] == [("c-1", 400), ("c-2", 60), ("c-3", 80)]
    assert {row[0] for row in left["session_scores"]} == {"s1", "s2", "s3", "s4"}
    assert {row[:2] for row in left["cluster_members"]} == {("c-1", 400), ("c-2", 60), ("c-3", 80)}
    assert [row[::2][:2] for row in left["cluster_evidence"]] == [("c-1", 400)]
    # Alerts whose last step is old; of others all steps stay.
    assert {row[:2] for row in left["alerts"]} == {
        ("l-3", 1), ("l-5", 1), ("l-6", 1), ("l-6", 2), ("s-1", 1)
    }  # fmt: skip
    assert left["dead_letters"] == [] == left["dead_letter_replays"]
    assert left["dispositions"]
    assert all(expire(uri, config, now) == {} for uri in uris)


def test_beside_a_run_that_goes_on_its_spool_is_left_alone(tmp_path: Path) -> None:
    _, database = both(tmp_path)
    config, now = TablesConfig(keep_clusters="2 d"), T0 + 3 * DAY + DAY // 2
    spool = Spool(database.with_name(f"{database.name}.spool"))
    for dry_run in (True, False):
        left: list[str] = []
        with spool.locked():
            assert expire(f"duckdb:///{database}", config, now, dry_run, left.append)
        assert left == [str(spool.folder)]
    assert expire(f"duckdb:///{database}", config, now, left=left.append) == {}
    assert left == [str(spool.folder)]
