"""The emulator that the other tests here rely on."""

from __future__ import annotations

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as api

from infra.local.bigquery_emulator import BigQueryEmulator

pytestmark = pytest.mark.bigquery


def test_it_answers_the_official_client(bigquery: BigQueryEmulator) -> None:
    client = api.Client(
        bigquery.project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": f"http://{bigquery.rest}"},
    )
    found = client.query_and_wait("SELECT x, x * x AS squared FROM UNNEST([1, 2, 3]) AS x")
    assert [tuple(row) for row in found] == [(1, 1), (2, 4), (3, 9)]
    client.close()
