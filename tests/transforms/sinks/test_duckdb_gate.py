"""The lock beside a DuckDB file: who waits for whom, and what is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from transforms.sinks.duckdb_gate import connect_to_read, connected_to_write
from transforms.sinks.duckdb_refusal import why_not

_OTHER = """
import sys
from pathlib import Path
import duckdb
from transforms.sinks.duckdb_gate import connect_to_read, connected_to_write
for connect in (connected_to_write, connect_to_read):
    try:
        with connect(Path(sys.argv[1])):
            print("open")
    except duckdb.Error as error:
        print(str(error))
"""


def other(path: Path) -> list[str]:
    """What another process is told that opens the file to write, and to read."""
    done = subprocess.run(
        [sys.executable, "-c", _OTHER, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_nobody_opens_it_while_somebody_writes_not_even_before_duckdb_locks(tmp_path: Path) -> None:
    path = tmp_path / "t.duckdb"
    with connected_to_write(path) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")
        for said in other(path):
            assert "Could not set lock" in said  # of ours, as DuckDB says it of its own
            refused = why_not(duckdb.IOException(said))
            assert refused.locked
            assert f"(process {os.getpid()})" in refused.what
            assert "it is held in" in said
        with pytest.raises(duckdb.IOException, match="it is held in"), connected_to_write(path):
            pass
    assert other(path) == ["open", "open"]


def test_readers_open_it_together_and_keep_writers_out_by_the_lock_of_duckdb(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.duckdb"
    with connected_to_write(path) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")
    with connect_to_read(path) as connection:
        writes, reads = other(path)
        assert "Conflicting lock" in writes
        assert reads == "open"
        assert connection.execute("FROM t").fetchall() == [(1,)]
    assert other(path) == ["open", "open"]


def test_a_failure_while_it_is_open_opens_it_for_others(tmp_path: Path) -> None:
    path = tmp_path / "t.duckdb"
    with pytest.raises(ValueError, match="mine"), connected_to_write(path):
        raise ValueError("mine")
    assert other(path) == ["open", "open"]


def test_a_file_that_nobody_of_ours_has_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.duckdb"
    duckdb.connect(str(path)).close()
    connect_to_read(path).close()
    assert not path.with_name("t.duckdb.lock").exists()
