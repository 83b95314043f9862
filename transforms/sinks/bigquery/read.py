"""Reads back what was written to a dataset."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

import pyarrow as pa

from transforms.bigquery.client import Connection
from transforms.bigquery.refusal import refused
from transforms.bigquery.uri import parse_bigquery_uri


def tables_of(
    uri: str, wanted: Mapping[str, tuple[Sequence[str], str]]
) -> dict[str, pa.Table] | None:
    """Columns of tables.

    Args:
      uri: of the dataset.
      wanted: by table, columns and a condition in BigQuery's SQL.

    Returns:
      Rows by table; None when a table is not there yet.

    Raises:
      DistilwatchError: BigQuery does not answer, or refuses.
    """
    connection = Connection(parse_bigquery_uri(uri))
    dataset = connection.uri.dataset_id
    try:
        connection.locate()
        there = {t.table_id for t in connection.call(connection.client.list_tables, dataset)}
        if not there.issuperset(wanted):
            return None
        return {
            name: _rows(
                connection,
                f"SELECT {', '.join(f'`{c}`' for c in columns)} "
                f"FROM `{dataset}.{name}` WHERE {where}",
            )
            for name, (columns, where) in wanted.items()
        }
    except Exception as error:
        raise refused(error, connection.uri, "the tables cannot be read") from error


def _rows(connection: Connection, sql: str) -> pa.Table:
    found = connection.answer(sql, f"distilwatch-read-{uuid.uuid4().hex}")
    return found.to_arrow(create_bqstorage_client=False)
