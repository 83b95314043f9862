"""Services that tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

from infra.local.bigquery_emulator import BigQueryEmulator, emulator_command
from infra.local.flink_cluster import FlinkCluster, WorkerPool, flink_libs
from infra.local.services import KafkaBroker, ServiceError, kafka_libs, prism_location
from tests.support.commands import get_ready, run

Service = TypeVar("Service", KafkaBroker, BigQueryEmulator)

# Machines are shared and slow at times; and what CI says must not depend on the draw.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


# What a file that has such tests takes, roughly. Other files have the weight 0.
_WEIGHTS = {"flink": 4, "kafka": 2, "prism": 2, "bigquery": 2, "browser": 1, "slow": 1}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: of several workers the last one would have its longest file alone."""
    weight: dict[Path, int] = {}
    for item in items:
        own = sum(_WEIGHTS.get(name, 0) for name in {mark.name for mark in item.iter_markers()})
        weight[item.path] = max(own, weight.get(item.path, 0))
    items.sort(key=lambda item: -weight[item.path])


@pytest.fixture(scope="session", autouse=True)
def signing_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One folder of keys: what one test signs all of them trust, and none touches the user's own.

    It is there before any other fixture. Were there several, a worker's draw of files would say
    which one is the last to set the variable.
    """
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILWATCH_HOME", str(home))
        yield home


@pytest.fixture(scope="session", autouse=True)
def commands_are_forked() -> None:
    """A process has one that it forks from, which tests of Flink's workers must not start."""
    get_ready()


@pytest.fixture(scope="session")
def labs_are_forked() -> Iterator[None]:
    """Commands of the drill's labs begin where their imports are done, as those of tests do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "pipelines.sharing_drill.labs.process",
            lambda words, home: run(*words, home=home, check=False),
        )
        yield


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    """One real Kafka broker for the whole session."""
    try:
        kafka_libs()
    except ServiceError as missing:
        pytest.skip(str(missing))
    with ExitStack() as stack:
        yield _started(stack, KafkaBroker)


def _started(stack: ExitStack, kind: type[Service], attempts: int = 3) -> Service:
    """A service; a port that was free when it was chosen may be taken by the time it starts."""
    for _ in range(attempts - 1):
        with suppress(ServiceError):
            return stack.enter_context(kind())
    return stack.enter_context(kind())


@pytest.fixture(scope="session")
def prism() -> Path:
    """The Prism binary."""
    try:
        return prism_location()
    except ServiceError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def bigquery() -> Iterator[BigQueryEmulator]:
    """One emulator of BigQuery for the whole session; each test takes a dataset of its own."""
    try:
        emulator_command()
    except ServiceError as missing:
        pytest.skip(str(missing))
    with ExitStack() as stack:
        yield _started(stack, BigQueryEmulator)


@pytest.fixture(scope="session")
def flink() -> Iterator[FlinkCluster]:
    """A Flink cluster for the whole session: two task managers of one slot each, with their state
    where infra/flink/session.yaml has it."""
    try:
        flink_libs()
    except ServiceError as missing:
        pytest.skip(str(missing))
    with FlinkCluster(state="rocksdb") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def workers(flink: FlinkCluster) -> Iterator[WorkerPool]:
    """A pool of Python workers for it."""
    pool = WorkerPool(flink.folder)
    pool.start()
    yield pool
    pool.stop()
