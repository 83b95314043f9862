"""Workers of our pool: real processes and threads, at control services made here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc as services

from infra.local.task_manager import TaskManager
from pipelines.flink.worker_pool import ThreadPool, WorkerPool, main, serving


def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition: loading Beam takes its time."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def task_managers() -> Iterator[list[TaskManager]]:
    both = [TaskManager(), TaskManager()]
    yield both
    for one in both:
        one.end()


def ask(pool: str, task_manager: TaskManager) -> None:
    assert not task_manager.ask(pool)


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
    monkeypatch.setattr("pipelines.flink.forked_worker.work", hangs)
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
    monkeypatch.setattr("pipelines.flink.forked_worker.work", dies)
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
                broken.setattr("pipelines.flink.forked_worker.started", no_process)
                pool.look_after()
                assert (dead.tries, alive(pool)) == (2, 1)
            pool.look_after()
            assert (dead.tries, other.tries, alive(pool)) == (3, 1, 2)
    finally:
        pool.end()


def test_a_worker_that_cannot_be_started_says_so(
    task_managers: list[TaskManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.flink.forked_worker.started", no_process)
    with serving(WorkerPool()) as address:
        assert "cannot be started" in task_managers[0].ask(address)


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
