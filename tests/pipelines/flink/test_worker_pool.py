"""Workers of our pool: real processes and threads, at control services made here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc as services

from pipelines.flink.worker_pool import ThreadPool, WorkerPool, main, serving


def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition: loading Beam takes its time."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class TaskManager(services.BeamFnControlServicer):  # type: ignore[misc]
    """The end of a worker's connection that a task manager has, with nothing to do."""

    def __init__(self) -> None:
        self.workers: list[str] = []
        self._over = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(4))
        services.add_BeamFnControlServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Control(self, _: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        """What the worker is to do, until the job is over."""
        self.workers.append(dict(context.invocation_metadata())["worker_id"])
        self._over.wait()
        return iter(())

    def end(self) -> None:
        """Closes the connection, as at the end of a job."""
        self._over.set()
        self._server.stop(None).wait()


@pytest.fixture
def task_managers() -> Iterator[list[TaskManager]]:
    both = [TaskManager(), TaskManager()]
    yield both
    for one in both:
        one.end()


def ask(pool: str, task_manager: TaskManager) -> None:
    """For a worker of the name that the first worker of every job has."""
    with grpc.insecure_channel(pool) as channel:
        request = api.StartWorkerRequest(worker_id="1-1")
        request.control_endpoint.url = task_manager.address
        response = services.BeamFnExternalWorkerPoolStub(channel).StartWorker(request)
    assert not response.error


def stop(pool: str) -> None:
    with grpc.insecure_channel(pool) as channel:
        services.BeamFnExternalWorkerPoolStub(channel).StopWorker(
            api.StopWorkerRequest(worker_id="1-1")
        )


def alive(pool: WorkerPool) -> int:
    return sum(worker.process.exitcode is None for worker in pool._workers)


def hangs(url: str, name: str) -> None:
    """What a worker does that hangs."""
    time.sleep(600)


def dies(url: str, name: str) -> None:
    raise SystemExit(3)


def no_process(url: str, name: str) -> None:
    raise OSError("no process is left")


def test_who_ends_a_worker_does_not_end_another_one_of_its_name(
    task_managers: list[TaskManager],
) -> None:
    first, second = task_managers
    pool = WorkerPool()
    try:
        with serving(pool) as address:
            ask(address, first)
            ask(address, second)
            until(lambda: first.workers == second.workers == ["1-1"])
            stop(address)
            first.end()
            until(lambda: alive(pool) == 1)
            pool.look_after()
            assert [worker.url for worker in pool._workers] == [second.address]
            assert alive(pool) == 1
    finally:
        pool.end()
    assert alive(pool) == 0


def test_a_worker_that_hangs_is_killed_when_its_task_manager_is_gone(
    task_managers: list[TaskManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.flink.worker.work", hangs)
    pool = WorkerPool(left_alone_s=0.0)
    try:
        with serving(pool) as address:
            ask(address, task_managers[0])
            pool.look_after()
            assert alive(pool) == 1
            task_managers[0].end()

            def killed() -> bool:
                pool.look_after()
                return not alive(pool)

            until(killed)
    finally:
        pool.end()


def test_a_worker_that_dies_is_started_again_while_it_is_waited_for(
    task_managers: list[TaskManager],
) -> None:
    first, second = task_managers
    pool = WorkerPool(again_s=0.0)
    try:
        with serving(pool) as address:
            ask(address, first)
            until(lambda: first.workers == ["1-1"])
            pool._workers[0].process.kill()

            def there_again() -> bool:
                pool.look_after()
                return first.workers == ["1-1", "1-1"]

            until(there_again)
            assert alive(pool) == 1
            ask(address, second)
            until(lambda: second.workers == ["1-1"])
            second.end()  # as Flink does when a worker of a job has died

            def alone() -> bool:
                pool.look_after()
                return [worker.url for worker in pool._workers] == [first.address]

            until(alone)
            assert second.workers == ["1-1"]
    finally:
        pool.end()


def test_a_worker_that_dies_again_and_again_is_given_up(
    task_managers: list[TaskManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.flink.worker.work", dies)
    pool = WorkerPool(again_s=0.0)
    with serving(pool) as address:
        ask(address, task_managers[0])
        workers = list(pool._workers)

        def given_up() -> bool:
            pool.look_after()
            return not pool._workers

        until(given_up)
    assert workers[0].tries == 5


def test_the_pool_outlives_a_worker_that_cannot_be_started_again(
    task_managers: list[TaskManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = task_managers
    pool = WorkerPool(again_s=0.0)
    try:
        with serving(pool) as address:
            ask(address, first)
            ask(address, second)
            until(lambda: first.workers == second.workers == ["1-1"])
            dead, other = pool._workers
            dead.process.kill()
            dead.process.join()
            with monkeypatch.context() as broken:
                broken.setattr("pipelines.flink.worker.started", no_process)
                pool.look_after()
                assert (dead.tries, alive(pool)) == (2, 1)
            pool.look_after()
            assert (dead.tries, other.tries, alive(pool)) == (3, 1, 2)
    finally:
        pool.end()


def test_a_worker_that_cannot_be_started_says_so(
    task_managers: list[TaskManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.flink.worker.started", no_process)
    request = api.StartWorkerRequest(worker_id="1-1")
    request.control_endpoint.url = task_managers[0].address
    with serving(WorkerPool()) as address, grpc.insecure_channel(address) as channel:
        response = services.BeamFnExternalWorkerPoolStub(channel).StartWorker(request)
    assert "cannot be started" in response.error


def test_threads_end_with_their_connection_and_not_by_name(
    task_managers: list[TaskManager], threads: Callable[[], int]
) -> None:
    first, second = task_managers
    with serving(ThreadPool()) as address:
        ask(address, first)
        ask(address, second)
        until(lambda: first.workers == second.workers == ["1-1"])
        stop(address)
        assert threads() == 2
        first.end()
        until(lambda: threads() == 1)
        second.end()
        until(lambda: threads() == 0)


@pytest.fixture
def threads() -> Callable[[], int]:
    return lambda: sum(thread.name == "worker" for thread in threading.enumerate())


def test_a_port_that_is_taken_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(WorkerPool()) as address:
        assert main(["--port", address.rpartition(":")[2]]) == 2
    assert "choose another --port" in capsys.readouterr().err
