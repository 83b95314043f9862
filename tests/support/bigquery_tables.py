"""Tables and views of ours in a dataset of the BigQuery emulator."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as api

from infra.local.bigquery_emulator import BigQueryEmulator
from schemas.tables import TABLES


@contextmanager
def client_of(emulator: BigQueryEmulator) -> Iterator[api.Client]:
    """The official client, connected to the emulator."""
    client = api.Client(
        emulator.project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": f"http://{emulator.rest}"},
    )
    try:
        yield client
    finally:
        client.close()


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
