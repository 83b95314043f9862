"""Keeps tables in order: joins small files, removes what is old, opens Parquet as a database."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipelines.config import Config
from pipelines.parts import bigquery_options
from pipelines.settings import TablesConfig
from pipelines.stores import stores_of
from schemas.errors import DistilwatchError
from schemas.views import bigquery_views
from transforms.bigquery import parse_bigquery_uri
from transforms.sinks import duckdb_path, removal, scheme_of
from transforms.sinks.compaction import compact_folder
from transforms.sinks.parquet import parquet_folder
from transforms.sinks.parquet_views import has_tables, make_views
from transforms.sinks.spool import SpoolInUse
from transforms.sinks.stores.duckdb import DuckDBStore


@dataclass(frozen=True)
class Compacted:
    """Files and bytes before and after."""

    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int

    def as_dict(self) -> dict[str, int]:
        """For machines."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def compact(uri: str, grace_s: float) -> Compacted:
    """Makes one file of each table and day (`compact_folder`); makes a database file anew, as small
    as it can be.

    Args:
      uri: of duckdb or parquet.
      grace_s: how long files stay that were joined.
    """
    if scheme_of(uri) == "duckdb":
        path = duckdb_path(uri)
        size = path.stat().st_size
        with DuckDBStore(path, rewrite=True):
            pass
        return Compacted(1, 1, size, path.stat().st_size)
    folder = _parquet(uri)
    before = list(folder.glob("*/*/*.parquet"))
    size = sum(file.stat().st_size for file in before)
    compact_folder(folder, grace_s)
    after = list(folder.glob("*/*/*.parquet"))
    return Compacted(len(before), len(after), size, sum(file.stat().st_size for file in after))


def expire(
    uri: str,
    config: TablesConfig,
    now_ms: int,
    dry_run: bool = False,
    left: Callable[[str], None] = lambda _: None,
) -> dict[str, int]:
    """Removes what is older than the settings keep it; returns rows by table.

    Args:
      uri: of the tables.
      config: how long it is kept.
      now_ms: by the clock.
      dry_run: whether it is only counted.
      left: gets the name of a spool that was left alone, because a run that goes on has it; what
        is in there gets into the tables, and goes from there.
    """
    kept = removal.Kept(
        config.keep_scores,
        config.keep_clusters,
        config.keep_dead_letters,
        config.keep_revisions,
        config.keep_shared,
    )
    sums: dict[str, int] = {}
    work = removal.count if dry_run else removal.remove
    for store in stores_of([uri]):
        try:
            with store:
                for table, number in work(store, removal.outdated(kept, now_ms)).items():
                    sums[table] = sums.get(table, 0) + number
        except SpoolInUse:
            left(store.name)
    return sums


def open_as_database(
    uri: str, target: Path, written_until_ns: int | None = None, follow: bool = True
) -> Path:
    """Writes a small DuckDB file with the tables and views of a folder of Parquet files.

    It holds no rows: whoever opens it, read-only and as many as like, sees what is in the folder.

    Args:
      uri: of parquet.
      target: the file; one that was made so before is replaced.
      written_until_ns: sees nothing that was written later; None: everything.
      follow: whether it also sees what comes later; see `make_views`.

    Raises:
      DistilwatchError: when there are no tables, or the target is something else.
    """
    folder = _parquet(uri).absolute()
    if target.exists() and not _is_ours(target):
        raise DistilwatchError(
            "there is something else already", str(target), "choose another file with --into"
        )
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    partial.unlink(missing_ok=True)
    try:
        with duckdb.connect(str(partial)) as connection:
            make_views(connection, folder, written_until_ns, follow)
        os.replace(partial, target)
    except (OSError, duckdb.Error) as error:
        raise DistilwatchError(
            f"the database cannot be written: {str(error).splitlines()[0]}",
            str(target),
            "choose another file with --into",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _is_ours(path: Path) -> bool:
    """Whether a database has nothing but views."""
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            tables = connection.execute("SELECT count(*) FROM duckdb_tables()").fetchone()
            return tables == (0,)
    except duckdb.Error:
        return False


def _parquet(uri: str) -> Path:
    if scheme_of(uri) != "parquet":
        raise DistilwatchError(
            "only a folder of Parquet tables can be opened so",
            f"--output {uri}",
            "a duckdb: output is a database already",
        )
    folder = parquet_folder(uri)
    if not has_tables(folder):
        raise DistilwatchError(
            "there are no tables", f"--output {uri}", "give what `distilwatch detect` wrote"
        )
    return folder


def ask(path: Path, query: str) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
    """Column names and rows of a query, over a database file or a folder of Parquet tables."""
    from pipelines.tables import connect

    with connect(path) as connection:
        try:
            result: Any = connection.execute(query)
            if result is None:  # there is nothing but blanks and comments
                raise DistilwatchError("there is no query", "the query", "ask with SELECT")
            return [c[0] for c in result.description], result.fetchall()
        except duckdb.Error as error:
            said = [line.strip() for line in str(error).splitlines()]
            hints = ("Did you mean", "Candidate bindings")
            near = next((f"; {line}" for line in said if line.startswith(hints)), "")
            raise DistilwatchError(
                f"the query cannot be answered: {said[0].rstrip('!')}{near}",
                "the query",
                "docs/views.md and docs/contracts.md list the views, tables and columns",
            ) from error


def make_bigquery_views(uri: str, into: str, config: Config) -> list[str]:
    """Makes the views over the tables of a dataset, or makes them anew.

    Args:
      uri: bigquery://project/dataset, of the tables.
      into: dataset of the views, in the same project; "" for the one that the settings name, or the
        tables' own.
      config: how to write.

    Returns:
      Their names.

    Raises:
      DistilwatchError: a dataset or table is not there, or BigQuery refuses.
    """
    from transforms.bigquery.client import Connection
    from transforms.bigquery.refusal import refused

    connection = Connection(parse_bigquery_uri(uri), bigquery_options(config))
    tables = connection.uri.dataset_id
    into = into or config.bigquery.views_dataset
    views = f"{connection.uri.project}.{into}" if into else ""
    made = []
    try:
        connection.locate()
        for name, statement in bigquery_views(tables, views).items():
            if connection.uri.emulated:
                statement = without_options(statement)
            connection.query(statement, f"distilwatch-view-{uuid.uuid4().hex}")
            made.append(name)
    except Exception as error:
        raise refused(error, connection.uri, "the views cannot be made") from error
    return made


def without_options(statement: str) -> str:
    """An emulator takes options of a table function for a part of its query, and finds no rows."""
    if not statement.startswith("CREATE OR REPLACE TABLE FUNCTION"):
        return statement
    return "\n".join(line for line in statement.splitlines() if not line.startswith("OPTIONS("))
