"""Tables and rows on the emulator: made, evolved, replaced by key, counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from google.cloud import bigquery as api

from infra.local.bigquery_emulator import BigQueryEmulator
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from tests.support.bigquery import Dataset, new_dataset
from tests.support.spans import recorded
from tests.transforms.sinks.bigquery.rows import counts, letter, session, sessions
from transforms.bigquery.client import BigQueryOptions, Connection
from transforms.sinks.bigquery.write import BigQuerySink

pytestmark = pytest.mark.bigquery
OPTIONS = BigQueryOptions(retry_s=5.0)


@pytest.fixture
def dataset(bigquery: BigQueryEmulator) -> Dataset:
    return new_dataset(bigquery)


def sink(dataset: Dataset, **options: object) -> BigQuerySink:
    return BigQuerySink(dataset.uri, "run-1", replace(OPTIONS, **options))  # type: ignore[arg-type]


def test_tables_are_made_as_the_contract_and_the_settings_say(dataset: Dataset) -> None:
    sink(dataset, expire_ms=400 * 86_400_000, labels=(("team", "abuse"),)).write({})
    assert dataset.tables() == set(TABLES)
    for name, table in TABLES.items():
        there = dataset.client.get_table(f"{dataset.name}.{name}")
        assert [f.name for f in there.schema] == [c.name for c in table.columns]
        assert [f.description for f in there.schema] == [c.about() for c in table.columns]
        assert tuple(there.clustering_fields or ()) == table.clustering
        assert there.description == table.description
        assert there.labels["team"] == "abuse"
        assert there.labels["contract_version"] == "1"
        if table.partition:
            assert there.time_partitioning.type_ == "DAY"
            assert there.time_partitioning.field == table.partition
            # What people decided holds until they said.
            kept = None if name == "dispositions" else 400 * 86_400_000
            assert there.time_partitioning.expiration_ms == kept
        else:
            assert there.time_partitioning is None


def test_each_table_that_is_written_is_a_span(dataset: Dataset) -> None:
    with recorded() as told:
        sink(dataset).write(
            {
                "session_scores": sessions(3),
                "flagged_clusters": TABLES["flagged_clusters"].to_arrow([]),
            }
        )
    # What has no rows is not written; the sink's own counts are.
    assert [about["table"] for _, about, _ in told] == ["session_scores", "run_health"]
    assert told[0] == ("write a table", {"table": "session_scores", "rows": 3}, "")


def test_expiry_and_labels_follow_the_settings_and_labels_of_others_stay(dataset: Dataset) -> None:
    sink(dataset).write({})
    there = dataset.client.get_table(f"{dataset.name}.session_scores")
    there.labels = {**there.labels, "cost_centre": "7"}
    dataset.client.update_table(there, ["labels"])
    sink(dataset, expire_ms=86_400_000, labels=(("team", "abuse"),)).write({})
    there = dataset.client.get_table(f"{dataset.name}.session_scores")
    assert there.time_partitioning.expiration_ms == 86_400_000
    assert there.time_partitioning.field == "session_start"
    assert there.labels["team"] == "abuse"
    assert there.labels["cost_centre"] == "7"


def _older(dataset: Dataset, name: str, without: int, extra: list[dict[str, str]]) -> None:
    """Makes a table of an older version: without the last columns, and with one of others."""
    table = TABLES[name]
    fields = table.bigquery()[: len(table.columns) - without] + extra
    schema = [api.SchemaField.from_api_repr(f) for f in fields]
    dataset.client.create_table(
        api.Table(f"{dataset.emulator.project}.{dataset.name}.{name}", schema=schema)
    )


def test_an_older_table_gets_the_columns_added_since_and_keeps_those_of_others(
    dataset: Dataset,
) -> None:
    theirs = {"name": "reviewed", "type": "BOOL", "mode": "NULLABLE"}
    _older(dataset, "session_scores", 3, [theirs])
    writer = sink(dataset)
    writer.write({"session_scores": sessions(2, window_start=1_780_272_000_000)})
    found = dataset.rows("session_scores")
    assert [r["session_id"] for r in found] == ["s0000", "s0001"]
    assert all(r["window_start"] is not None and r["reviewed"] is None for r in found)


def test_where_others_make_tables_a_missing_column_is_told_and_nothing_changed(
    dataset: Dataset,
) -> None:
    with pytest.raises(DistilwatchError, match="table session_scores does not exist"):
        sink(dataset, create_tables=False).write({})
    _older(dataset, "session_scores", 1, [])
    with pytest.raises(DistilwatchError, match="session_scores is of an older version"):
        sink(dataset, create_tables=False).write({})
    assert dataset.tables() == {"session_scores"}


def test_another_table_of_the_same_name_is_left_alone(dataset: Dataset) -> None:
    dataset.client.create_table(
        api.Table(
            f"{dataset.emulator.project}.{dataset.name}.session_scores",
            schema=[api.SchemaField("session_id", "INT64")],
        )
    )
    with pytest.raises(DistilwatchError) as caught:
        sink(dataset).write({"session_scores": sessions(1)})
    assert "session_id is NULLABLE INT64 there, and REQUIRED STRING here" in caught.value.what


def test_writing_again_changes_nothing_and_a_changed_row_replaces_its_own(
    dataset: Dataset,
) -> None:
    tables = {
        "session_scores": sessions(500),
        "dead_letters": letter(7),
        "run_health": counts(read=500),
    }
    writer = sink(dataset)
    writer.write(tables)
    before = {name: dataset.rows(name) for name in tables}
    assert len(before["session_scores"]) == 500
    assert before["session_scores"][0]["features"][0]["value"] == 0.25
    sink(dataset).write(tables)
    assert {name: dataset.rows(name) for name in tables} == before

    new = TABLES["session_scores"].to_arrow(
        [session("s0001", score=0.75), session("s0001", 2), session("more")]
    )
    sink(dataset).write({"session_scores": new})
    after = dataset.rows("session_scores")
    assert len(after) == 502
    assert [r["score"] for r in after if r["session_id"] == "s0001"] == [0.75, 0.5]


def test_arrivals_are_counted_in_the_dataset_and_in_the_sink(dataset: Dataset) -> None:
    writer = sink(dataset)
    writer.write({"session_scores": sessions(3), "run_health": counts(read=3)})
    writer.write({"session_scores": sessions(2)})
    assert writer.total.as_dict() == {"sent": 5, "arrived": 5, "refused": 0}
    found = dataset.query(
        "SELECT metric, value FROM {d}.run_health WHERE stage = 'bigquery' ORDER BY metric"
    )
    assert found == [("arrived", 5), ("not_taken", 0), ("sent", 5)]


def test_a_row_that_somebody_else_doubled_is_told(dataset: Dataset) -> None:
    sink(dataset).write({"session_scores": sessions(1)})
    dataset.query("INSERT INTO {d}.session_scores SELECT * FROM {d}.session_scores")
    with pytest.raises(DistilwatchError, match="1 rows were sent to session_scores, 2 arrived"):
        sink(dataset).write({"session_scores": sessions(1)})


def test_counts_that_an_earlier_process_left_go(dataset: Dataset) -> None:
    sink(dataset).write({"run_health": counts(read=9, refused_late=2)}, whole_run=True)
    dataset.query(
        "INSERT INTO {d}.run_health (run_id, metric, value, stage, source) "
        "VALUES ('run-2', 'read', 1, '', '')"
    )
    sink(dataset).write({"run_health": counts(read=4)}, whole_run=True)
    found = dataset.query("SELECT run_id, metric, value FROM {d}.run_health ORDER BY run_id")
    assert found == [("run-1", "read", 4), ("run-2", "read", 1)]


def test_flat_tables_go_over_the_emulators_own_storage_write_api(dataset: Dataset) -> None:
    """It takes no records within rows, so only tables without them can be tried on it."""
    writer = sink(dataset, method="storage_write")
    letters = pa.concat_tables([letter(i) for i in range(50)])
    writer.write({"dead_letters": letters, "run_health": counts(read=50)})
    assert len(dataset.rows("dead_letters")) == 50
    sink(dataset, method="storage_write").write({"dead_letters": letters})
    assert len(dataset.rows("dead_letters")) == 50
    assert dataset.tables() == set(TABLES)


def test_a_table_whose_day_is_part_of_the_key_is_looked_at_on_that_day_alone(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evidence(day: int, accounts: int) -> pa.Table:
        start = datetime(2026, 6, day, tzinfo=UTC)
        row = {"cluster_id": "c", "window_start": start, "revision": 1, "account_count": accounts}
        return TABLES["cluster_evidence"].to_arrow([row])

    asked: list[str] = []
    query = Connection.query

    def listening(self: Connection, sql: str, *rest: Any) -> Any:
        asked.append(" ".join(sql.split()))
        return query(self, sql, *rest)

    monkeypatch.setattr(Connection, "query", listening)
    writer = sink(dataset)
    for rows in (evidence(1, 2), evidence(20, 3), evidence(1, 4)):
        writer.write({"cluster_evidence": rows})
    merges = [sql for sql in asked if "cluster_evidence" in sql and "MERGE" in sql]
    assert len(merges) == 3
    assert (
        "BETWEEN TIMESTAMP '2026-06-01 00:00:00.000000+00' AND TIMESTAMP '2026-06-01" in merges[2]
    )
    assert [r["account_count"] for r in dataset.rows("cluster_evidence")] == [4, 3]
