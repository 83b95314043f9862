"""A DuckDB file that stays open from one question to the next, for a stretch (`turns`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock

import duckdb

from pipelines.tables import connect, open_tables
from pipelines.triage.turns import Turns


class KeptOpen:
    """See the module. Safe to use from several threads.

    Attributes:
      turns: at the file.
    """

    def __init__(self, path: Path, version: Callable[[], str]) -> None:
        """Args:
        path: of the database, or of a folder of Parquet tables.
        version: changes with the file.
        """
        self._path = path
        self._version = version
        self._opening = Lock()
        self._open = ExitStack()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._checked = ""
        self.turns = Turns(self._close)

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of the caller's own, for the length of a question; read-only.

        Raises:
          DistilwatchError: as `pipelines.tables.connect`.
        """
        with self.turns.read(), self._shared().cursor() as own:
            own.execute("SET TimeZone = 'UTC'")  # of a connection, not of the file
            yield own

    def _shared(self) -> duckdb.DuckDBPyConnection:
        """Looks whether all tables and columns are there only when the file has changed."""
        with self._opening:
            if self._connection is None:
                version = self._version()
                way = open_tables if version == self._checked else connect
                self._connection = self._open.enter_context(way(self._path))
                self._checked = version
            return self._connection

    def _close(self) -> None:
        with self._opening:
            self._connection = None
            self._open.close()
