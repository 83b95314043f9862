"""The views on the BigQuery emulator: the same rows as on DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import bigquery as api

from infra.local.bigquery_emulator import BigQueryEmulator
from pipelines.config import Config
from pipelines.upkeep import make_bigquery_views
from schemas.tables import TABLES
from schemas.views import NAMES
from tests.support.bigquery import client_of, make_tables
from tests.support.views import EXPECTED, ROWS, in_order

pytestmark = pytest.mark.bigquery
DATASET = "views"


@pytest.fixture(scope="module")
def world(bigquery: BigQueryEmulator) -> Iterator[api.Client]:
    with client_of(bigquery) as client:
        rows = {name: TABLES[name].to_arrow(rows) for name, rows in ROWS.items()}
        make_tables(client, DATASET, rows)
        uri = f"bigquery://{client.project}/{DATASET}?endpoint=http://{bigquery.rest}"
        assert make_bigquery_views(uri, "", Config()) == list(NAMES)
        yield client


@pytest.mark.parametrize(("view", "columns", "rows"), EXPECTED, ids=[e[0] for e in EXPECTED])
def test_a_view_says_what_it_says_on_duckdb(
    world: api.Client, view: str, columns: str, rows: list[tuple[Any, ...]]
) -> None:
    name, bracket, rest = view.partition("(")
    asked = f"SELECT {columns} FROM `{world.project}.{DATASET}.{name}`{bracket}{rest}"
    found = [tuple(row.values()) for row in world.query_and_wait(asked)]
    assert in_order(found) == in_order(rows)
