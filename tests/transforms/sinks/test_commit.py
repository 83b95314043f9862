"""Rows of a run that goes on: staged, gathered, written, never lost, never doubled."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from tests.support.commit import Place, count, session, stage
from transforms.sinks import commit as commit_module
from transforms.sinks.commit import Committer
from transforms.sinks.newest import newest
from transforms.sinks.spool import spool_folder

SESSIONS = "SELECT session_id, revision, pane FROM session_scores ORDER BY ALL"


def test_what_is_staged_gets_into_every_output_once(place: Place) -> None:
    committer = place.committer()
    stage(place.spool, "session_scores", session("a", 1), session("b", 2, "on_time"))
    assert committer.commit()
    stage(place.spool, "session_scores", session("a", 3, "on_time"))
    assert committer.commit()
    assert place.rows(SESSIONS) == [("a", 1, "early"), ("a", 3, "on_time"), ("b", 2, "on_time")]
    rows = ds.dataset(place.parquet / "session_scores", schema=TABLES["session_scores"].arrow())
    assert rows.count_rows() == 3
    assert place.spool.waiting() == 0
    assert committer.commit()  # nothing to do
    assert committer.written.rows["session_scores"] == 3


def test_the_later_version_of_a_row_counts_and_on_time_beats_early(place: Place) -> None:
    committer = place.committer()
    stage(place.spool, "session_scores", session("a", 1, "on_time", score=1.0))
    stage(place.spool, "session_scores", session("a", 1, "early", score=2.0))
    stage(place.spool, "session_scores", session("b", 1, combined_p_value=0.1))
    stage(place.spool, "session_scores", session("b", 1, combined_p_value=0.2))
    committer.commit()
    found = place.rows("SELECT session_id, pane, score, combined_p_value FROM session_scores")
    assert sorted(found) == [("a", "on_time", 1.0, None), ("b", "early", 0.5, 0.2)]


def test_rows_that_did_not_change_are_not_written_again(place: Place) -> None:
    committer = place.committer()
    for _ in range(3):
        stage(place.spool, "session_scores", session("a", 1), session("b", 1))
        committer.commit()
    stage(place.spool, "session_scores", session("a", 1, "on_time"), session("b", 1))
    committer.commit()
    assert committer.written.rows["session_scores"] == 3
    assert len(place.files("session_scores")) == 2


_HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
print("open", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def reader() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Processes that hold a database open for reading until told to leave."""
    started: list[subprocess.Popen[str]] = []

    def start(database: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(database)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.communicate("\n")


def test_a_locked_database_delays_the_commit_and_loses_nothing(
    place: Place, reader: Callable[[Path], subprocess.Popen[str]]
) -> None:
    committer = place.committer()
    stage(place.spool, "session_scores", session("a", 1))
    assert committer.commit()
    holding = reader(place.database)
    stage(place.spool, "session_scores", session("a", 2))
    assert not committer.commit()
    stage(place.spool, "session_scores", session("a", 3), session("b", 1))
    assert not committer.commit()
    assert not place.warnings  # it may be brief
    for seconds, said in ((11, 1), (20, 1), (50, 2)):
        place.now += seconds
        assert not committer.commit()
        assert len(place.warnings) == said
    assert "close the program that has it open" in place.warnings[0]
    assert place.spool.waiting() > 0
    holding.communicate("\n")
    assert committer.commit()
    assert [row[:2] for row in place.rows(SESSIONS)] == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]
    assert place.spool.waiting() == 0


def test_what_a_crash_left_is_written_at_the_next_start(place: Place) -> None:
    stage(place.spool, "session_scores", session("a", 1))
    left = next(place.spool.batches())  # it was about to be written
    assert left.fresh
    stage(place.spool, "session_scores", session("a", 2))
    half = Path(place.spool.staging) / "session_scores" / "1.partial"
    half.write_bytes(b"half a file")
    place.spool = place.new_spool()
    assert place.spool.take_leftovers() == 2
    committer = place.committer()
    assert committer.commit()
    assert [row[:2] for row in place.rows(SESSIONS)] == [("a", 1), ("a", 2)]
    assert place.spool.waiting() == 0
    assert not half.exists()


def test_a_batch_that_was_written_by_half_is_written_again_as_a_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer = place.committer()
    stage(place.spool, "session_scores", session("a", 1), session("b", 1))

    def full(*_: object) -> None:
        raise DistilwatchError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(commit_module, "add_parquet", full)
        assert not committer.commit()  # the database has it, Parquet has not
    assert len(place.rows(SESSIONS)) == 2
    assert not place.files("session_scores")
    place.spool = place.new_spool()
    place.spool.take_leftovers()
    assert place.committer().commit()
    assert len(place.rows(SESSIONS)) == 2
    assert len(place.files("session_scores")) == 1


