"""A pool of Python workers for task managers: `python -m pipelines.flink.worker_pool --port 50000`.

Beam has one (`apache_beam.runners.worker.worker_pool_main`), which knows workers by name alone. But
the first worker of every job, and of every start of a job after a failure, is called "1-1", so that
who ends an old one may end a new one in its place; the job then waits for it for ever (seen with
Beam 2.77 where a job went on from a savepoint, and two task managers shared a pool). Here nobody
is ended by name: a worker leaves when its task manager closes the connection, and one that stays
when nobody listens at the other end any more is killed. A worker that dies before it has reached
its task manager is waited for in the same way, so it is started again.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess

import grpc
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc as services
from apache_beam.runners.worker.sdk_worker import SdkHarness
from apache_beam.utils import thread_pool_executor

from pipelines.flink import forked_worker

_log = logging.getLogger(__name__)

LEFT_ALONE_S = 60.0  # that a worker may take to leave when its task manager is gone
AGAIN_S = 10.0  # that a task manager may take to give up a job whose worker has died
_TRIES = 5
_LOOK_EVERY_S = 5.0


class WorkerPool(services.BeamFnExternalWorkerPoolServicer):  # type: ignore[misc]
    """Starts a worker, a process of its own, for whoever asks.

    Args:
      left_alone_s: after so long without its task manager a worker is killed.
      again_s: so long after its death a worker is started again, if its task manager still listens.
    """

    def __init__(self, left_alone_s: float = LEFT_ALONE_S, again_s: float = AGAIN_S) -> None:
        self._left_alone_s, self._again_s = left_alone_s, again_s
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []

    def StartWorker(  # noqa: N802
        self, request: api.StartWorkerRequest, _: grpc.ServicerContext
    ) -> api.StartWorkerResponse:
        """Starts one."""
        worker = _Worker(request.worker_id, request.control_endpoint.url)
        try:
            worker.start()
        except OSError as error:
            return api.StartWorkerResponse(error=f"a worker cannot be started: {error}")
        with self._lock:
            self._workers.append(worker)
        return api.StartWorkerResponse()

    def StopWorker(  # noqa: N802
        self, request: api.StopWorkerRequest, _: grpc.ServicerContext
    ) -> api.StopWorkerResponse:
        """Does nothing: which of several workers of that name is meant is not said."""
        return api.StopWorkerResponse()

    def look_after(self) -> None:
        """Forgets workers that have left, kills those that their task managers have left, and
        starts those again that have died while they are waited for."""
        with self._lock:
            workers = list(self._workers)
        for worker in workers:
            if not self._is_wanted(worker):
                with self._lock:
                    self._workers.remove(worker)

    def _is_wanted(self, worker: _Worker) -> bool:
        code, listens, now = worker.exit_code(), _listens(worker.url), time.monotonic()
        if code is not None:
            if code == 0 or not listens or worker.tries >= _TRIES:
                return False
            if worker.died is None:
                worker.died = now
            if now - worker.died >= self._again_s:
                _log.warning("worker %s died (%d); once more", worker.name, code)
                with suppress(OSError):  # no memory for one: tried again, and counted as a try
                    worker.start()
        elif listens:
            worker.seen = now
        elif now - worker.seen > self._left_alone_s:
            _log.warning("worker %s has no task manager at %s", worker.name, worker.url)
            worker.process.kill()
        return True

    def end(self) -> None:
        """Ends all workers."""
        with self._lock:
            workers, self._workers = self._workers, []
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(5)
            worker.process.kill()
            worker.process.join()


class _Worker:
    """A worker, and the processes that it has been."""

    process: ForkServerProcess

    def __init__(self, name: str, url: str) -> None:
        self.name, self.url = name, url  # of its task manager
        self.tries = 0
        self.died: float | None = None  # of the monotonic clock, as the next
        self.seen = time.monotonic()  # when its task manager was there last

    def start(self) -> None:
        """Starts its next process."""
        self.tries += 1
        self.died = None
        self.process = forked_worker.started(self.url, self.name)
        _log.info("worker %s for %s: process %d", self.name, self.url, self.process.pid)

    def exit_code(self) -> int | None:
        """Of its newest process; None while it lives."""
        return forked_worker.exit_code(self.process)


def _listens(url: str) -> bool:
    host, _, port = url.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return True
    except OSError:
        return False


class ThreadPool(services.BeamFnExternalWorkerPoolServicer):  # type: ignore[misc]
    """Runs workers as threads of this process, which end with their connection."""

    def StartWorker(  # noqa: N802
        self, request: api.StartWorkerRequest, _: grpc.ServicerContext
    ) -> api.StartWorkerResponse:
        """Starts one."""
        harness = SdkHarness(
            request.control_endpoint.url,
            worker_id=request.worker_id,
            data_buffer_time_limit_ms=-1,
        )
        threading.Thread(target=_run, args=[harness], daemon=True, name="worker").start()
        return api.StartWorkerResponse()

    def StopWorker(  # noqa: N802
        self, request: api.StopWorkerRequest, _: grpc.ServicerContext
    ) -> api.StopWorkerResponse:
        """Does nothing: which of several workers of that name is meant is not said."""
        return api.StopWorkerResponse()


def _run(harness: SdkHarness) -> None:
    with suppress(grpc.RpcError):  # the task manager is gone, and says so itself if it can
        harness.run()


@contextmanager
def serving(
    pool: services.BeamFnExternalWorkerPoolServicer, host: str = "127.0.0.1", port: int = 0
) -> Iterator[str]:
    """Serves a pool while the block lasts; its address, "host:port".

    Raises:
      OSError: the port cannot be had.
    """
    options = [("grpc.http2.max_pings_without_data", 0), ("grpc.http2.max_ping_strikes", 0),
               ("grpc.so_reuseport", 0)]  # fmt: skip
    server = grpc.server(thread_pool_executor.shared_unbounded_instance(), options=options)
    services.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise OSError(f"cannot listen at {host}:{port}: {error}") from None
    server.start()
    try:
        yield f"{host}:{bound}"
    finally:
        server.stop(None)


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or Ctrl-C, and ends all workers then."""
    parser = argparse.ArgumentParser("python -m pipelines.flink.worker_pool", description=__doc__)
    parser.add_argument("--port", type=int, default=50_000)
    parser.add_argument(
        "--host", default="127.0.0.1",
        help="who may ask for workers: anybody who reaches this address (%(default)s)",
    )  # fmt: skip
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    pool = WorkerPool()
    forked_worker.get_ready()
    try:
        with serving(pool, args.host, args.port) as address:
            _log.info("process %d starts workers for who asks at %s", os.getpid(), address)
            while not ended.wait(_LOOK_EVERY_S):
                pool.look_after()
    except OSError as error:
        print(f"error: {error}: choose another --port", file=sys.stderr)
        return 2
    finally:
        pool.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
