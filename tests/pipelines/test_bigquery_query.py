"""`tables query` over a dataset: only queries, only at a price that is allowed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from infra.local.bigquery_emulator import BigQueryEmulator
from pipelines.asked import ask_dataset
from pipelines.commands.tables import tables as command
from pipelines.config import load_config
from pipelines.upkeep import ask, make_bigquery_views
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from tests.support.bigquery import Dataset, new_dataset
from tests.support.faulty_proxy import FaultyProxy, bytes_to_read
from tests.support.views import ROWS
from transforms.sinks.bigquery.write import BigQuerySink
from transforms.sinks.duckdb import write_tables

pytestmark = pytest.mark.bigquery
_VIEW = "SELECT policy, severity, flagged FROM precision_by_policy ORDER BY 1, 2"
_TABLE = "SELECT cluster_id, MAX(revision) AS newest FROM flagged_clusters GROUP BY 1 ORDER BY 1"


@pytest.fixture(scope="module")
def dataset(bigquery: BigQueryEmulator) -> Dataset:
    dataset = new_dataset(bigquery)
    rows = {name: TABLES[name].to_arrow(found) for name, found in ROWS.items()}
    BigQuerySink(dataset.uri, "r1").write(rows)
    make_bigquery_views(dataset.uri, "", load_config(None))
    return dataset


@pytest.mark.parametrize("sql", [_VIEW, _TABLE, f"-- all of them\n{_TABLE};"])
def test_the_answer_is_that_of_a_database(dataset: Dataset, sql: str, tmp_path: Path) -> None:
    database = tmp_path / "out.duckdb"
    rows = {name: TABLES[name].to_arrow(found) for name, found in ROWS.items()}
    write_tables(database, rows)
    found = ask_dataset(dataset.uri, sql, load_config(None))
    names, expected = ask(database, sql)
    assert (found.names, found.rows) == (names, expected)
    assert expected
    done = CliRunner().invoke(
        command, ["query", "--output", dataset.uri, "--json", "--", sql], catch_exceptions=False
    )
    assert [tuple(row.values()) for row in json.loads(done.stdout)] == expected
    shown = CliRunner().invoke(command, ["query", "--output", dataset.uri, "--", sql])
    assert "BigQuery read 0.0 MiB, about 0.00 USD." in shown.stdout + shown.stderr
    assert str(expected[0][0]) in shown.stdout


def test_views_of_another_dataset_are_meant_where_the_settings_name_one(
    dataset: Dataset, bigquery: BigQueryEmulator
) -> None:
    views = new_dataset(bigquery)
    config = load_config(None, {"bigquery.views_dataset": views.name})
    make_bigquery_views(dataset.uri, "", config)
    there = ask_dataset(dataset.uri, _VIEW, config)
    assert there.rows == ask_dataset(dataset.uri, _VIEW, load_config(None)).rows


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE flagged_clusters",
        "DELETE FROM flagged_clusters WHERE TRUE",
        "SELECT 1; DROP TABLE flagged_clusters",
        "/* SELECT */ TRUNCATE TABLE flagged_clusters",
    ],
)
def test_nothing_but_a_query_is_taken(dataset: Dataset, sql: str) -> None:
    with pytest.raises(DistilwatchError):
        ask_dataset(dataset.uri, sql, load_config(None))
    assert len(dataset.rows("flagged_clusters")) == len(ROWS["flagged_clusters"])


def test_a_dear_query_does_not_begin(dataset: Dataset, bigquery: BigQueryEmulator) -> None:
    with FaultyProxy(bigquery.rest) as proxy:
        proxy.fail("POST", r"/bigquery/v2/projects/[^/]+/jobs", change=bytes_to_read(5 * 2**40))
        with pytest.raises(DistilwatchError, match=r"about 31\.25 USD, and 25\.00 are allowed"):
            ask_dataset(dataset.at(proxy.address), _TABLE, load_config(None))


def test_what_is_not_there_is_told(dataset: Dataset) -> None:
    with pytest.raises(DistilwatchError, match="the query has no answer") as caught:
        ask_dataset(dataset.uri, "SELECT nothing FROM flagged_clusters", load_config(None))
    assert caught.value.mend
