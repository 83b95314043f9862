"""Files of Parquet tables: how they come, are joined, and go, beside writers and readers at work.

`<folder>/<table>/<day>/<name>.parquet`. A file is there whole or not at all. What is replaced by a
joined file stays for `GRACE_S`, because a reader may have its name already; meanwhile both hold the
same rows, and the key of the table and `WRITTEN` say which of two counts. A note beside the files
names those that are to go, and new readers leave them alone. Whoever changes files holds the
folder's lock, which the system takes from a process that dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.model import Table
from transforms.sinks.newest import last_written

WRITTEN = "_written_ns"
"""Column of the files, and of no table: when the row was written, in nanoseconds of 1970, UTC."""

GRACE_S = 600.0
_NOTE = ".superseded-"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Waits until nobody else changes files of the folder, which is made when it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def listing(folder: Path) -> Iterator[None]:
    """Waits until nobody changes files of the folder, and keeps others from it, for a moment.

    Where nobody has written with a lock, or it may not be opened, it does nothing.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            file = stack.enter_context((folder / ".lock").open("rb"))
            fcntl.flock(file, fcntl.LOCK_SH)
        yield


def put(path: Path, rows: pa.Table) -> None:
    """Writes a file in one step; rows that say when they were written keep that."""
    if WRITTEN not in rows.column_names:
        now = np.full(rows.num_rows, time.time_ns(), np.int64)
        rows = rows.append_column(pa.field(WRITTEN, pa.int64()), pa.array(now))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        pq.write_table(rows, partial, compression="zstd")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def schema_of(table: Table) -> pa.Schema:
    """The table's columns, and when each row was written."""
    return table.arrow().append(pa.field(WRITTEN, pa.int64()))


def read(files: Iterable[Path], table: Table) -> pa.Table:
    """Rows of files, whatever version of the table they are of."""
    schema = schema_of(table)
    parts = [pq.read_table(file, schema=schema) for file in files]
    return pa.concat_tables(parts) if parts else schema.empty_table()


def live(day: Path, pattern: str = "*.parquet") -> list[Path]:
    """Files of a day that no joined file holds the rows of."""
    gone = {path for note in day.glob(f"{_NOTE}*") for path in _noted(note)}
    return sorted(path for path in day.glob(pattern) if path not in gone)


def join(day: Path, files: Sequence[Path], into: str, table: Table) -> Path:
    """Puts the rows of files into one, with one version of each row.

    A crash before the note leaves rows twice, never none; the next joining makes them one. Hold the
    lock.

    Args:
      day: folder of the files.
      files: some that are live.
      into: name of the new file.
      table: of the rows.
    """
    path = day / into
    put(path, last_written(table, read(files, table)))
    note = [{"name": file.name, "is": _identity(file)} for file in files if file != path]
    partial = day / f".partial-note-{os.getpid()}"
    partial.write_text(json.dumps(note), encoding="utf-8")
    os.replace(partial, day / f"{_NOTE}{time.time_ns():020d}")
    return path


def clean(day: Path, grace_s: float | None = None) -> int:
    """Removes what was joined a while ago, and what a crash left; returns files removed.

    Hold the lock.
    """
    removed, grace_s = 0, GRACE_S if grace_s is None else grace_s
    now = time.time()
    for note in sorted(day.glob(f"{_NOTE}*")):
        if now - note.stat().st_mtime < grace_s:
            continue
        for path in _noted(note):
            path.unlink()
            removed += 1
        note.unlink()
    for partial in (*day.glob(".*.partial-*"), *day.glob(".partial-note-*")):
        with contextlib.suppress(FileNotFoundError):
            if now - partial.stat().st_mtime >= grace_s:
                partial.unlink()
    return removed


def days(folder: Path, table: str) -> list[Path]:
    """Folders of a table's days, oldest first."""
    return sorted((folder / table).glob("day=*"))


def _noted(note: Path) -> Iterator[Path]:
    """Files that a note names and that are still those; one that was written anew is another."""
    for entry in json.loads(note.read_text(encoding="utf-8")):
        path = note.parent / entry["name"]
        with contextlib.suppress(FileNotFoundError):
            if _identity(path) == entry["is"]:
                yield path


def _identity(path: Path) -> list[int]:
    about = path.stat()
    return [about.st_ino, about.st_size, about.st_mtime_ns]
