"""Rows into a folder of Parquet files, a folder for each table and day.

`<folder>/<table>/day=YYYY-MM-DD/<run>.parquet`: the name is the run's, so that a repeated run
replaces its own files and nothing else. Readers see a file whole or not at all. Several runs may
hold the same row; the key of the table says which rows are one, and the last written counts
(`parquet_files`). `parquet_views` opens a folder as a database.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DistilwatchError
from schemas.model import Table
from schemas.tables import TABLES
from transforms.sinks import parquet_files as files
from transforms.sinks import parts_of
from transforms.sinks.newest import newest
from transforms.sinks.staging import staged


def parquet_folder(uri: str) -> Path:
    """The folder of `parquet:///relative` or `parquet:////absolute`.

    Raises:
      DistilwatchError: when there is none in it.
    """
    path = parts_of(uri).path.removeprefix("/")
    if not path:
        raise DistilwatchError("no folder in the output", uri, "write parquet:///folder")
    return Path(path)


def check_parquet(uri: str) -> None:
    """Raises DistilwatchError when files could not be written to the folder; creates nothing."""
    folder = parquet_folder(uri).absolute()
    parent = folder if folder.exists() else folder.parent
    if folder.exists() and not folder.is_dir():
        raise DistilwatchError("is a file, not a folder", f"--output {uri}", "choose a folder")
    if not parent.is_dir():
        raise DistilwatchError("the folder does not exist", f"--output {uri}", f"make {parent}")
    if not os.access(parent, os.W_OK):
        raise DistilwatchError("may not be written", f"--output {uri}", "choose another folder")


def write_parquet(folder: Path, run_id: str, stage: str) -> dict[str, int]:
    """Writes what a run staged.

    Args:
      folder: made when it is not there.
      run_id: of the run, names its files.
      stage: folder of the staged rows.

    Returns:
      Rows by table.

    Raises:
      DistilwatchError: when a file cannot be written.
    """
    try:
        with files.locked(folder):
            return {t.name: _write_table(folder, run_id, stage, t) for t in _IN_ORDER}
    except (OSError, pa.ArrowException) as error:
        raise _cannot_write(folder, error) from error


def _write_table(folder: Path, run_id: str, stage: str, table: Table) -> int:
    rows = staged(stage, table.name)
    kept = newest(table, rows)
    home = folder / table.name
    before = set(home.glob(f"day=*/{run_id}.parquet"))
    for day, part in _by_day(kept, table):
        path = home / f"day={day}" / f"{run_id}.parquet"
        files.put(path, part)
        before.discard(path)
    for stale in before:  # days that this run has no rows of any more; a reader may be on its way
        files.put(stale, table.arrow().empty_table())
    return int(rows.num_rows)


_MANY = 32
# Readers look clusters up first: what belongs to one must be there before it.
_IN_ORDER = sorted(TABLES.values(), key=lambda table: table.name == "flagged_clusters")


def add_parquet(folder: Path, run_id: str, batch: str, rows: Mapping[str, pa.Table]) -> None:
    """Adds a batch of a run that goes on, a file for each table and day.

    The counts of `run_health` are one file of the run, written anew. When a day has many files of
    the run, they are made one, with one version of each row.

    Args:
      folder: made when it is not there.
      run_id: of the run, names its files.
      batch: name of the batch; the same batch again replaces itself.
      rows: by table.

    Raises:
      DistilwatchError: when a file cannot be written.
    """
    try:
        with files.locked(folder):
            for table in _IN_ORDER:
                whole = table.name == "run_health"
                part = rows.get(table.name, table.arrow().empty_table())
                for day, piece in _by_day(part, table):
                    home = folder / table.name / f"day={day}"
                    files.put(home / f"{run_id}{'' if whole else f'-{batch}'}.parquet", piece)
                    if not whole:
                        _join_files(home, run_id, table)
    except (OSError, pa.ArrowException) as error:
        raise _cannot_write(folder, error) from error


def _join_files(home: Path, run_id: str, table: Table) -> None:
    own = files.live(home, f"{run_id}-batch-*.parquet")
    if len(own) >= _MANY:
        own += files.live(home, f"{run_id}-joined-*.parquet")
        files.join(home, own, f"{run_id}-joined-{time.time_ns():020d}.parquet", table)
    files.clean(home)


def _cannot_write(folder: Path, error: Exception) -> DistilwatchError:
    return DistilwatchError(
        f"Parquet files cannot be written: {str(error).splitlines()[0]}",
        str(folder),
        "free some space, or choose another folder",
    )


def _by_day(rows: pa.Table, table: Table) -> list[tuple[str, pa.Table]]:
    if not rows.num_rows:
        return []
    order = [(key, "ascending") for key in table.key]
    if not table.partition:
        return [("all", rows.sort_by(order))]
    day = pc.strftime(rows[table.partition], format="%Y-%m-%d")
    day = pc.fill_null(day, "unknown")
    return [
        (str(name), rows.filter(pc.equal(day, name)).sort_by(order))
        for name in sorted(pc.unique(day).to_pylist())
    ]
