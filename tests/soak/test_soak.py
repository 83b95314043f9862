"""Twenty faults at random points of a million events: `make soak`, some hours.

`SEED=n make soak` repeats one; `SOAK_EVENTS` and `SOAK_FAULTS` make it smaller.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from infra.local.flink_cluster import FlinkCluster, WorkerPool
from infra.local.services import KafkaBroker
from tests.support.faults import Faults
from tests.support.flink import FlinkWorld
from tests.support.processes import processes
from tests.support.stream import BALANCE

pytestmark = [pytest.mark.soak, pytest.mark.flink, pytest.mark.kafka]

EVENTS = int(os.environ.get("SOAK_EVENTS", "1000000"))
FAULTS = int(os.environ.get("SOAK_FAULTS", "20"))
HOURS = 12.0


class Traffic(FlinkWorld):
    """As much as is asked for, of proportionally many accounts."""

    # About half of what is simulated is history.
    traffic = (
        "--accounts", max(110, EVENTS // 50), "--events", 2 * EVENTS, "--days", 8,
        "--history-days", 4, "--attack", "hydra-disjoint:m=12,rate=60,links=1",
    )  # fmt: skip


def test_twenty_faults_in_a_million_events_change_nothing(
    flink: FlinkCluster, workers: WorkerPool, tmp_path: Path
) -> None:
    seed = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
    print(f"SEED={seed}", flush=True)
    chance = random.Random(seed)
    with KafkaBroker(tmp_path / "kafka", heap="1g") as broker, processes() as keep:
        world = Traffic(tmp_path, broker, flink, workers.address, parallelism=2)
        print(f"{len(world.records):,} records", flush=True)
        faults = Faults(flink, workers, broker, chance)
        points = sorted(chance.sample(range(1, len(world.records)), FAULTS))
        kinds = [chance.choice(list(faults.kinds)) for _ in points]
        world.requests.produce(world.records)
        process = keep(world.detect())

        def wait(wanted: int, said: str) -> None:
            deadline = time.monotonic() + HOURS * 3600
            while (world.rows(BALANCE) or [(0, 0)])[0][0] < wanted:
                assert process.poll() is None, world.errors()
                assert time.monotonic() < deadline, said
                time.sleep(2)

        for point, kind in zip(points, kinds, strict=True):
            wait(point, kind)
            time.sleep(chance.uniform(0, 5))
            print(f"{time.strftime('%H:%M:%S')} at {point:,}: {kind}", flush=True)
            faults.strike(kind)
        wait(len(world.records), "the end")
        world.until_rows(world.wanted(), process)
        assert world.rows(BALANCE) == [(len(world.records), 0)]
        stop(process)
        assert process.returncode == 130, world.errors()


def stop(process: subprocess.Popen[str]) -> None:
    """Asks the command to end, as Ctrl-C does."""
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=1800)
