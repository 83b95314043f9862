"""Rows in Parquet files: a folder of tables, or the spool of a run.

Files are written anew without the rows, each in one step; none is taken from under a reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.model import quoted
from schemas.tables import TABLES
from transforms.sinks import parquet_files as files
from transforms.sinks.parquet_views import make_views
from transforms.sinks.spool import Spool
from transforms.sinks.stores import mentions, quote

_FILE = "rows_of_file"


class _Files:
    """What the two kinds have in common."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def quote(self, text: str) -> str:
        return quote(text)

    def mentions(self, column: str, name: str) -> str:
        return mentions(column, name)

    def delete(self, table: str, where: str) -> int:
        return self._rewrite(table, where, f"SELECT * FROM {_FILE} WHERE ({where}) IS NOT TRUE")

    def replace(self, table: str, column: str, value: str, where: str) -> int:
        name = quoted(column)
        kept = f"SELECT * REPLACE (CASE WHEN {where} THEN {value} ELSE {name} END AS {name})"
        return self._rewrite(table, where, f"{kept} FROM {_FILE}")

    def values(self, query: str) -> list[str]:
        return [str(value) for (value,) in self._connection.execute(query).fetchall()]

    def count(self, table: str, where: str) -> int:
        return self._number(f"SELECT count(*) FROM {quoted(table)} WHERE {where}")

    def _open(self) -> None:
        self._connection = self._stack.enter_context(duckdb.connect())
        self._connection.execute("SET TimeZone = 'UTC'")

    def _of(self, table: str) -> Iterator[Path]:
        raise NotImplementedError

    def _rewrite(self, table: str, where: str, kept: str) -> int:
        changed = 0
        for path in self._of(table):
            there = set(pq.read_schema(path).names)
            schema = files.schema_of(TABLES[table])
            if files.WRITTEN not in there:  # a spool's, or of an older version
                schema = TABLES[table].arrow()
            rows = pq.read_table(path, schema=schema)
            self._connection.register(_FILE, rows)
            fits = self._number(f"SELECT count(*) FROM {_FILE} WHERE {where}")
            if fits:
                left: pa.Table = self._connection.sql(kept).to_arrow_table()
                left = left.cast(schema)
                self._put(path, left)
            self._connection.unregister(_FILE)
            changed += fits
        return changed

    def _put(self, path: Path, rows: pa.Table) -> None:
        files.put(path, rows)

    def _number(self, query: str) -> int:
        [(number,)] = self._connection.execute(query).fetchall()
        return int(number)


class ParquetStore(_Files):
    """A folder of Parquet tables; see `transforms.sinks.stores`."""

    @property
    def name(self) -> str:
        return f"parquet:///{self._folder}"

    def __enter__(self) -> Self:
        self._stack.enter_context(files.locked(self._folder))
        self._open()
        make_views(self._connection, self._folder.absolute(), locked=True)
        return self

    def delete(self, table: str, where: str) -> int:
        # Files also hold versions of rows that others replaced; rows are what is counted.
        number = self.count(table, where)
        super().delete(table, where)
        return number

    def replace(self, table: str, column: str, value: str, where: str) -> int:
        number = self.count(table, where)
        super().replace(table, column, value, where)
        return number

    def _of(self, table: str) -> Iterator[Path]:
        # Also those that were joined and wait to be removed: they hold the rows, too.
        yield from sorted((self._folder / table).glob("*/*.parquet"))


class SpoolStore(_Files):
    """What a stopped run without an end left in its spool; see `transforms.sinks.stores`."""

    @property
    def name(self) -> str:
        return str(self._folder)

    def __enter__(self) -> Self:
        self._stack.enter_context(Spool(self._folder).locked())
        self._open()
        for name, table in TABLES.items():
            parts = [pq.read_table(path, schema=table.arrow()) for path in self._of(name)]
            self._connection.register(
                name, pa.concat_tables(parts) if parts else table.to_arrow([])
            )
        return self

    def check_free(self) -> None:
        """Raises SpoolInUse when a run has it that goes on."""
        with Spool(self._folder).locked():
            pass

    def forget_passing(self, dry_run: bool) -> int:
        """Removes what is in no table: rows that a killed worker was writing, and items that were
        kept for trials of new bundles, all of them, because sessions among them do not say whose
        they are; a run keeps new ones at once. Returns files of such items."""
        if not dry_run:
            for partial in self._folder.glob("*/*/*.partial"):
                partial.unlink()
        items = [path for path in self._folder.glob("bundles/recent/*") if path.is_file()]
        for path in () if dry_run else items:
            path.unlink()
        return len(items)

    def _of(self, table: str) -> Iterator[Path]:
        for part in ("staged", "batch-*"):
            yield from sorted(self._folder.glob(f"{part}/{table}/*.parquet"))

    def _put(self, path: Path, rows: pa.Table) -> None:
        partial = path.with_suffix(".partial")
        pq.write_table(rows, partial)
        partial.replace(path)
