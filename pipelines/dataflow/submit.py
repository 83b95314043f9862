"""Makes the job of a plan, and gives it to Dataflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipelines.console import Console
from pipelines.dataflow.bundles import BucketBundle, upload
from pipelines.dataflow.options import dataflow_options, lasting
from pipelines.dataflow.secrets import into_environment
from pipelines.detect.build import build
from pipelines.detect.plan import DetectSummary, Plan
from pipelines.parts import bigquery_options
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.bigquery.client import Connection
from transforms.bigquery.refusal import refused
from transforms.bigquery.uri import parse_bigquery_uri
from transforms.sinks.bigquery.tables import ensure_table
from transforms.sinks.outgoing import ToBigQuery


def dataflow_pipeline(plan: Plan, uri: str, options: PipelineOptions) -> beam.Pipeline:
    """The whole pipeline, whose workers write the tables themselves.

    Args:
      plan: with a bundle that workers can fetch; secret keys are in the environment, here and on
        workers.
      uri: bigquery://project/dataset.
      options: of the job.
    """
    pipeline = beam.Pipeline(options=options)
    write = bigquery_options(plan.config)
    wait_s = plan.config.bigquery.commit_every / 1000 if plan.endless else 0.0
    out = ToBigQuery(uri, plan.run_id, write, wait_s=wait_s)
    build(pipeline, replace(plan, keys_by_name=True), out)
    return pipeline


def run_on_dataflow(plan: Plan, console: Console, bundle: str | None = None) -> DetectSummary:
    """Gives a plan to Dataflow; the job goes on when this returns.

    Args:
      plan: with settings, and Beam's own options that count more.
      console: is told.
      bundle: where workers fetch the bundle; None: it is uploaded first.

    Raises:
      DistilwatchError: Dataflow does not take the job.
    """
    how, args = plan.config.dataflow, plan.options.beam_args
    into_environment(how.secrets)
    options = dataflow_options(how, plan.run_id, plan.endless, args)
    (uri,) = plan.options.outputs
    if plan.config.bigquery.create_tables:
        _define_all(uri, plan)
    if bundle is None:
        console.step("Put the bundle where workers find it")
        assert how.temp_location is not None  # preflight
        bundle = upload(Path(plan.bundle.folder), lasting(how.temp_location))
    plan = replace(plan, bundle=BucketBundle(bundle, plan.bundle.manifest_sha256))
    console.step("Give the job to Dataflow")
    job = _submitted(dataflow_pipeline(plan, uri, options), options)
    return DetectSummary(plan.run_id, plan.bundle_version, {}, {}, job=job)


def _define_all(uri: str, plan: Plan) -> None:
    """Makes the tables that workers never write to: other commands and the pages ask for them.

    Raises:
      DistilwatchError: they may not be made, or are others.
    """
    connection = Connection(parse_bigquery_uri(uri), bigquery_options(plan.config))
    try:
        connection.locate()
        for table in TABLES.values():
            ensure_table(connection, table)
    except Exception as error:
        raise refused(error, connection.uri, "the tables cannot be made") from error


def _submitted(pipeline: beam.Pipeline, options: PipelineOptions) -> str:
    cloud = options.view_as(GoogleCloudOptions)
    where = f"Dataflow in {cloud.region}, job {cloud.job_name}"
    try:
        result: Any = pipeline.run()
    except DistilwatchError:
        raise
    except Exception as error:
        raise DistilwatchError(
            f"the job was not taken: {_brief(error)}",
            where,
            "an update that does not fit the running job: see docs/dataflow.md, Update; otherwise "
            "mend what it says",
        ) from error
    job = getattr(result, "job_id", None)
    found = job() if callable(job) else cloud.job_name
    return (
        "https://console.cloud.google.com/dataflow/jobs/"
        f"{cloud.region}/{found}?project={cloud.project}"
    )


def _brief(error: Exception) -> str:
    lines: Sequence[str] = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:500]
