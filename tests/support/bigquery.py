"""Datasets on the session's BigQuery emulator, tables and views of ours in them, and their rows."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as api

from infra.local.bigquery_emulator import BigQueryEmulator
from schemas.tables import TABLES


@contextmanager
def client_of(emulator: BigQueryEmulator) -> Iterator[api.Client]:
    """The official client, connected to the emulator."""
    client = _connected(emulator)
    try:
        yield client
    finally:
        client.close()


def _connected(emulator: BigQueryEmulator) -> api.Client:
    return api.Client(
        emulator.project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": f"http://{emulator.rest}"},
    )


@dataclass(frozen=True)
class Dataset:
    """A dataset of a test's own.

    Attributes:
      emulator: that has it.
      name: unused by any other test.
    """

    emulator: BigQueryEmulator
    name: str

    @property
    def uri(self) -> str:
        """Address of the dataset."""
        return self.at(self.emulator.rest)

    def at(self, rest: str, storage: str | None = None) -> str:
        """Address of the dataset through other endpoints, such as a proxy's."""
        return (
            f"bigquery://{self.emulator.project}/{self.name}?endpoint=http://{rest}"
            f"&storage_endpoint={storage or self.emulator.grpc}"
        )

    @cached_property
    def client(self) -> api.Client:
        """The official client."""
        return _connected(self.emulator)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query; `{d}` is the dataset."""
        return [tuple(row) for row in self.client.query(sql.format(d=self.name)).result()]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table of the contract, by its key."""
        job = self.client.query(f"SELECT * FROM `{self.name}.{table}`")
        found = [dict(row.items()) for row in job.result()]
        return _sorted(found, TABLES[table].key)

    def tables(self) -> set[str]:
        """Names of what is there."""
        return {t.table_id for t in self.client.list_tables(self.name)}


def new_dataset(emulator: BigQueryEmulator) -> Dataset:
    """Makes a dataset under a new name."""
    dataset = Dataset(emulator, f"d_{uuid.uuid4().hex[:10]}")
    dataset.client.create_dataset(dataset.name)
    return dataset


def make_tables(client: api.Client, dataset: str, rows: Mapping[str, pa.Table]) -> None:
    """Makes all tables, with rows, in a dataset that is made, too."""
    client.create_dataset(dataset, exists_ok=True)
    for name, table in TABLES.items():
        schema = [api.SchemaField.from_api_repr(c) for c in table.bigquery()]
        client.create_table(api.Table(f"{client.project}.{dataset}.{name}", schema))
        if name not in rows or not rows[name].num_rows:
            continue
        file = io.BytesIO()
        pq.write_table(rows[name], file)
        file.seek(0)
        config = api.LoadJobConfig(
            schema=schema,
            source_format=api.SourceFormat.PARQUET,
            write_disposition=api.WriteDisposition.WRITE_APPEND,
        )
        client.load_table_from_file(
            file, f"{client.project}.{dataset}.{name}", job_config=config
        ).result()


def duckdb_rows(database: Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table in DuckDB, in the same form as `Dataset.rows`."""
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.sql(f'SELECT * FROM "{table}"').to_arrow_table().to_pylist()
    return _sorted(found, TABLES[table].key)


def _sorted(rows: list[dict[str, Any]], key: Sequence[str]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: tuple(row[k] for k in key))
