"""The places of outputs that rows can be removed from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from schemas.errors import DistilwatchError
from transforms.bigquery import parse_bigquery_uri
from transforms.sinks import duckdb_path, scheme_of
from transforms.sinks.parquet import parquet_folder
from transforms.sinks.parquet_views import has_tables
from transforms.sinks.spool import spool_folder
from transforms.sinks.stores import Store
from transforms.sinks.stores.bigquery import BigQueryStore
from transforms.sinks.stores.duckdb import DuckDBStore
from transforms.sinks.stores.parquet import ParquetStore, SpoolStore


def stores_of(outputs: Sequence[str], tmp: str | None = None) -> list[Store]:
    """Every output as a store, and the spools of runs that wrote there.

    Args:
      outputs: URIs of duckdb, parquet and bigquery.
      tmp: folder for what is passing, as in the settings.

    Raises:
      DistilwatchError: when one is not there, or rows cannot be removed from it.
    """
    return [store for uri in outputs for store in _stores_of(uri, tmp)]


def _stores_of(uri: str, tmp: str | None) -> list[Store]:
    scheme = scheme_of(uri)
    if scheme == "bigquery":
        return [_bigquery(uri)]
    spool = spool_folder([uri], tmp, "") if scheme in ("duckdb", "parquet") else Path()
    found: list[Store] = []
    if scheme == "duckdb" and duckdb_path(uri).is_file():
        found.append(DuckDBStore(duckdb_path(uri)))
    elif scheme == "parquet" and has_tables(parquet_folder(uri)):
        found.append(ParquetStore(parquet_folder(uri)))
    elif scheme in ("duckdb", "parquet"):
        raise DistilwatchError(
            "there are no tables", f"--output {uri}", "give what `distilwatch detect` wrote"
        )
    else:
        raise DistilwatchError(
            f"rows cannot be removed from {scheme or 'a plain path'}",
            f"--output {uri}",
            "give duckdb:///file.duckdb, parquet:///folder or bigquery://project/dataset; a "
            "topic's alerts name no accounts, and go with its retention",
        )
    return [*found, SpoolStore(spool)] if spool.is_dir() else found


def _bigquery(uri: str) -> BigQueryStore:
    from transforms.bigquery.client import Connection

    connection = Connection(parse_bigquery_uri(uri))
    return BigQueryStore(connection.client, connection.uri.dataset_id, connection.uri.place)
