"""Beam's workers tell a failure several times, and that they leave: here it is told once."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from apache_beam.runners.worker import sdk_worker

# Modules of Beam's that say when a connection is gone.
_CONNECTED = ("runners.worker.data_plane", "runners.worker.sdk_worker", "runners.common")


@contextmanager
def told_once() -> Iterator[None]:
    """A failure is told by the job that failed; here workers do not tell it, too.

    Beam's worker prints its traceback, and logs it as well: it only logs, from here on, because a
    thread of it that starts a bundle as the runner goes finds that out after all of this is over.
    The runner then closes its connections, and every thread of the worker that reads one tells that
    it is gone; who waits for state that was asked for over one tells of an error without a word.
    And the worker itself may stumble while it clears up.
    """
    vars(sdk_worker)["print"] = lambda *_, **__: None
    before = threading.excepthook

    def tell(failure: threading.ExceptHookArgs) -> None:
        if not issubclass(failure.exc_type, grpc.RpcError) and not _while_it_leaves(failure):
            before(failure)

    threading.excepthook = tell
    loggers = [logging.getLogger(f"apache_beam.{name}") for name in _CONNECTED]
    for logger in loggers:
        logger.addFilter(_no_lost_connection)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_no_lost_connection)
        threading.excepthook = before


def _while_it_leaves(failure: threading.ExceptHookArgs) -> bool:
    """Whether Beam's worker stumbled when it had nothing more to do: its threads may be at work
    still on what is cancelled, and change what it is about to clear."""
    frames = (frame for frame, _ in traceback.walk_tb(failure.exc_traceback))
    return any(
        frame.f_globals.get("__name__") == sdk_worker.__name__
        and frame.f_code.co_name == "shutdown"
        for frame in frames
    )


def _no_lost_connection(record: logging.LogRecord) -> bool:
    problem = record.exc_info[1] if record.exc_info else None
    without_a_word = type(problem) is RuntimeError and not problem.args
    return not (isinstance(problem, grpc.RpcError) or without_a_word)


@contextmanager
def quiet() -> Iterator[None]:
    """Cancelling is not quiet in Beam: every thread tells that its connection is gone."""
    logging.disable(logging.CRITICAL)
    before, threading.excepthook = threading.excepthook, lambda _: None
    try:
        yield
    finally:
        threading.excepthook = before
        # A worker that is still loading its bundle finds its runner gone only afterwards.
        logging.getLogger("apache_beam.runners.worker").setLevel(logging.CRITICAL)
        logging.disable(logging.NOTSET)
