"""Tables of BigQuery as a DuckDB file, for commands that read one; and what they add, sent back."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, NamedTuple

import duckdb
import pyarrow as pa

from pipelines.config import Config
from pipelines.parts import bigquery_options
from pipelines.tables import check_tables
from schemas.errors import DistilwatchError
from schemas.fitting import fitted
from schemas.model import quoted
from schemas.tables import TABLES
from transforms.bigquery import parse_bigquery_uri
from transforms.sinks import scheme_of
from transforms.sinks.duckdb import write_tables

if TYPE_CHECKING:
    from transforms.bigquery.client import Connection


@dataclass(frozen=True)
class Fetched:
    """What was copied.

    Attributes:
      rows: by table.
      size: bytes that BigQuery read, as it estimated.
      usd: price of that.
    """

    rows: dict[str, int]
    size: int
    usd: float

    def as_dict(self) -> dict[str, object]:
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
        parts = [_part(connection, name, since_ms) for name in tables_to_read(names, there, uri)]
        size = 0
        for part in parts:
            dry = api.QueryJobConfig(dry_run=True, use_query_cache=False)
            size += int(connection.client.query(part.sql(dataset), dry).total_bytes_processed or 0)
        how = config.bigquery
        price = how.query_usd_per_tib if how.read_with == "query" else how.read_usd_per_tib
        usd = affordable(size, price, config, "fetch fewer days with --since")
        write_tables(into, {}, patience_s=60)
        rows = {}
        for part in parts:
            name = part.name
            rows[name] = 0
            # A page is a few megabytes, whatever the table.
            for page in _pages(connection, part, how.read_with):
                found = fitted(TABLES[name], page)
                write_tables(into, {name: found}, define=False, patience_s=60)
                rows[name] += found.num_rows
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


class _Part(NamedTuple):
    """What is read of a table: columns of the contract that it has, where a condition holds."""

    name: str
    columns: tuple[str, ...]
    where: str

    def sql(self, dataset: str) -> str:
        names = ", ".join(f"`{column}`" for column in self.columns)
        where = f" WHERE {self.where}" if self.where else ""
        return f"SELECT {names} FROM `{dataset}.{self.name}`{where}"


def _part(connection: Connection, name: str, since_ms: int | None) -> _Part:
    table, client = TABLES[name], connection.client
    found = connection.call(client.get_table, f"{connection.uri.dataset_id}.{name}")
    there = {field.name for field in found.schema}
    where = ""
    if since_ms is not None and table.partition:
        since = datetime.fromtimestamp(since_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S+00")
        where = f"{table.partition} >= TIMESTAMP '{since}'"
    return _Part(name, tuple(c.name for c in table.columns if c.name in there), where)


def _pages(
    connection: Connection, part: _Part, how: Literal["storage_read", "query"]
) -> Iterator[pa.RecordBatch]:
    if how == "query":
        sql = part.sql(connection.uri.dataset_id)
        found = connection.answer(sql, f"distilwatch-fetch-{uuid.uuid4().hex}")
        yield from found.to_arrow_iterable()
        return
    from transforms.bigquery.storage_read import read_streams, stream_pages

    # One stream: a DuckDB file has one writer.
    for stream in read_streams(connection, part.name, part.columns, part.where, most=1):
        yield from stream_pages(connection, stream)


def affordable(size: int, usd_per_tib: float, config: Config, mend: str) -> float:
    """The price of reading so many bytes, in US dollars.

    Raises:
      DistilwatchError: it is more than `bigquery.max_cost_usd`; `mend` says how to read less.
    """
    usd, most = size / 2**40 * usd_per_tib, config.bigquery.max_cost_usd
    if most and usd > most:
        raise DistilwatchError(
            f"reading would cost about {usd:,.2f} USD, and {most:,.2f} are allowed",
            "bigquery.max_cost_usd",
            f"{mend}, or raise the limit",
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
    if scheme_of(output) != "bigquery":
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
