"""Runs `detect` on a Prism of its own, with workers in this process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import apache_beam as beam
from apache_beam.runners.worker import sdk_worker

from pipelines.detect.build import build
from pipelines.detect.plan import Plan
from pipelines.parts import prism_options
from pipelines.prism import find_prism, prism_running
from schemas.errors import told_by_a_worker

_ENDS_WITHIN_S = 30.0


class PrismJob:
    """A running pipeline, looked after by threads.

    Attributes:
      failure: why it failed; None while it goes on and when it ended well.
      ended: set when it has ended.
    """

    def __init__(
        self, result: Any, of_a_bundle: BundleFailure, ends_within_s: float = _ENDS_WITHIN_S
    ) -> None:
        self.failure: BaseException | None = None
        self.ended = threading.Event()
        self._result = result
        self._of_a_bundle = of_a_bundle
        self._ends_within_s = ends_within_s
        for look_after in (self._wait, self._wait_after_a_failure):
            threading.Thread(target=look_after, daemon=True).start()

    def _wait(self) -> None:
        try:
            self._result.wait_until_finish()
        except BaseException as error:
            self._end(error)
        else:
            self._end(None)

    def _wait_after_a_failure(self) -> None:
        """Ends the job where Prism does not, for it never runs a bundle again that has failed.

        Prism 2.77 sometimes hangs then, on a machine that has much to do, and says nothing more.
        """
        self._of_a_bundle.told.wait()
        if not self.ended.wait(self._ends_within_s):
            self._end(RuntimeError(self._of_a_bundle.traceback))

    def _end(self, error: BaseException | None) -> None:
        if self.ended.is_set():
            return
        if error is not None:
            self.failure = told_by_a_worker(error) or error
        self.ended.set()

    def cancel(self) -> None:
        """Stops it, unless it has ended; what happens to it then is no failure."""
        if self.ended.is_set():
            return
        with suppress(Exception):
            self._result.cancel()
        self.ended.wait(5)
        self.failure = None


class BundleFailure(logging.Filter):
    """The first failure of a bundle, as Beam's worker logs it.

    Attributes:
      told: set when there is one.
      traceback: what was said.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()
        self.traceback = ""

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        # Requests that ask how a bundle fares may fail, too, when it has ended.
        if "Error processing instruction" in said and "in process_bundle\n" in said:
            self.traceback = self.traceback or said
            self.told.set()
        return True


@contextmanager
def _bundles_that_fail() -> Iterator[BundleFailure]:
    logger, failure = logging.getLogger(sdk_worker.__name__), BundleFailure()
    before = logger.level
    if not logger.isEnabledFor(logging.ERROR):  # a stream before this one has left it quiet
        logger.setLevel(logging.ERROR)
    logger.filters.insert(0, failure)  # before those that keep it from who reads
    try:
        yield failure
    finally:
        logger.removeFilter(failure)
        logger.setLevel(before)


@contextmanager
def on_prism(plan: Plan, staging: str) -> Iterator[PrismJob]:
    """A job on a Prism of its own."""
    args = plan.options.beam_args
    with prism_running(find_prism(args)) as endpoint, _bundles_that_fail() as failure:
        pipeline = beam.Pipeline(options=prism_options(endpoint, args, plan.endless))
        build(pipeline, plan, staging)
        yield PrismJob(pipeline.run(), failure)
