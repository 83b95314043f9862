"""The same pages over BigQuery: what the store says is what the DuckDB store says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from bench.triage_tables import make_tables
from infra.local.bigquery_emulator import BigQueryEmulator
from pipelines.config import load_config
from pipelines.report.rows import cluster_of
from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.triage.queue import Queue
from pipelines.triage.queue_page import QueueFilter
from pipelines.triage.store import Store, open_store
from pipelines.upkeep import make_bigquery_views
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from schemas.views import NAMES
from tests.support.bigquery import new_dataset
from tests.support.spans import recorded
from tests.support.triage import served
from tests.support.views import ROWS
from transforms.alerts.dispositions import decide
from transforms.sinks.bigquery.write import BigQuerySink
from transforms.sinks.duckdb import write_tables

pytestmark = pytest.mark.bigquery

NEEDED = ("flagged_clusters", "cluster_members", "session_scores", "dispositions")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("triage-bigquery") / "small.duckdb"
    make_tables(path, 25, cells=16)
    return path


@pytest.fixture(scope="module")
def store(small: Path, bigquery: BigQueryEmulator) -> Store:
    dataset = new_dataset(bigquery)
    with duckdb.connect(str(small), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = {
            name: TABLES[name].to_arrow(
                connection.execute(f"SELECT * FROM {name}").to_arrow_table().to_pylist()
            )
            for name in NEEDED
        }
    BigQuerySink(dataset.uri, "made-up").write(rows)
    return open_store(dataset.uri)


def test_each_question_is_a_span_without_its_text(store: Store) -> None:
    with recorded() as told:
        store.index()
    assert told
    assert set(map(str, told)) == {str(("ask BigQuery", {}, ""))}


def _sorted(table: Any) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=lambda r: (r["cluster_id"], r.get("account_id", "")))


def test_index_and_cases_are_those_of_duckdb(small: Path, store: Store) -> None:
    local = DuckDBStore(small)
    for there, here in zip(store.index(), local.index(), strict=True):
        assert there.schema == here.schema
        assert _sorted(there) == _sorted(here)
    for cluster in store.index()[0]["cluster_id"].to_pylist()[:5]:
        told = []
        for rows in (store.case(cluster), local.case(cluster)):
            assert rows is not None
            told.append(cluster_of(rows.cluster, rows.members, rows.sessions))
        assert told[0] == told[1]
    assert store.case("c-none") is None


def test_views_in_a_dataset_of_their_own_are_read_there(
    bigquery: BigQueryEmulator, tmp_path: Path
) -> None:
    """As infra/terraform makes them: the settings say where, for the command and for the pages."""
    tables, views = new_dataset(bigquery), new_dataset(bigquery)
    rows = {name: TABLES[name].to_arrow(found) for name, found in ROWS.items()}
    BigQuerySink(tables.uri, "r1").write(rows)
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"bigquery: {{views_dataset: {views.name}}}\n")
    config = load_config(settings)
    assert len(make_bigquery_views(tables.uri, "", config)) == len(NAMES)
    assert open_store(tables.uri).precision() is None  # none are beside the tables
    there = open_store(tables.uri, config.bigquery.views_dataset).precision()
    database = tmp_path / "out.duckdb"
    write_tables(database, rows)
    here = DuckDBStore(database).precision()
    assert there
    assert here
    assert [_plain(row) for row in there] == [_plain(row) for row in here]
    with served(tables.uri, settings) as url:
        assert "coordinated-campaign" in httpx.get(f"{url}/policies").text


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Times as text: a store says weeks as milliseconds or as times."""
    return {
        k: round(v.timestamp() * 1000) if isinstance(v, datetime) else v for k, v in row.items()
    }


def test_steps_of_alerts_are_changes_too(store: Store) -> None:
    """They are written after the rows that they are of, and are a part of the case."""
    watched = {mark.partition("@")[0] for mark in store.version().split("/")}
    assert watched == {"flagged_clusters", "cluster_members", "dispositions", "alerts"}


def test_a_decision_is_kept_moves_the_cluster_and_is_taken_back_once(store: Store) -> None:
    queue = Queue(store, 0)
    queue.refresh()
    worst = queue.page(QueueFilter(), 1).rows[0].cluster_id
    case = store.case(worst)
    assert case is not None
    made = store.append(
        decide(case.cluster, [m["account_id"] for m in case.members], "dismiss", by="me",
               why="it's ours; é", at_ms=int(time.time() * 1000))
    )  # fmt: skip
    assert store.dispositions() == [made]
    queue.note()  # the emulator's tables do not say that they were changed, so no refresh here
    assert queue.stands(worst).state == "dismissed"
    store.withdraw(made.disposition_id, "me", "no", "test")
    with pytest.raises(DistilwatchError, match="taken back already"):
        store.withdraw(made.disposition_id, "you", "no", "test")
    queue.note()
    assert queue.stands(worst).state == "open"
