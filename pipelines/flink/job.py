"""A job on a cluster, followed from here through whatever happens to the cluster."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from pipelines.flink.rest import END_OF_TIME, ENDED, Away, Checkpoints, FlinkRest
from schemas.errors import DistilwatchError, told_by_a_worker

_LOOK_EVERY_S = 1.0
_PATIENCE_S = 600.0
_SAY_AGAIN_S = 60.0
# Flink looks at its steps' watermarks every ten seconds, and tells the ones it saw until then.
_OLD_WATERMARKS_S = 20.0
# What a task manager says, about its own call, when the worker at the other end is no more.
_CANCELLED = "StatusRuntimeException: CANCELLED: call already cancelled"
_WORKER_GONE = "a Python worker has died, or lost its connection; the workers' log may say why"
_CAUSE = re.compile(r"^Caused by: (.+)$", re.MULTILINE)


class FlinkJob:
    """Looks after a job until it ends; a job manager may be away for some minutes meanwhile.

    Whenever Flink takes the job back to its last checkpoint, `say` is told why.

    Attributes:
      id: the cluster's name for it.
      ended: set when it has ended, or is given up.
      failure: why it failed; None while it goes on and when it ended well.
    """

    def __init__(
        self,
        rest: FlinkRest,
        job: str,
        say: Callable[[str], None] = lambda _: None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self.id = job
        self.ended = threading.Event()
        self.failure: BaseException | None = None
        self._rest, self._patience_s = rest, patience_s
        self._say = say
        self._failed_ms: int | None = None
        self._said: tuple[str, float] = "", 0.0
        self._at_end: Checkpoints | None = None
        self._told_anew = 0.0
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        answered = time.monotonic()
        while not self._left.wait(_LOOK_EVERY_S):
            try:
                state = self._rest.state(self.id)
                if state in ENDED:
                    if state != "FINISHED":
                        self.failure = failure_of(self._rest, self.id, state)
                    self.ended.set()
                    return
                self._look_for_failure()
                answered = time.monotonic()
            except Away as away:
                if time.monotonic() - answered > self._patience_s:
                    self.failure = DistilwatchError(
                        f"the job manager has been away for {self._patience_s:.0f} s ({away})",
                        self._rest.master,
                        "start it again: the job goes on from its last checkpoint where the "
                        "cluster is highly available; then run this again",
                    )
                    self.ended.set()
                    return
            except Exception as problem:  # an answer that nobody foresaw must not end in silence
                self.failure = problem
                self.ended.set()
                return

    def _look_for_failure(self) -> None:
        newest, before = self._rest.newest_failure(self.id), self._failed_ms
        self._failed_ms = max(newest.at_ms, before or 0)
        # What was so when this process came to the job is no news, nor that a new job manager
        # knows of no failure.
        if before is None or newest.at_ms <= before:
            return
        why, now = cause_of(newest.trace), time.monotonic()
        if why != self._said[0] or now > self._said[1] + _SAY_AGAIN_S:
            self._said = why, now
            self._say(f"the job on Flink goes back to its last checkpoint: {why}")

    def leave(self) -> None:
        """Looks after it no more."""
        self._left.set()
        self._thread.join(30)

    def cancel(self) -> None:
        """Ends the job without a savepoint; what happens to it then is no failure."""
        self.leave()
        if not self.ended.is_set():
            self._insist(lambda: self._rest.cancel(self.id))
            self._until_ended()
            self.failure = None

    def has_drained(self) -> bool:
        """Whether all that comes of the input's end is done; False, too, while nobody answers.

        A step is said to be at the end when it is told so, which may be long before it is through
        with what came until then. A checkpoint that begins after that waits for it
        (`finish_bundle_before_checkpointing`). A job that is taken back to an earlier one goes
        through the end once more.

        The job goes on after it: Flink keeps its sources, and with them all that follows.
        """
        with suppress(Away):
            if self._rest.watermark(self.id) != END_OF_TIME:
                self._at_end = None
                return False
            now = self._rest.checkpoints(self.id)
            if self._at_end is None:
                self._at_end = now
            elif now.restored_ms != self._at_end.restored_ms:
                self._at_end = now
                self._told_anew = time.monotonic() + _OLD_WATERMARKS_S
            if time.monotonic() < self._told_anew:
                self._at_end = now
            return now.completed > self._at_end.begun
        return False

    def stop(self, folder: str | None) -> str:
        """Ends the job with a savepoint; returns where that is.

        Raises:
          DistilwatchError: there is none; the job is still running then.
        """
        self.leave()
        place: list[str] = []
        self._insist(lambda: place.append(self._rest.stop(self.id, folder)))
        if not place:
            raise DistilwatchError(
                "the job manager does not answer, so no savepoint was taken",
                self._rest.master,
                "the job goes on when it is back; run this again, then stop it",
            )
        self._until_ended()
        self.failure = None
        return place[0]

    def _until_ended(self) -> None:
        def look() -> None:
            if self._rest.state(self.id) not in ENDED:
                raise Away("not ended")

        self._insist(look, 60.0)

    def _insist(self, what: Callable[[], object], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                what()
                return
            except Away:
                if time.monotonic() > deadline:
                    return
                time.sleep(0.5)


def cause_of(trace: str) -> str:
    """What a Java stack trace says last, or our own message in it; "" where it says nothing."""
    ours = told_by_a_worker(RuntimeError(trace))
    if ours is not None:
        return str(ours)
    causes = _CAUSE.findall(trace) or trace.splitlines()[:1]
    last = str(causes[-1]).strip() if causes else ""
    return _WORKER_GONE if _CANCELLED in last else last


def failure_of(rest: FlinkRest, job: str, state: str) -> BaseException:
    """What to say of a job that did not end well."""
    try:
        trace = rest.newest_failure(job).trace
    except Away:
        trace = ""
    ours = told_by_a_worker(RuntimeError(trace))
    if ours is not None:
        return ours
    cause = cause_of(trace)
    return DistilwatchError(
        f"the job on Flink was {state.lower()}{f': {cause}' if cause else ''}",
        f"job {job} on {rest.master}",
        "look at its exceptions in Flink's own pages, mend the cause, then run this again",
    )
