"""Where a run without an end keeps rows between the workers and the tables.

A spool is a folder:

    lock                one process at a time works here
    staged/TABLE/…      rows that workers have finished; a file is there whole or not at all
    batch-NUMBER/TABLE/…  rows on their way into the tables, removed when all sinks have them
    clusters.json       which clusters are flagged, and which alerts were sent
    counts.json         run_health so far, for a pipeline that goes on in another process

Whatever a crash leaves is put into the tables when a run begins in the same folder again. Sinks
replace rows by key, so a batch that was written by half is written again as a whole.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.sinks.newest import newest
from transforms.sinks.staging import staged

_BATCH_BYTES = 32 << 20  # of compressed rows, some hundred thousand


def spool_folder(outputs: Sequence[str], tmp: str | None, run_id: str) -> Path:
    """The folder of a run's spool: beside its first local output, or in `tmp`.

    Args:
      outputs: URIs.
      tmp: folder for what is passing; None: the system's own.
      run_id: names the folder in `tmp`, where other runs have theirs.
    """
    from tempfile import gettempdir

    from transforms.sinks import duckdb_path
    from transforms.sinks.parquet import parquet_folder

    for scheme, path_of in (("duckdb:", duckdb_path), ("parquet:", parquet_folder)):
        for uri in outputs:
            if uri.startswith(scheme):
                path = path_of(uri)
                return path.with_name(f"{path.name}.spool")
    return Path(tmp or gettempdir()) / f"distilwatch-{run_id}.spool"


@dataclass(frozen=True)
class Batch:
    """Rows that go into the tables together.

    Attributes:
      folder: where they wait.
      fresh: staged by this process; False for what another one left.
    """

    folder: Path
    fresh: bool

    @property
    def name(self) -> str:
        """Names grow with time."""
        return self.folder.name

    def rows(self) -> dict[str, pa.Table]:
        """Rows by table, the newest version of each."""
        return {name: newest(t, staged(str(self.folder), name)) for name, t in TABLES.items()}

    def done(self) -> None:
        """Forgets them."""
        shutil.rmtree(self.folder)


class SpoolInUse(DistilwatchError):
    """A run that goes on keeps its spool to itself."""


class Spool:
    """One run's spool; see the module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._left: set[str] = set()

    @property
    def staging(self) -> str:
        """Folder for `StageTable`."""
        return str(self.folder / "staged")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out; makes the folder.

        Raises:
          SpoolInUse: another process is at work here.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SpoolInUse(
                    "another run is writing to the same output",
                    str(self.folder),
                    "stop that run, or choose another output",
                ) from None
            yield

    def take_leftovers(self) -> int:
        """Makes batches of what another process left; returns how many there are."""
        self._freeze()
        for path in Path(self.staging).glob("*/*.partial"):
            path.unlink()
        self._left = {path.name for path in self.folder.glob("batch-*")}
        return len(self._left)

    def batches(self) -> Iterator[Batch]:
        """What waits for the tables, oldest first, then what is staged by now."""
        for path in sorted(self.folder.glob("batch-*")):
            yield Batch(path, path.name not in self._left)
        for path in self._freeze():
            yield Batch(path, True)

    def waiting(self) -> int:
        """Files that have not got into the tables."""
        return sum(1 for _ in self.folder.glob("batch-*/*/*.parquet")) + sum(
            1 for _ in Path(self.staging).glob("*/*.parquet")
        )

    def _freeze(self) -> list[Path]:
        """Batches of what is staged by now, oldest first, each small enough for memory: after hours
        in which an output was away there is more."""
        now, made, room = time.time_ns(), list[Path](), 0
        # By name, which begins with the time; names of tables come before it in the path.
        for file in sorted(Path(self.staging).glob("*/*.parquet"), key=lambda path: path.name):
            size = file.stat().st_size
            if not made or size > room:
                made.append(self.folder / f"batch-{now + len(made):020d}")
                room = _BATCH_BYTES
            room -= size
            home = made[-1] / file.parent.name
            home.mkdir(parents=True, exist_ok=True)
            os.rename(file, home / file.name)
        return made
