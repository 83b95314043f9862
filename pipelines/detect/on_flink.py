"""Runs `detect` on a Flink cluster: gives it the job, or finds the one that is running already."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam

from pipelines.console import Console
from pipelines.detect.build import build
from pipelines.detect.plan import Plan
from pipelines.flink.job import FlinkJob
from pipelines.flink.jobserver import find_job_server, job_server_running
from pipelines.flink.options import flink_options
from pipelines.flink.rest import GOING, Away, FlinkRest
from pipelines.flink.retained import MEND, retains_too_few
from pipelines.flink.worker_pool import ThreadPool, serving
from schemas.errors import DistilwatchError

_LISTED_S = 120.0


def job_name(plan: Plan) -> str:
    """Under which the cluster lists a run."""
    return f"distilwatch-{plan.run_id}"


def running_job(plan: Plan) -> str | None:
    """The job of this run that an earlier process has left running, to go on with; None without.

    What ran in a process that is gone cannot go on, so such a job is ended.

    Raises:
      DistilwatchError: no cluster answers, or it runs such a job and the run is to go on from a
        savepoint.
    """
    rest = FlinkRest(_master(plan))
    try:
        going = [job for job in rest.jobs(job_name(plan)) if job.state in GOING]
        if going and plan.options.savepoint is not None:
            raise DistilwatchError(
                f"a job of this run is already running: {going[0].id}",
                f"--from-savepoint {plan.options.savepoint}",
                "leave it out to go on with that job, or stop it first",
            )
        if going and plan.config.flink.workers != "loopback":
            return going[0].id
        for job in going:
            FlinkJob(rest, job.id).cancel()
    except Away as away:
        raise DistilwatchError(
            f"no Flink cluster answers ({away})", rest.master, "start it, then run this again"
        ) from None
    finally:
        rest.close()
    return None


@contextmanager
def on_flink(plan: Plan, staging: str, console: Console, running: str | None) -> Iterator[FlinkJob]:
    """A job on the cluster, while the block lasts looked after; ending it is up to the caller.

    Args:
      plan: of the run.
      staging: where workers leave rows.
      console: gets a word about the job.
      running: a job to go on with; None to give the cluster a new one.
    """
    rest = FlinkRest(_master(plan))
    server = plan.config.flink.job_server
    started = server is None and running is None
    elsewhere = None if plan.config.flink.workers == "loopback" else plan.config.flink.workers
    try:
        with (
            nullcontext(elsewhere) if elsewhere else serving(ThreadPool()) as workers,
            job_server_running(find_job_server(), rest.master)
            if started
            else nullcontext(server) as endpoint,
        ):
            if plan.endless and (wrong := _trouble(rest)):
                console.warn(wrong)
            if running is None:
                assert endpoint is not None
                running = _submit(plan, staging, rest, endpoint, workers)
            console.note(f"Flink's job {running}, {job_name(plan)}")
            job = FlinkJob(rest, running, console.warn)
            try:
                yield job
            finally:
                job.leave()
    finally:
        rest.close()


def _trouble(rest: FlinkRest) -> str | None:
    """What of the cluster's configuration will stop a stream one day."""
    with suppress(Away):  # what asks it next tells of that
        if wrong := retains_too_few(rest.configuration()):
            return f"{wrong}; {MEND}"
    return None


def _submit(plan: Plan, staging: str, rest: FlinkRest, endpoint: str, workers: str) -> str:
    name = job_name(plan)
    before = {job.id for job in rest.jobs(name)}
    options = flink_options(
        plan.config.flink, endpoint, name, plan.options.beam_args, plan.endless,
        plan.options.savepoint, workers,
    )  # fmt: skip
    pipeline = beam.Pipeline(options=options)
    # Workers are elsewhere: relative paths would be of their own folders.
    bundle = replace(plan.bundle, folder=str(Path(plan.bundle.folder).absolute()))
    build(pipeline, replace(plan, bundle=bundle), str(Path(staging).absolute()))
    result = pipeline.run()
    deadline = time.monotonic() + _LISTED_S
    while time.monotonic() < deadline:
        new = [job for job in rest.jobs(name) if job.id not in before]
        if new:
            return new[0].id
        if str(result.state) in ("FAILED", "CANCELLED"):
            break
        time.sleep(0.2)
    said = _cause(result)
    raise DistilwatchError(
        f"the cluster did not take the job{': ' + said[-600:] if said else ''}",
        rest.master,
        "look at the log of its job manager"
        + (f", and check that {plan.options.savepoint} is there" if plan.options.savepoint else ""),
    )


def _cause(result: Any) -> str:
    """What the job server said last of a job that it could not submit."""
    with suppress(Exception):
        result.wait_until_finish(1000)
    with suppress(Exception):
        return " ".join(str(result._last_error_message()).split())
    return ""


def _master(plan: Plan) -> str:
    master = plan.config.flink.master
    assert master is not None  # preflight has seen to it
    return master
