"""One writer at a time with a DuckDB file, whatever DuckDB makes of it.

DuckDB 2.0.1 reads the head of a file before it locks it (seen with strace): where another process
writes a checkpoint in between, it goes on from a head that is no more, and what the other has
committed is lost, or what is read is torn. So there is a lock of our own in a file beside it, which
a writer has from before it opens the database until it has closed it, and a reader while it opens
it. Programs that are not ours do not know of it, and should not write to tables that are in use.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb


@contextmanager
def connected_to_write(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection while nobody else of ours has the file open for writing, or is opening it.

    A file that was not there is removed again when what is written first fails: half of the tables
    are none. Whether it was there is looked up behind the gate, where nobody makes it meanwhile.

    Raises:
      duckdb.Error: somebody has, as DuckDB says it of its own lock; or the file cannot be used.
    """
    with _gate(path, fcntl.LOCK_EX):
        there = path.exists()
        try:
            with duckdb.connect(str(path)) as connection:
                yield connection
        except duckdb.Error as error:
            if not there and "set lock" not in str(error):  # which somebody else's program has
                for made in (path, path.with_name(f"{path.name}.wal")):
                    made.unlink(missing_ok=True)
            raise


def connect_to_read(path: Path) -> duckdb.DuckDBPyConnection:
    """A connection that only reads, made while nobody of ours has the file open for writing.

    Raises:
      duckdb.Error: somebody has, as DuckDB says it of its own lock; or the file cannot be used.
    """
    with _gate(path, fcntl.LOCK_SH):
        return duckdb.connect(str(path), read_only=True)


@contextmanager
def _gate(path: Path, how: int) -> Iterator[None]:
    beside = path.with_name(f"{path.name}.lock")
    try:
        file = beside.open("ab+" if how == fcntl.LOCK_EX else "rb", buffering=0)
    except OSError:  # nobody has written yet; or the folder cannot be used, as DuckDB will say
        yield
        return
    with file:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise duckdb.IOException(
                f'Could not set lock on file "{path}": it is held in {os.fsdecode(file.read())}'
            ) from None
        if how == fcntl.LOCK_EX:
            with suppress(OSError):  # on a full disk nobody is told who it is
                file.truncate(0)
                file.write(os.fsencode(f"{sys.executable} (PID {os.getpid()})"))
        yield
