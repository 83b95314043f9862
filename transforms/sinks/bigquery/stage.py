"""Rows into a passing table, whole or not at all: by a load job, or over the Storage Write API."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.model import Table
from transforms.bigquery.client import Connection, api, errors
from transforms.bigquery.refusal import reason_of

_LIVES_S = 24 * 3600
_ROW_REASONS = ("invalid", "badRecord")


@dataclass
class Staged:
    """What became of rows on their way.

    Attributes:
      rows: that are in the passing table.
      refused: index of a row and why, of those that BigQuery does not take.
    """

    rows: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)


@contextmanager
def passing_table(connection: Connection, table: Table) -> Iterator[str]:
    """The name of an empty table with the same columns; removed at the end.

    Its name is new each time: BigQuery may lose what is streamed into a table that was made anew
    under a name just used. One that a crash leaves behind goes by itself after a day.
    """
    name = f"staging_{table.name}_{uuid.uuid4().hex[:16]}"
    uri = connection.uri
    resource = {
        "tableReference": {"projectId": uri.project, "datasetId": uri.dataset, "tableId": name},
        "description": f"rows on their way into {table.name}",
        "labels": connection.labels(),
        "expirationTime": str(int((time.time() + _LIVES_S) * 1000)),
        "schema": {"fields": table.bigquery()},
    }
    connection.call(
        connection.client.create_table, api.Table.from_api_repr(resource), exists_ok=True
    )
    try:
        yield name
    finally:
        with suppress(Exception):  # it goes by itself
            connection.client.delete_table(
                f"{uri.dataset_id}.{name}", not_found_ok=True, timeout=30
            )


def load_rows(connection: Connection, name: str, table: Table, rows: pa.Table) -> Staged:
    """Puts rows into a passing table with load jobs.

    A load job takes all rows or none. When it refuses some, it is done again in halves, until what
    is refused stands alone.

    Args:
      name: of the passing table.
      table: of the contract.
      rows: of its Arrow schema.
    """
    staged = Staged()
    waiting = [(0, rows.num_rows)]
    while waiting:
        start, stop = waiting.pop()
        try:
            _load(connection, name, table, rows.slice(start, stop - start), f"{start}-{stop}")
            staged.rows += stop - start
        except errors.BadRequest as error:
            if reason_of(error) not in _ROW_REASONS:
                raise
            if stop - start == 1:
                staged.refused.append((start, error.message))
                continue
            middle = (start + stop) // 2
            waiting += [(middle, stop), (start, middle)]
    return staged


def _load(connection: Connection, name: str, table: Table, rows: pa.Table, part: str) -> None:
    file = io.BytesIO()
    pq.write_table(rows, file, compression="zstd")
    lists = api.ParquetOptions()
    lists.enable_list_inference = True  # a list of Parquet is a REPEATED column, not a record
    config = api.LoadJobConfig(
        source_format=api.SourceFormat.PARQUET,
        create_disposition=api.CreateDisposition.CREATE_NEVER,
        write_disposition=api.WriteDisposition.WRITE_APPEND,
        schema=[api.SchemaField.from_api_repr(f) for f in table.bigquery()],
        parquet_options=lists,
        labels=connection.labels(),
    )

    def start(job_id: str) -> Any:
        return connection.client.load_table_from_file(
            file,
            f"{connection.uri.dataset_id}.{name}",
            rewind=True,
            job_id=job_id,
            job_config=config,
            num_retries=0,
            timeout=600,
        )

    connection.job(start, f"distilwatch-load-{name}-{part}")