def test_counts_are_those_of_this_process_and_only_grow(place: Place) -> None:
    committer = place.committer()
    stage(place.spool, "run_health", count("read", 10), count("scored", 8), count("refused", 2))
    committer.commit()
    stage(place.spool, "run_health", count("read", 30), count("read", 20))
    stage(place.spool, "run_health", count("scored", 28))
    committer.commit()
    sums = "SELECT records_read, scored, refused, unaccounted FROM run_balance"
    assert place.rows(sums) == [(30, 28, 2, 0)]
    # The same run starts anew and reads from the first record: what it counted before is void.
    stage(place.spool, "run_health", count("read", 31))
    place.spool = place.new_spool()
    place.spool.take_leftovers()
    again = place.committer()
    again.commit()
    assert place.rows(sums)[0][0] == 31
    stage(place.spool, "run_health", count("read", 5), count("scored", 5))
    again.commit()
    assert place.rows(sums) == [(5, 5, 0, 0)]
    assert again.written.health == {"read": 5, "scored": 5}
    [file] = place.files("run_health")
    counts = ds.dataset(file, schema=TABLES["run_health"].arrow()).to_table().to_pylist()
    assert {(c["metric"], c["value"]) for c in counts} == {("read", 5), ("scored", 5)}


def test_counts_go_on_where_the_pipeline_does(place: Place) -> None:
    stage(place.spool, "run_health", count("read", 10), count("scored", 10))
    place.committer().commit()
    # The pipeline goes on from a savepoint: it says only what has changed since.
    stage(place.spool, "run_health", count("read", 12), count("refused", 2))
    place.spool = place.new_spool()
    again = Committer(place.spool, place.outputs, "run-1", place.warnings.append, counts_go_on=True)
    assert again.commit()
    sums = "SELECT records_read, scored, refused, unaccounted FROM run_balance"
    assert place.rows(sums) == [(12, 10, 2, 0)]
    other = Committer(place.spool, place.outputs, "run-2", place.warnings.append, counts_go_on=True)
    assert other.written.health == {}


def test_counts_of_other_runs_stay(place: Place) -> None:
    stage(place.spool, "run_health", count("read", 7, "run-0"))
    place.spool = place.new_spool()
    place.spool.take_leftovers()
    committer = place.committer()
    committer.commit()
    stage(place.spool, "run_health", count("read", 1))
    committer.commit()
    assert place.rows("SELECT run_id, records_read FROM run_balance ORDER BY ALL") == [
        ("run-0", 7),
        ("run-1", 1),
    ]


def test_many_files_of_a_day_become_one_with_one_version_of_each_row(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.sinks.parquet._MANY", 4)
    monkeypatch.setattr("transforms.sinks.parquet_files.GRACE_S", 0.0)
    committer = place.committer()
    for score in range(6):
        stage(place.spool, "session_scores", session("a", 1, score=float(score)))
        committer.commit()
    files = place.files("session_scores")
    assert len(files) == 3  # one of four, and two more
    [file] = [file for file in files if "joined" in file.name]
    joined = ds.dataset(file, schema=TABLES["session_scores"].arrow()).to_table()
    assert joined["score"].to_pylist() == [3.0]


def test_what_waited_for_hours_is_written_in_batches_that_fit(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.sinks.spool._BATCH_BYTES", 20_000)
    for number in range(40):
        stage(place.spool, "session_scores", session("s", number + 1), session(f"s{number}", 1))
    batches = list(place.spool.batches())
    sizes = [sum(f.stat().st_size for f in b.folder.glob("*/*.parquet")) for b in batches]
    assert len(batches) > 3
    assert max(sizes) <= 20_000
    assert [b.name for b in batches] == sorted(b.name for b in batches)
    assert place.committer().commit()
    assert place.rows("SELECT count(*), max(revision) FROM session_scores") == [(80, 40)]
    assert not list(place.spool.batches())


@pytest.mark.parametrize("problem", [duckdb.OutOfMemoryException("no room"), pa.ArrowInvalid("x")])
def test_what_cannot_be_put_together_just_now_waits(
    place: Place, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    stage(place.spool, "session_scores", session("s", 1))

    def failing(*_: object) -> None:
        raise problem

    with monkeypatch.context() as patch:
        patch.setattr("transforms.sinks.spool.newest", failing)
        committer = place.committer()
        assert not committer.commit()
        place.now += 20
        assert not committer.commit()
    assert str(problem) in place.warnings[0]
    assert committer.commit()
    assert place.rows("SELECT session_id FROM session_scores") == [("s",)]


def test_two_runs_cannot_share_a_spool(place: Place) -> None:
    with pytest.raises(DistilwatchError, match="another run"), place.new_spool().locked():
        pass


def test_the_spool_lies_beside_the_first_local_output(tmp_path: Path) -> None:
    outputs = ["kafka://h/t", f"parquet:///{tmp_path}/p", f"duckdb:///{tmp_path}/o.duckdb"]
    assert spool_folder(outputs, None, "r") == tmp_path / "o.duckdb.spool"
    assert spool_folder(outputs[:2], None, "r") == tmp_path / "p.spool"
    assert spool_folder(outputs[:1], str(tmp_path), "r") == tmp_path / "distilwatch-r.spool"


def test_newest_keeps_one_row_of_each_key() -> None:
    table = TABLES["run_health"]
    rows = table.to_arrow([count("read", n) for n in (3, 9, 5)] + [count("scored", 1)])
    kept = newest(table, rows).to_pylist()
    assert sorted((row["metric"], row["value"]) for row in kept) == [("read", 9), ("scored", 1)]
