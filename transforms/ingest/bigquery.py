"""Reads request events from a table of BigQuery, and says before what that will cost."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import apache_beam as beam
import pyarrow as pa

from schemas.errors import DistilwatchError
from transforms.bigquery.client import BigQueryOptions, Connection, api
from transforms.bigquery.refusal import refused
from transforms.bigquery.storage_read import read_streams, stream_pages
from transforms.bigquery.uri import BigQueryUri, parse_bigquery_uri
from transforms.ingest.batch import NO_WATERMARK, RecordBatch
from transforms.ingest.bigquery_rows import event_columns, offsets_of, records_of
from transforms.ingest.files import ToElement, stamped

ReadWith = Literal["storage_read", "query"]
_DOING = "events cannot be read"
_MOST_STREAMS = 64
_PAGE_ROWS = 50_000


@dataclass(frozen=True)
class Source:
    """A table as it is read.

    Attributes:
      uri: of the table.
      columns: that are read.
      where: condition on event_time, in BigQuery's SQL; "" for none.
    """

    uri: BigQueryUri
    columns: tuple[str, ...]
    where: str

    @property
    def sql(self) -> str:
        """The query that reads the same."""
        names = ", ".join(f"`{name}`" for name in self.columns)
        where = f" WHERE {self.where}" if self.where else ""
        return f"SELECT {names} FROM `{self.uri.table_id}`{where}"


def _connection(uri: str) -> Connection:
    return Connection(parse_bigquery_uri(uri, table=True), BigQueryOptions())


def open_source(connection: Connection, how: ReadWith) -> Source:
    """Looks at a table.

    Args:
      connection: of its URI.
      how: views have no rows for the Storage Read API.

    Raises:
      DistilwatchError: it is missing, may not be read, or does not hold events.
    """
    uri = connection.uri
    try:
        table = connection.call(connection.client.get_table, uri.table_id)
    except Exception as error:
        raise refused(error, uri, _DOING) from None
    if table.table_type != "TABLE" and how == "storage_read":
        raise DistilwatchError(
            f"{_DOING}: {uri.table} is a {table.table_type.lower()}, not a table",
            uri.place,
            "set bigquery.read_with to query",
        )
    schema = [f.to_api_repr() for f in table.schema]
    columns = event_columns(schema, uri.place)
    kind = next(f["type"] for f in schema if f["name"] == "event_time")
    bounds = [(sign, at) for sign, at in ((">=", uri.start), ("<", uri.end)) if at]
    if bounds and kind not in ("TIMESTAMP", "DATETIME"):
        raise DistilwatchError(
            f"start and end need a time, and event_time is {kind}",
            uri.place,
            "leave them out, or give a view that converts the column",
        )
    literal = f"{kind} '{{}}'" if kind == "TIMESTAMP" else "DATETIME '{}'"
    where = " AND ".join(
        f"event_time {sign} {literal.format(at if kind == 'TIMESTAMP' else at.rstrip('Z'))}"
        for sign, at in bounds
    )
    return Source(uri, tuple(columns), where)


@dataclass(frozen=True)
class Estimate:
    """What reading will cost.

    Attributes:
      place: the table.
      size: bytes that are read, all times together.
      usd: US dollars, at the price that the settings name.
    """

    place: str
    size: int
    usd: float

    def line(self) -> str:
        """For people."""
        return f"Reading {self.place}: {_bytes(self.size)}, about {self.usd:,.2f} USD"


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.2f} TiB"


def estimate(uri: str, how: ReadWith, usd_per_tib: float, times: int = 1) -> Estimate:
    """Asks BigQuery, in a dry run, which costs nothing, how much would be read.

    Args:
      uri: of the table.
      how: it will be read.
      usd_per_tib: price.
      times: how often it will be read.

    Raises:
      DistilwatchError: it may not be read, or does not hold events.
    """
    connection = _connection(uri)
    try:
        connection.locate()
        source = open_source(connection, how)
        job = connection.client.query(
            source.sql,
            job_config=api.QueryJobConfig(dry_run=True, use_query_cache=False),
            job_id=f"distilwatch-estimate-{uuid.uuid4().hex}",
            retry=connection.retry,
            job_retry=None,
            timeout=60,
        )
    except Exception as error:
        raise refused(error, connection.uri, _DOING) from None
    size = int(job.total_bytes_processed or 0) * times
    return Estimate(connection.uri.place, size, size / 2**40 * usd_per_tib)


@dataclass(eq=False)
class ReadBigQuery(beam.PTransform):  # type: ignore[misc]
    """Reads a table and makes an element of each batch of rows.

    Over the Storage Read API the table is read as it is when the pipeline is built, in as many
    streams as BigQuery gives, side by side. By a query its result is read in pages.

    Attributes:
      uri: bigquery://project/dataset/table.
      to_element: as of `ReadFiles`.
      batch_records: rows in a batch.
      read_with: storage_read or query.
    """

    uri: str
    to_element: ToElement
    batch_records: int = 2_000
    read_with: ReadWith = "storage_read"

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Any]:
        connection = _connection(self.uri)
        try:
            connection.locate()
            source = open_source(connection, self.read_with)
            parts = (
                _streams(connection, source)
                if self.read_with == "storage_read"
                else _pages(connection, source)
            )
        except Exception as error:
            raise refused(error, connection.uri, _DOING) from None
        return (
            begin
            | "Parts" >> beam.Create(parts)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_ReadFn(self.uri, self.to_element, self.batch_records))
        )


@dataclass(frozen=True)
class _Part:
    """What one worker reads: a stream of a read session, or rows of a query's result."""

    stream: str = ""
    job: str = ""
    location: str = ""
    start: int = 0
    count: int = 0


def _streams(connection: Connection, source: Source) -> list[_Part]:
    names = read_streams(connection, source.uri.table, source.columns, source.where, _MOST_STREAMS)
    return [_Part(stream=name) for name in names]


def _pages(connection: Connection, source: Source) -> list[_Part]:
    job = connection.query(source.sql, f"distilwatch-history-{uuid.uuid4().hex}")
    rows = job.result(retry=connection.retry, timeout=600, job_retry=None).total_rows
    return [
        _Part(job=job.job_id, location=job.location, start=start, count=_PAGE_ROWS)
        for start in range(0, rows, _PAGE_ROWS)
    ]


class _ReadFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, uri: str, to_element: ToElement, batch_records: int) -> None:
        self._uri = uri
        self._to_element = to_element
        self._batch_records = batch_records

    def setup(self) -> None:
        self._connection = _connection(self._uri)

    def process(self, part: _Part) -> Iterator[Any]:
        place = self._connection.uri.place
        try:
            for rows in self._batches(part):
                for start in range(0, rows.num_rows, self._batch_records):
                    records = records_of(rows.slice(start, self._batch_records))
                    batch = RecordBatch(place, 0, offsets_of(records), records, NO_WATERMARK)
                    yield stamped(*self._to_element(batch))
        except Exception as error:
            raise refused(error, self._connection.uri, _DOING) from error

    def _batches(self, part: _Part) -> Iterator[pa.RecordBatch]:
        if part.stream:
            yield from stream_pages(self._connection, part.stream)
            return
        connection = self._connection
        job: Any = connection.call(connection.client.get_job, part.job, location=part.location)
        rows = job.result(
            start_index=part.start,
            max_results=part.count,
            retry=connection.retry,
            timeout=600,
            job_retry=None,
        )
        yield from rows.to_arrow_iterable(bqstorage_client=None)
