"""The job as workers run it: a bundle from a bucket, keys by name, rows from them to BigQuery."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from infra.local.bigquery_emulator import BigQueryEmulator
from infra.local.services import KafkaBroker
from pipelines.console import Console
from pipelines.dataflow import launch
from pipelines.dataflow.bundles import BucketBundle, upload
from pipelines.dataflow.parameters import Given
from pipelines.dataflow.submit import dataflow_pipeline
from pipelines.detect import DetectOptions, detect, make_plan
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from tests.support.bigquery import duckdb_rows, new_dataset
from tests.support.events import START_MS
from tests.support.kafka import new_topic
from tests.support.sketches import small_bundle
from tests.support.small_world import as_lines, requests, settings_file, small_config
from transforms.coverage.layout import DAY_MS
from transforms.scoring.bundle import save_bundle

pytestmark = pytest.mark.bigquery


def told(value: Any) -> Any:
    """Rows with times in UTC, but for those that BigQuery's own sink counts."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, list):
        counted = (v for v in value if not isinstance(v, dict) or v.get("stage") != "bigquery")
        return [told(v) for v in counted]
    if isinstance(value, dict):
        return {name: told(v) for name, v in value.items()}
    return value


def test_workers_write_what_the_launcher_would_have_written(
    tmp_path: Path, bigquery: BigQueryEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DISTILWATCH_HMAC_KEY", "a key that workers have in their environment")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    events, bundle, database = (tmp_path / n for n in ("e.jsonl", "bundle", "out.duckdb"))
    made = requests(12, 20, DAY_MS // 2, START_MS)
    events.write_bytes(b"\n".join([*as_lines(made), *as_lines(made[:5]), b"not JSON"]) + b"\n")
    save_bundle(small_bundle(), bundle)
    config = small_config(alerts__max_p=0.9)
    options = DetectOptions(
        [str(events)], bundle, [f"duckdb:///{database}"], config, None, "run-1", []
    )
    detect(options, Console(as_json=True))

    dataset = new_dataset(bigquery)
    where = upload(bundle, str(tmp_path / "bucket"))
    plan = make_plan(replace(options, outputs=[]))
    plan = replace(plan, bundle=BucketBundle(where, plan.bundle.manifest_sha256))
    for _ in range(2):  # a job that is done again changes nothing
        pipeline: beam.Pipeline = dataflow_pipeline(
            plan, dataset.uri, PipelineOptions(["--runner=FnApiRunner"])
        )
        pipeline.run().wait_until_finish()
        for name in set(TABLES) - {"alerts"}:  # which the launcher's desk makes
            expected = duckdb_rows(database, name)
            if expected:
                assert told(dataset.rows(name)) == told(expected), name
    assert duckdb_rows(database, "flagged_clusters")
    assert duckdb_rows(database, "dead_letters")
    assert len(list(tmp_path.glob("distilwatch-bundle-*"))) == 1


@pytest.mark.kafka
def test_the_launcher_looks_at_everything_and_makes_the_job_that_it_would_send(
    tmp_path: Path,
    bigquery: BigQueryEmulator,
    kafka: KafkaBroker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A folder stands for the bucket, the emulator for BigQuery; `--dry_run` sends nothing."""
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DISTILWATCH_HMAC_KEY", "a key that workers have in their environment")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    save_bundle(small_bundle(), tmp_path / "bundle")
    settings = settings_file(tmp_path)
    values = {
        "inputs": f"{new_topic(kafka, 2).uri}?bounded=false",
        "bundle": upload(tmp_path / "bundle", str(tmp_path / "bucket")),
        "output": new_dataset(bigquery).uri,
        "config": str(settings),
        "secrets": "DISTILWATCH_HMAC_KEY=projects/my-project/secrets/hmac/versions/1",
        "run_id": "main",
    }
    added = [
        "--runner=DataflowRunner", "--project=my-project", "--region=europe-west1",
        "--temp_location=gs://my-bucket/tmp", "--staging_location=gs://my-bucket/staging",
        "--sdk_container_image=europe-docker.pkg.dev/p/r/detect:1", "--dry_run=True",
    ]  # fmt: skip
    monkeypatch.setattr(launch, "split", lambda _: Given(values, added))
    where = launch.launch([], Console(as_json=True))
    assert where == (
        "https://console.cloud.google.com/dataflow/jobs/europe-west1/distilwatch-main"
        "?project=my-project"
    )

    # Every mistake at once, before anything is sent.
    wrong = values | {"bundle": str(tmp_path / "none"), "output": "bigquery://my-project/x,y"}
    monkeypatch.setattr(launch, "split", lambda _: Given(wrong, [added[0], "--regoin=x"]))
    with pytest.raises(DistilwatchError) as told_of:
        launch.launch([], Console(as_json=True))
    for words in ("no bundle there", "--regoin", "did you mean --region", "dataflow.image"):
        assert words in str(told_of.value), words
