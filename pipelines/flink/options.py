"""Beam's options for a run on Flink."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.settings.flink import FlinkConfig


class FlinkJobOptions(PipelineOptions):  # type: ignore[misc]
    """Options of the job server that Beam's Python SDK does not know by itself.

    Where nobody declares them, they are passed over with a warning.
    """

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--checkpointing_interval", type=int)
        parser.add_argument("--min_pause_between_checkpoints", type=int)
        parser.add_argument("--shutdown_sources_after_idle_ms", type=int)
        parser.add_argument("--savepoint_path")
        parser.add_argument(
            "--finish_bundle_before_checkpointing", action="store_true", default=None
        )
        # As the job server describes it: naming it turns it off, so that it does not wait.
        parser.add_argument("--attached_mode", action="store_false", default=None)


def flink_options(
    config: FlinkConfig,
    job_server: str,
    job_name: str,
    args: Sequence[str],
    endless: bool,
    savepoint: str | None,
    workers: str,
) -> PipelineOptions:
    """Options for a job.

    Args:
      config: the settings.
      job_server: host:port.
      job_name: under which the cluster lists it.
      args: Beam's own options, of the user.
      endless: whether input has no end.
      savepoint: to go on from.
      workers: where task managers ask for Python workers, host:port.
    """
    own = [
        "--runner=PortableRunner",
        f"--job_endpoint={job_server}",
        f"--job_name={job_name}",
        f"--parallelism={config.parallelism}",
        "--attached_mode",
        "--environment_type=EXTERNAL",
        f"--environment_config={workers}",
    ]
    if endless:
        # The interval does not only say when: without it the runner takes it that nobody saves
        # anything, lets the first step end, and then Flink cannot save the others.
        own += ["--streaming", f"--checkpointing_interval={config.checkpoint_every}"]
        # Otherwise a step that has to save its state keeps back what it was about to pass on, but
        # not the watermark, and to the steps after it that is late then, and lost.
        own.append("--finish_bundle_before_checkpointing")
        # Or a step that reads when the next one begins has not heard that this one is complete, and
        # with incremental checkpoints refers to files that the job manager has dropped since: it
        # then waits for that step until the checkpoint times out. The cluster's own pause is not
        # asked for: Beam's job server sends one with the job.
        own.append(f"--min_pause_between_checkpoints={config.read_for}")
    if savepoint:
        own.append(f"--savepoint_path={savepoint}")
    return PipelineOptions([*own, *args])
