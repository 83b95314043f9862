"""The streaming job's way of rows, on the streaming runner that is here: the same in the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.local.bigquery_emulator import BigQueryEmulator
from infra.local.services import KafkaBroker
from pipelines.console import Console
from pipelines.dataflow.bundles import BucketBundle, upload
from pipelines.dataflow.submit import dataflow_pipeline
from pipelines.detect import DetectOptions, detect, make_plan
from pipelines.parts import prism_options
from pipelines.prism import prism_running
from tests.support.bigquery import Dataset, duckdb_rows, new_dataset
from tests.support.events import START_MS
from tests.support.kafka import new_topic
from tests.support.sketches import small_bundle
from tests.support.small_world import as_lines, requests, small_config
from tests.support.stream import PATIENCE_S
from transforms.coverage.layout import DAY_MS
from transforms.scoring.bundle import save_bundle

pytestmark = [pytest.mark.bigquery, pytest.mark.kafka, pytest.mark.prism, pytest.mark.slow]


def newest(rows: list[dict[str, Any]], *key: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """Of each key the row with the highest revision."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: int(row["revision"])):
        found[tuple(str(row[k]) for k in key)] = row
    return found


def what_holds(tables: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Sessions with their requests, flagged clusters with their members, and counts."""
    sessions = newest(tables["session_scores"], "session_id")
    clusters = newest(tables["flagged_clusters"], "cluster_id", "window_start")
    members: dict[tuple[str, int], set[str]] = {}
    for row in tables["cluster_members"]:
        members.setdefault((row["cluster_id"], row["revision"]), set()).add(row["account_id"])
    return {
        "sessions": {key: row["request_count"] for key, row in sessions.items()},
        "clusters": sorted(
            sorted(members[row["cluster_id"], row["revision"]])
            for row in clusters.values()
            if row["status"] != "resolved"
        ),
        "read": max((r["value"] for r in tables["run_health"] if r["metric"] == "read"), default=0),
    }


def of_bigquery(dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    there = dataset.tables()
    names = ("session_scores", "flagged_clusters", "cluster_members", "run_health")
    return {name: dataset.rows(name) if name in there else [] for name in names}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_streams_workers_write_what_a_bounded_run_writes(
    tmp_path: Path,
    bigquery: BigQueryEmulator,
    kafka: KafkaBroker,
    prism: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DISTILWATCH_HMAC_KEY", "a key that workers have in their environment")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    topic, bundle, database = new_topic(kafka, 2), tmp_path / "bundle", tmp_path / "out.duckdb"
    made = as_lines(requests(12, 20, DAY_MS // 2, START_MS))
    topic.produce((i % 2, line) for i, line in enumerate(made))
    save_bundle(small_bundle(), bundle)
    config = small_config(alerts__max_p=0.3)
    options = DetectOptions(
        [topic.uri], bundle, [f"duckdb:///{database}"], config, None, "run-1", []
    )
    detect(options, Console(as_json=True))
    names = ("session_scores", "flagged_clusters", "cluster_members", "run_health")
    wanted = what_holds({name: duckdb_rows(database, name) for name in names})
    assert wanted["clusters"]

    dataset = new_dataset(bigquery)
    where = upload(bundle, str(tmp_path / "bucket"))
    plan = make_plan(replace(options, inputs=[f"{topic.uri}?bounded=false"], outputs=[]))
    every = config.bigquery.model_copy(update={"commit_every": 2_000})
    plan = replace(
        plan,
        options=replace(plan.options, config=config.model_copy(update={"bigquery": every})),
        bundle=BucketBundle(where, plan.bundle.manifest_sha256),
    )
    assert plan.endless
    with prism_running(prism) as endpoint:
        job = dataflow_pipeline(plan, dataset.uri, prism_options(endpoint, [], True)).run()
        deadline = time.monotonic() + PATIENCE_S
        found: dict[str, Any] = {}
        while time.monotonic() < deadline:
            found = what_holds(of_bigquery(dataset))
            if found == wanted:
                break
            time.sleep(1)
        job.cancel()
    assert found == wanted
    # Nobody hears of a cluster that was never flagged.
    rows = dataset.rows("flagged_clusters")
    flagged = {(r["cluster_id"], r["window_start"]) for r in rows if r["status"] != "resolved"}
    assert {(r["cluster_id"], r["window_start"]) for r in rows} == flagged
