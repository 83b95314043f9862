"""A pool of Python workers for task managers: `python -m pipelines.flink.worker_pool --port 50000`.

Beam has one (`apache_beam.runners.worker.worker_pool_main`), which knows workers by name alone. But
the first worker of every job, and of every start of a job after a failure, is called "1-1", so that
who ends an old one may end a new one in its place; the job then waits for it for ever (seen with
Beam 2.77 where a job went on from a savepoint, and two task managers shared a pool). Here nobody
is ended by name: a worker leaves when its task manager closes the connection, and one that stays
when nobody listens at the other end any more is killed.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import grpc
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc as services
from apache_beam.runners.worker.sdk_worker import SdkHarness
from apache_beam.utils import thread_pool_executor

_log = logging.getLogger(__name__)

LEFT_ALONE_S = 60.0  # that a worker may take to leave when its task manager is gone
_LOOK_EVERY_S = 5.0
_HARNESS = (
    "import sys; from apache_beam.runners.worker.sdk_worker import SdkHarness; "
    "SdkHarness(sys.argv[1], worker_id=sys.argv[2], data_buffer_time_limit_ms=-1).run()"
)


class WorkerPool(services.BeamFnExternalWorkerPoolServicer):  # type: ignore[misc]
    """Starts a worker, a process of its own, for whoever asks.

    Args:
      left_alone_s: after so long without its task manager a worker is killed.
    """

    def __init__(self, left_alone_s: float = LEFT_ALONE_S) -> None:
        self._left_alone_s = left_alone_s
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []

    def StartWorker(  # noqa: N802
        self, request: api.StartWorkerRequest, _: grpc.ServicerContext
    ) -> api.StartWorkerResponse:
        """Starts one."""
        url = request.control_endpoint.url
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _HARNESS, url, request.worker_id],
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            return api.StartWorkerResponse(error=f"a worker cannot be started: {error}")
        _log.info("worker %s for %s: process %d", request.worker_id, url, process.pid)
        with self._lock:
            self._workers.append(_Worker(process, url, time.monotonic()))
        return api.StartWorkerResponse()

    def StopWorker(  # noqa: N802
        self, request: api.StopWorkerRequest, _: grpc.ServicerContext
    ) -> api.StopWorkerResponse:
        """Does nothing: which of several workers of that name is meant is not said."""
        return api.StopWorkerResponse()

    def look_after(self) -> None:
        """Forgets workers that have left, and kills those that their task managers have left."""
        with self._lock:
            workers = [worker for worker in self._workers if worker.process.poll() is None]
            self._workers = workers
        for worker in workers:
            if _listens(worker.url):
                worker.seen = time.monotonic()
            elif time.monotonic() - worker.seen > self._left_alone_s:
                _log.warning("process %d has no task manager at %s", worker.process.pid, worker.url)
                worker.process.kill()

    def end(self) -> None:
        """Ends all workers."""
        with self._lock:
            workers, self._workers = self._workers, []
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(5)
            worker.process.kill()
            worker.process.wait()


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    url: str  # of its task manager
    seen: float  # when its task manager was there last; of the monotonic clock


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
