"""Beam's options for a job on Dataflow."""

from __future__ import annotations

import re
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.dataflow import secrets
from pipelines.settings.dataflow import DataflowConfig

_NO_JOB_NAME = re.compile(r"[^a-z0-9]+")


def job_name(run_id: str) -> str:
    """Under which Dataflow lists a run: small letters, digits and hyphens, 63 at most.

    It is the same each time, because an update finds the running job by its name.

    >>> job_name("run-Main_2")
    'distilwatch-run-main-2'
    """
    return f"distilwatch-{_NO_JOB_NAME.sub('-', run_id.lower())}"[:63].strip("-")


def lasting(temp_location: str) -> str:
    """The folder beside that for what is passing: workers that come later look there, too.

    Buckets are set to remove what is passing after some weeks, and streams live longer.

    >>> lasting("gs://bucket/tmp/")
    'gs://bucket'
    >>> lasting("gs://bucket")
    'gs://bucket'
    """
    folder = temp_location.rstrip("/")
    parent = folder.rpartition("/")[0]
    return folder if parent.endswith("/") else parent


def dataflow_options(
    config: DataflowConfig,
    run_id: str,
    endless: bool,
    args: Sequence[str] = (),
) -> PipelineOptions:
    """Options for a job.

    Args:
      config: the settings; what is None there is left to `args`.
      run_id: names the job.
      endless: whether input has no end: a streaming job.
      args: Beam's own options, of the user or of a Flex Template's launcher; they come last, so
        they count.
    """
    own = [
        "--runner=DataflowRunner",
        f"--job_name={job_name(run_id)}",
        "--experiments=use_runner_v2",
        # The image has all of it: nothing is installed on workers.
        "--sdk_location=container",
        "--no_use_public_ips",
        f"--machine_type={config.machine_type}",
        f"--num_workers={config.workers}",
        f"--max_num_workers={config.max_workers}",
        "--autoscaling_algorithm=THROUGHPUT_BASED",
        f"--beam_plugins={secrets.MODULE}",
        *secrets.as_arguments(config.secrets),
    ]
    for name, value in (
        ("project", config.project),
        ("region", config.region),
        ("temp_location", config.temp_location),
        ("staging_location", config.temp_location and f"{lasting(config.temp_location)}/staging"),
        ("sdk_container_image", config.image),
        ("service_account_email", config.service_account),
        ("subnetwork", config.subnetwork),
    ):
        if value is not None:
            own.append(f"--{name}={value}")
    if endless:
        # Exactly once, as is the default: counts and sketches are sums.
        own += ["--streaming", "--enable_streaming_engine"]
    return PipelineOptions([*own, *args])
