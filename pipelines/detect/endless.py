"""Runs `detect` on Prism or Flink until it is stopped; results go into the tables meanwhile."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from pipelines.bundles import BundleKeeper, last_good, staged_counts, watched
from pipelines.console import Console
from pipelines.detect.earlier import known_ids
from pipelines.detect.hushed import quiet, told_once
from pipelines.detect.lag import CommitBoth
from pipelines.detect.on_flink import job_name, on_flink, running_job
from pipelines.detect.on_prism import on_prism
from pipelines.detect.plan import DetectSummary, Plan
from pipelines.flink.job import FlinkJob
from pipelines.interrupts import stopped_by_signals
from pipelines.observe.watcher import Commits, Watched, told
from pipelines.oncall import Untold, on_call_meanwhile, untold
from pipelines.parts import bigquery_options
from schemas.errors import DistilwatchError
from transforms.ingest.kafka_group import ask_to_drain, forget_drain
from transforms.scoring.trial import TrialBounds
from transforms.sinks.commit import Committer
from transforms.sinks.spool import Spool, spool_folder

_LAST_TRIES_S = 30.0
_SAY_EVERY_S = 10.0


def run_until_stopped(plan: Plan, console: Console) -> DetectSummary:
    """Runs a plan until it is interrupted, its time is over, or its input has ended.

    Raises:
      DistilwatchError: when input or output cannot be used, or the runner is missing.
    """
    options, config = plan.options, plan.config
    on_cluster = plan.runner == "flink"
    folder = config.flink.spool if on_cluster else None
    spool = Spool(
        Path(folder) if folder else spool_folder(options.outputs, config.run.tmp, plan.run_id)
    )
    with spool.locked(), told_once(), stopped_by_signals() as stop, ExitStack() as quietly:
        desk, outputs = None, options.outputs
        given_up = untold(config.alerts, outputs).dead if options.alerts else 0
        if options.alerts:
            desk = quietly.enter_context(
                on_call_meanwhile(plan.config, outputs, plan.run_id, console.warn)
            )
        else:  # nobody hears of the past: neither channels nor topics
            outputs = [uri for uri in outputs if not uri.startswith("kafka:")]
        to_bigquery = any(uri.startswith("bigquery:") for uri in options.outputs)
        running = running_job(plan) if on_cluster else None
        # A job that goes on, or goes on from a savepoint, has counted from its beginning.
        goes_on = running is not None or options.savepoint is not None
        committer = Committer(
            spool,
            outputs,
            plan.run_id,
            console.warn,
            bigquery=bigquery_options(plan.config) if to_bigquery else None,
            on_call=desk,
            counts_go_on=goes_on,
            earlier=plan.earlier.revisions,
        )
        if not goes_on and (left := spool.take_leftovers()):
            console.note(f"Batches of results that an earlier run left: {left}")
            committer.commit()
            plan = replace(plan, earlier=known_ids(options.outputs))
        plan = replace(plan, flagged=committer.flagged_windows())
        keeper = _keeper(plan, spool, console)
        if keeper is not None:
            plan = replace(plan, bundle=keeper.live())
        console.step("Score sessions, profiles and clusters as they come; Ctrl-C stops")
        plan = replace(plan, positions=str((spool.folder / "positions").absolute()))
        forget_drain(str(plan.positions))
        both = CommitBoth(committer, options.inputs, str(plan.positions), plan.run_id)
        start = (
            on_flink(plan, spool.staging, console, running)
            if on_cluster
            else on_prism(plan, spool.staging)
        )
        # Before the job, so that an address that is taken starts none; and to the last commit.
        with told(plan, both, console) as telling:
            with start as job, watched(keeper, config.bundles.watch_every_ms):
                every_ms = config.run.commit_every_ms
                if to_bigquery:
                    every_ms = max(every_ms, config.bigquery.commit_every)
                watch(job, stop, telling, console, every_ms, options.duration_ms)
                interrupted = stop.is_set()
                # What has an end is not left behind, and ends by itself or not at all.
                how = config.run.on_stop if plan.endless and not job.ended.is_set() else "stop"
                if how == "drain":
                    _drain(job, plan, telling, console)
                quietly.enter_context(quiet())
                savepoint = _end(job, plan, console) if how == "stop" else None
                both.close()
            console.step("Write what is left")
            # What a job that goes on writes meanwhile is for the next command.
            complete = _commit_the_rest(committer, spool, console, last=how != "leave")
            as_asked = job.failure is None or interrupted
            if how == "leave":
                console.note(
                    f"Flink's job {job_name(plan)} goes on; --run-id {plan.run_id} finds it"
                )
            elif complete and as_asked and isinstance(telling, Watched):
                telling.completed()
    if not as_asked and job.failure is not None:
        raise job.failure
    written = committer.written
    rows = written.rows | {
        "flagged_clusters": len(written.members),
        "cluster_members": sum(written.members.values()),
        "alerts": desk.steps if desk is not None else 0,
    }
    not_told = untold(config.alerts, options.outputs) if desk is not None else Untold()
    return DetectSummary(
        plan.run_id,
        plan.bundle_version if keeper is None else keeper.version,
        written.health,
        rows,
        interrupted,
        complete,
        written.delivered,
        savepoint,
        waiting=not_told.failing,
        dead=max(not_told.dead - given_up, 0),  # those of this run
    )


def _drain(job: Job, plan: Plan, committer: Commits, console: Console) -> None:
    """Lets a job come to its end as if its input had ended, and writes what comes of it.

    Raises:
      DistilwatchError: the readers cannot be asked to; the job goes on reading.
    """
    console.step("Drain: read no more, and close all sessions and windows")
    ask_to_drain(str(plan.positions))
    every_s = plan.config.run.commit_every_ms / 1000
    while not job.ended.wait(every_s):
        committer.commit()
        if isinstance(job, FlinkJob) and job.has_drained():
            break
    job.cancel()
    forget_drain(str(plan.positions))


def _end(job: Job, plan: Plan, console: Console) -> str | None:
    """Ends a job that goes on; where its savepoint is, if it has one."""
    if not isinstance(job, FlinkJob) or not plan.endless or job.ended.is_set():
        job.cancel()
        return None
    console.step("Stop the job on Flink with a savepoint")
    deadline = time.monotonic() + _LAST_TRIES_S
    while True:
        try:
            return job.stop(plan.config.flink.savepoints)
        except DistilwatchError as problem:
            # Right after a failure Flink takes none, until all steps are at work again.
            if time.monotonic() < deadline:
                time.sleep(1)
                continue
            console.warn(str(problem))
        if plan.config.flink.workers == "loopback":  # they end with this process
            job.cancel()
        return None


class Job(Protocol):
    """A pipeline that is running."""

    failure: BaseException | None
    ended: threading.Event

    def cancel(self) -> None:
        """Ends it, unless it has ended; what happens to it then is no failure."""


def _keeper(plan: Plan, spool: Spool, console: Console) -> BundleKeeper | None:
    """Looks after the bundle where it may change; it goes on with the one that was used last."""
    if plan.store is None:
        return None
    how = plan.config.bundles
    # Workers on a cluster read these paths in folders of their own.
    folder, store = (spool.folder / "bundles").absolute(), plan.store.absolute()
    first = replace(plan.bundle, folder=str(Path(plan.bundle.folder).absolute()))
    bounds = TrialBounds(
        how.max_factor, how.slack, plan.policy.max_p, how.trial_p, how.trial_min_items,
        how.max_alert_rate,
    )  # fmt: skip
    return BundleKeeper(
        store,
        folder,
        last_good(first, folder),
        bounds,
        how.trial_items,
        console.warn,
        staged_counts(spool.staging, plan.run_id),
    )


def watch(
    job: Job,
    stop: threading.Event,
    committer: Commits,
    console: Console,
    every_ms: int,
    duration_ms: int | None,
) -> None:
    """Commits now and then, until the job ends, `stop` is set, or the time is over.

    Args:
      every_ms: between commits.
      duration_ms: how long at most; None: without a limit.
    """
    every_s = every_ms / 1000
    began = said = time.monotonic()
    while not stop.is_set() and not job.ended.is_set():
        passed = time.monotonic() - began
        left_s = every_s if duration_ms is None else duration_ms / 1000 - passed
        if left_s <= 0:
            return
        _wait_for_either(stop, job.ended, min(every_s, left_s))
        committer.commit()
        if time.monotonic() - said >= _SAY_EVERY_S:
            said = time.monotonic()
            written = committer.written
            newest = written.newest.isoformat(" ", "seconds") if written.newest else "none"
            console.progress(
                written.health.get("read", 0),
                None,
                f"records; newest event {newest}; {len(written.members):,} clusters flagged",
            )


def _wait_for_either(one: threading.Event, other: threading.Event, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not other.is_set() and (left := deadline - time.monotonic()) > 0:
        if one.wait(min(left, 0.2)):
            return


def _commit_the_rest(
    committer: Committer, spool: Spool, console: Console, last: bool = True
) -> bool:
    deadline = time.monotonic() + _LAST_TRIES_S
    while not committer.commit(last=last):
        if time.monotonic() > deadline:
            console.warn(
                f"{spool.waiting()} files of results wait in {spool.folder}; the next run with "
                "this output writes them"
            )
            return False
        time.sleep(0.5)
    return True
