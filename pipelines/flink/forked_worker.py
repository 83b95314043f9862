"""A Python worker of a Flink job, in a process that begins where another has done its imports.

Beam, PyOD and what they stand on take seconds of a processor to import, whenever a worker starts,
and hundreds of megabytes in each. A process that has imported them, and does nothing else, is
forked for every worker instead: it has no connection, and no thread but those of OpenBLAS and
Arrow, which know of forks. Pages that nobody writes to are shared.
"""

from __future__ import annotations

import multiprocessing
import threading
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess

from pipelines import numerical_threads

IMPORTED = ("apache_beam.runners.worker.sdk_worker", "pipelines.detect.build")
"""Modules that a worker needs in any case."""

_context = multiprocessing.get_context("forkserver")
# An exit code is read from a pipe, once, by whoever asks or starts another process: of two threads
# that did so together one would be told 255.
_one_asks = threading.Lock()


def work(url: str, name: str) -> None:
    """Works for the task manager at a URL, until it closes the connection."""
    from apache_beam.runners.worker.sdk_worker import SdkHarness

    SdkHarness(url, worker_id=name, data_buffer_time_limit_ms=-1).run()


def get_ready() -> None:
    """Lets the imports begin, so that the first worker need not wait for all of them.

    Once in a process, before the first worker: what is forked from is one for the whole of it.
    """
    numerical_threads.only_one()
    _context.set_forkserver_preload(list(IMPORTED))
    forkserver.ensure_running()


def started(url: str, name: str) -> ForkServerProcess:
    """Starts a worker.

    Raises:
      OSError: it cannot be started.
    """
    process = _context.Process(target=work, args=(url, name), name=f"worker {name}")
    try:
        with _one_asks:
            process.start()
    except EOFError as ended:  # by the process that forks, which is started again the next time
        raise OSError("the process that forks workers has ended") from ended
    return process


def exit_code(process: ForkServerProcess) -> int | None:
    """How a worker ended, a signal's number below 0; None while it lives."""
    with _one_asks:
        return process.exitcode
