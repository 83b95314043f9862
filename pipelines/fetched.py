"""Tables of BigQuery as a DuckDB file, for commands that read one; and what they add, sent back."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import duckdb

from pipelines.config import Config
from pipelines.parts import bigquery_options
from pipelines.tables import check_tables
from schemas.errors import DistilwatchError
from schemas.fitting import fitted
from schemas.model import quoted
from schemas.tables import TABLES
from transforms.bigquery import parse_bigquery_uri
from transforms.sinks.duckdb import write_tables


@dataclass(frozen=True)
class Fetched:
    """What was copied.

    Attributes:
      rows: by table.
      size: bytes that BigQuery processed.
      usd: price of that.
    """

    rows: dict[str, int]
    size: int
    usd: float

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {"rows": self.rows, "bytes": self.size, "usd": self.usd}


def fetch(
    uri: str, into: Path, config: Config, names: Sequence[str] = (), since_ms: int | None = None
) -> Fetched:
    """Copies tables of a dataset into a DuckDB file, where rows of the same key are replaced.

    Args:
      uri: bigquery://project/dataset.
      into: file, made where there is none.
      config: with prices and their limit.
      names: of tables; all without.
      since_ms: only days from this time on, of tables that are cut by days; milliseconds UTC.

    Raises:
      DistilwatchError: it would cost more than `bigquery.max_cost_usd`, or BigQuery refuses.
    """
    from transforms.bigquery.client import Connection, api
    from transforms.bigquery.refusal import refused

    if unknown := sorted(set(names) - TABLES.keys()):
        raise DistilwatchError(
            f"there is no table {', '.join(unknown)}", "--table", f"choose of {', '.join(TABLES)}"
        )
    connection = Connection(parse_bigquery_uri(uri), bigquery_options(config))
    dataset = connection.uri.dataset_id
    try:
        connection.locate()
        there = {t.table_id for t in connection.call(connection.client.list_tables, dataset)}
        wanted = tables_to_read(names, there, uri)
        asked = {name: _statement(dataset, name, since_ms) for name in wanted}
        size = 0
        for sql in asked.values():
            dry = api.QueryJobConfig(dry_run=True, use_query_cache=False)
            size += int(connection.client.query(sql, dry).total_bytes_processed or 0)
        usd = _checked(size, config)
        write_tables(into, {}, patience_s=60)
        rows = {}
        for name, sql in asked.items():
            found = connection.answer(sql, f"distilwatch-fetch-{uuid.uuid4().hex}")
            rows[name] = 0
            for page in found.to_arrow_iterable():  # a page is a few megabytes, whatever the table
                part = fitted(TABLES[name], page)
                write_tables(into, {name: part}, define=False, patience_s=60)
                rows[name] += part.num_rows
    except Exception as error:
        raise refused(error, connection.uri, "the tables cannot be read") from error
    return Fetched(rows, size, usd)


def tables_to_read(names: Sequence[str], there: Collection[str], uri: str) -> list[str]:
    """Those of some tables that a dataset has; one of an older version may lack all of them.

    Args:
      names: of tables; all without.
      there: tables of the dataset.
      uri: of the dataset, for people.

    Raises:
      DistilwatchError: no table of the dataset is ours.
    """
    if TABLES.keys().isdisjoint(there):
        raise DistilwatchError(
            "there are no tables of ours", uri, "give the dataset that `detect` wrote to"
        )
    return [name for name in names or TABLES if name in there]


def _statement(dataset: str, name: str, since_ms: int | None) -> str:
    table = TABLES[name]
    sql = f"SELECT * FROM `{dataset}.{name}`"
    if since_ms is None or not table.partition:
        return sql
    since = datetime.fromtimestamp(since_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S+00")
    return f"{sql} WHERE `{table.partition}` >= TIMESTAMP '{since}'"


def _checked(size: int, config: Config) -> float:
    how = config.bigquery
    usd = size / 2**40 * how.query_usd_per_tib
    if how.max_cost_usd and usd > how.max_cost_usd:
        raise DistilwatchError(
            f"reading would cost about {usd:,.2f} USD, and {how.max_cost_usd:,.2f} are allowed",
            "bigquery.max_cost_usd",
            "fetch fewer days with --since, or raise the limit",
        )
    return usd


@contextmanager
def at_hand(
    output: str, config: Config, names: Sequence[str], sent_back: Sequence[str] = ()
) -> Iterator[Path]:
    """Tables to read, and to write a little.

    Args:
      output: duckdb, parquet or bigquery.
      config: settings.
      names: tables that are read.
      sent_back: those of them to which rows are added or in which they are replaced.

    Yields:
      The file or folder; of BigQuery a copy, whose new rows are sent back without an error.

    Raises:
      DistilwatchError: there are no tables, or they cannot be read or written.
    """
    if urlsplit(output).scheme != "bigquery":
        yield check_tables(output)
        return
    with TemporaryDirectory(prefix="distilwatch-", dir=config.run.tmp) as folder:
        path = Path(folder) / "copy.duckdb"
        fetch(output, path, config, names)
        with duckdb.connect(str(path)) as connection:
            for name in sent_back:
                connection.execute(
                    f"CREATE TABLE {quoted(f'{name} before')} AS FROM {quoted(name)}"
                )
        yield path
        for name in sent_back:
            _send_back(output, path, name, config)


def _send_back(output: str, path: Path, name: str, config: Config) -> None:
    from transforms.sinks.bigquery.write import BigQuerySink

    with duckdb.connect(str(path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        new = connection.sql(
            f"FROM {quoted(name)} EXCEPT FROM {quoted(f'{name} before')}"
        ).to_arrow_table()
    if new.num_rows:
        rows = fitted(TABLES[name], new)
        # A command does not know when the run that made the tables lets days expire.
        options = replace(bigquery_options(config), expire_ms=None)
        BigQuerySink(output, "command", options).write_table(name, rows)
