"""Reads a table over the Storage Read API, column by column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from transforms.bigquery.client import Connection, storage_types


def read_streams(
    connection: Connection, table: str, columns: Sequence[str], where: str, most: int
) -> list[str]:
    """Names of streams that hold the rows of a table as it is now, each row in one of them.

    Args:
      connection: to the table's dataset; its billing project pays.
      table: its name.
      columns: that are read.
      where: condition in BigQuery's SQL; "" for none.
      most: streams; BigQuery may give fewer, and gives none where there are no rows.

    Raises:
      google.api_core.exceptions.GoogleAPICallError: BigQuery refuses.
    """
    uri = connection.uri
    session = storage_types.ReadSession(
        table=f"projects/{uri.project}/datasets/{uri.dataset}/tables/{table}",
        data_format=storage_types.DataFormat.ARROW,
        read_options=storage_types.ReadSession.TableReadOptions(
            selected_fields=list(columns), row_restriction=where
        ),
    )
    made = connection.retry(connection.reader().create_read_session)(
        parent=f"projects/{uri.billing}",
        read_session=session,
        max_stream_count=most,
        retry=None,
        timeout=120,
    )
    return [stream.name for stream in made.streams]


def stream_pages(connection: Connection, stream: str) -> Iterator[pa.RecordBatch]:
    """Pages of a stream, of a few megabytes each; goes on at the right row when a connection
    breaks."""
    for page in connection.reader().read_rows(stream).rows().pages:
        yield page.to_arrow()
