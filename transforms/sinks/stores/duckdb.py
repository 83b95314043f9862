"""Rows in a DuckDB file."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import duckdb

from schemas.errors import DistilwatchError
from schemas.model import quoted, sql_text
from transforms.sinks.duckdb import write_tables
from transforms.sinks.duckdb_gate import connected_to_write
from transforms.sinks.duckdb_refusal import RETRY_S, why_not
from transforms.sinks.stores import mentions, quote


class DuckDBStore:
    """A database file, held open for writing; see `transforms.sinks.stores`."""

    def __init__(self, path: Path, patience_s: float = 60.0, rewrite: bool = False) -> None:
        """Args:
        path: of the file.
        patience_s: how long to wait for a run that has it open.
        rewrite: whether the file is made anew even when nothing was removed.
        """
        self._path = path
        self._patience_s = patience_s
        self._changed = rewrite
        self._open = ExitStack()

    @property
    def name(self) -> str:
        return f"duckdb:///{self._path}"

    def __enter__(self) -> Self:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                write_tables(self._path, {})  # one of an older version gets what it lacks
                self._connection = self._open.enter_context(connected_to_write(self._path))
                break
            except DistilwatchError as error:
                cause = error.__cause__
                locked = isinstance(cause, duckdb.Error) and why_not(cause).locked
                if not locked or time.monotonic() >= deadline:
                    raise
            except duckdb.Error as error:
                refused = why_not(error)
                if not refused.locked or time.monotonic() >= deadline:
                    raise DistilwatchError(
                        f"the tables cannot be written: {refused.what}", self.name, refused.mend
                    ) from error
            time.sleep(RETRY_S)
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute("BEGIN")
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if error[0] is None:
                self._connection.execute("COMMIT")
                if self._changed:
                    self._rewrite()
        finally:
            self._open.close()

    def _rewrite(self) -> None:
        """Makes the file anew: what was deleted is gone from the disk, and the file is small."""
        self._connection.execute("CHECKPOINT")
        fresh = self._path.with_name(f".{self._path.name}.fresh-{os.getpid()}")
        fresh.unlink(missing_ok=True)
        [(here,)] = self._connection.execute("SELECT current_database()").fetchall()
        try:
            self._connection.execute(f"ATTACH {sql_text(str(fresh))} AS fresh")
            self._connection.execute(f"COPY FROM DATABASE {quoted(here)} TO fresh")
            self._connection.execute("DETACH fresh")
            # In place while the old one is still locked: nobody can write to it in between.
            os.replace(fresh, self._path)
        finally:
            for left in (fresh, fresh.with_name(f"{fresh.name}.wal")):
                left.unlink(missing_ok=True)

    def quote(self, text: str) -> str:
        return quote(text)

    def mentions(self, column: str, name: str) -> str:
        return mentions(column, name)

    def values(self, query: str) -> list[str]:
        return [str(value) for (value,) in self._connection.execute(query).fetchall()]

    def count(self, table: str, where: str) -> int:
        return self._number(f"SELECT count(*) FROM {quoted(table)} WHERE {where}")

    def delete(self, table: str, where: str) -> int:
        return self._change(f"DELETE FROM {quoted(table)} WHERE {where}")

    def replace(self, table: str, column: str, value: str, where: str) -> int:
        return self._change(f"UPDATE {quoted(table)} SET {quoted(column)} = {value} WHERE {where}")

    def _change(self, statement: str) -> int:
        changed = self._number(statement)
        self._changed |= changed > 0
        return changed

    def _number(self, statement: str) -> int:
        [(number,)] = self._connection.execute(statement).fetchall()
        return int(number)
