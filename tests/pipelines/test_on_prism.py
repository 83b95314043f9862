"""A job on Prism ends when a bundle has failed, even where Prism does not say so."""

from __future__ import annotations

import logging
import queue
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker.sdk_worker import SdkHarness

from pipelines.console import Console
from pipelines.detect.on_prism import BundleFailure, PrismJob, _bundles_that_fail
from schemas.errors import DistilwatchError


class _Result:
    """Of a pipeline that ends when it is told to, with this failure."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.over = threading.Event()
        self.failure = failure

    def wait_until_finish(self) -> None:
        self.over.wait(60)
        if self.failure is not None:
            raise self.failure


def process_bundle() -> None:
    """Fails as ours do; it is called as Beam's own is."""
    raise DistilwatchError("there is no room", "/spool", "make some")


def report_progress() -> None:
    """Fails, as what asks after a bundle that has ended may."""
    raise KeyError("bundle")


def work(task: Any) -> str:
    """Has Beam's worker run it; returns the error that the runner is told of."""
    harness = SimpleNamespace(_responses=queue.Queue())
    SdkHarness._execute(harness, task, beam_fn_api_pb2.InstructionRequest(instruction_id="i1"))
    return str(harness._responses.get().error)


@pytest.mark.parametrize("level", [logging.NOTSET, logging.CRITICAL])
def test_a_job_ends_when_a_bundle_failed_and_prism_hangs(
    level: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where a stream that this process ran before has left Beam's loggers quiet."""
    caplog.set_level(level, "apache_beam.runners.worker")
    with Console(as_json=True), _bundles_that_fail() as failure:
        job = PrismJob(_Result(), failure, ends_within_s=0.2)
        assert work(report_progress)
        assert not job.ended.wait(0.5)
        assert "no room" in work(process_bundle)
        assert job.ended.wait(10)
    assert str(job.failure) == "there is no room (/spool): make some"
    with _bundles_that_fail() as failure:
        pass
    work(process_bundle)  # outside it nobody looks
    assert not failure.told.is_set()


def test_what_prism_says_of_a_failed_bundle_counts_first() -> None:
    result, failure = _Result(RuntimeError("the pipeline failed")), BundleFailure()
    job = PrismJob(result, failure, ends_within_s=30)
    failure.traceback = "what the worker said"
    failure.told.set()
    result.over.set()
    assert job.ended.wait(10)
    assert str(job.failure) == "the pipeline failed"


def test_a_job_that_has_ended_stays_as_it_was() -> None:
    """Prism is killed after it, which its client takes for a failure."""
    result, failure = _Result(RuntimeError("the connection is gone")), BundleFailure()
    job = PrismJob(result, failure, ends_within_s=0.0)
    failure.traceback = "what the worker said"
    failure.told.set()
    assert job.ended.wait(10)
    result.over.set()
    threading.Event().wait(0.2)
    assert str(job.failure) == "what the worker said"
    job.cancel()
    assert job.failure is not None
