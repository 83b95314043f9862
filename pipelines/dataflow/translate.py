"""The job as Dataflow would get it, without a cloud: Beam's own translation, not submitted."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

from pipelines.config import load_config
from pipelines.dataflow.bundles import BucketBundle
from pipelines.dataflow.options import dataflow_options
from pipelines.dataflow.submit import dataflow_pipeline
from pipelines.detect.plan import DetectOptions, Plan, policy_of
from pipelines.parts import known_texts
from transforms.alerts.policy import AlertBudget

Kind = Literal["bounded", "endless"]
KINDS: tuple[Kind, ...] = ("bounded", "endless")
_VERSION = "projects/example-project/secrets/hmac/versions/1"


@contextmanager
def example_plan(kind: Kind, **settings: Any) -> Iterator[Plan]:
    """A plan as the settings' defaults make it; a__b=1 sets a.b."""
    made = {
        "dataflow.project": "example-project",
        "dataflow.region": "europe-west1",
        "dataflow.temp_location": "gs://example-bucket/tmp",
        "dataflow.image": "europe-docker.pkg.dev/example-project/distilwatch/detect:0",
        "dataflow.secrets": {"DISTILWATCH_HMAC_KEY": _VERSION},
    }
    config = load_config(None, made | {k.replace("__", "."): v for k, v in settings.items()})
    budget = AlertBudget(
        config.alerts.max_p, config.alerts.pages_per_day, config.profiles.window_ms
    )
    with tempfile.TemporaryDirectory() as folder, _key(config.ingest.hmac_key_env):
        file = Path(folder) / "events.jsonl"
        file.write_text("{}\n", encoding="utf-8")
        # How a bounded topic or table is cut up is asked of the broker, or of BigQuery; the steps
        # of a file have the same labels but one.
        uri = str(file) if kind == "bounded" else "kafka://broker:9092/requests?bounded=false"
        options = DetectOptions(
            [uri], Path("bundle"), ["bigquery://example-project/distilwatch"], config,
            "dataflow", "example", [],
        )  # fmt: skip
        yield Plan(
            options, BucketBundle("gs://example-bucket/bundles/0", "0" * 64), "0",
            policy_of(config, known_texts(config), config.alerts.max_p), "example",
            kind == "endless", "dataflow",
            budget=budget if config.alerts.control != "discoveries" else None,
        )  # fmt: skip


@contextmanager
def _key(variable: str) -> Iterator[None]:
    before = os.environ.get(variable)
    os.environ[variable] = "an example of a key, of no use"
    try:
        yield
    finally:
        del os.environ[variable]
        if before is not None:
            os.environ[variable] = before


def translated(plan: Plan) -> tuple[beam_runner_api_pb2.Pipeline, Any]:
    """What Beam's runner for Dataflow makes of a plan, and the job it would send.

    Nothing is sent, and no credentials are needed.

    Raises:
      ValueError: the runner refuses it, for instance for a key without a deterministic coder.
    """
    options = dataflow_options(plan.config.dataflow, plan.run_id, plan.endless, ["--dry_run=True"])
    pipeline = dataflow_pipeline(plan, plan.options.outputs[0], options)
    runner = DataflowRunner()
    result = runner.run_pipeline(pipeline, options)
    return runner.proto_pipeline, result.job
