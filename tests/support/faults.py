"""Kills parts of a running stream at random, as a power failure would, and brings them back."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from infra.local.flink_cluster import FlinkCluster, WorkerPool
from infra.local.services import KafkaBroker
from tests.support.small_disk import SmallDisk

DOWN_S = 1.0  # how long a part stays away
FULL_S = 5.0  # how long a disk stays full
NO_WORKER_S = 300.0  # within which a job that was struck asks for workers again


@dataclass(frozen=True)
class Faults:
    """Strikes at a cluster, its workers, the broker, and the disk of spool and tables, where that
    is one that can be filled; `random` says where and when. `meanwhile` is called while it waits
    for what it is to strike."""

    cluster: FlinkCluster
    workers: WorkerPool
    broker: KafkaBroker
    random: random.Random
    disk: SmallDisk | None = None
    meanwhile: Callable[[], None] = lambda: None

    @property
    def kinds(self) -> dict[str, Callable[[], None]]:
        """What can be struck, by name."""
        kinds = {
            "worker": self.worker,
            "task manager": self.task_manager,
            "job manager": self.job_manager,
            "broker": self.kafka,
        }
        return kinds | ({"disk": self.full_disk} if self.disk is not None else {})

    def strike(self, kind: str) -> None:
        """Kills one part, lets it be away for a moment, and starts it again."""
        print(f"fault: {kind}", flush=True)
        self.kinds[kind]()

    def worker(self) -> None:
        """Flink asks the pool for another one."""
        deadline = time.monotonic() + NO_WORKER_S
        while not (pids := self.workers.workers()):  # as after a fault before this one
            assert time.monotonic() < deadline, "there is no worker to kill"
            self.meanwhile()
            time.sleep(0.2)
        with suppress(ProcessLookupError):
            os.kill(self.random.choice(pids), signal.SIGKILL)

    def task_manager(self) -> None:
        """Another one comes after a moment."""
        process = self.random.choice(self.cluster.task_managers)
        process.kill()
        time.sleep(DOWN_S)
        process.start()

    def job_manager(self) -> None:
        """Its successor goes on with its jobs."""
        self.cluster.job_manager.kill()
        time.sleep(DOWN_S)
        self.cluster.job_manager.start()

    def kafka(self) -> None:
        """It keeps what it has acknowledged."""
        self.broker.kill()
        time.sleep(DOWN_S)
        self.broker.start()

    def full_disk(self) -> None:
        """There is no room for a moment."""
        assert self.disk is not None
        self.disk.fill()
        time.sleep(FULL_S)
        self.disk.free()
