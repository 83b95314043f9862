"""A task manager with nothing to do: the other end of a Python worker's connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc as services


class TaskManager(services.BeamFnControlServicer):  # type: ignore[misc]
    """Listens for workers.

    Attributes:
      address: "127.0.0.1:port".
      workers: names of those that have connected, in order.
    """

    def __init__(self) -> None:
        self.workers: list[str] = []
        self._over = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(4))
        services.add_BeamFnControlServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def ask(self, pool: str) -> str:
        """Asks a pool at host:port for a worker of the name that the first one of every job has;
        returns what it says against it, "" for nothing."""
        request = api.StartWorkerRequest(worker_id="1-1")
        request.control_endpoint.url = self.address
        with grpc.insecure_channel(pool) as channel:
            answer = services.BeamFnExternalWorkerPoolStub(channel).StartWorker(request)
        return str(answer.error)

    def Control(self, _: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        """What the worker is to do, until the job is over."""
        self.workers.append(dict(context.invocation_metadata())["worker_id"])
        self._over.wait()
        return iter(())

    def end(self) -> None:
        """Closes the connection, as at the end of a job."""
        self._over.set()
        self._server.stop(None).wait()
