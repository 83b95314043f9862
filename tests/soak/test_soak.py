"""Faults at random points of a long run: `make soak`, some hours for a million events.

`make soak EVENTS=60000 FAULTS=8 SEED=3` makes it smaller, and repeats one; ACCOUNTS=n says of how
many accounts the events are.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra.local.flink_cluster import FlinkCluster, WorkerPool
from infra.local.services import KafkaBroker
from tests.support.faults import Faults
from tests.support.flink import FlinkWorld
from tests.support.processes import processes
from tests.support.small_disk import CannotMountError, SmallDisk, small_disk
from tests.support.stream import BALANCE

pytestmark = [pytest.mark.soak, pytest.mark.flink, pytest.mark.kafka]

EVENTS = int(os.environ.get("SOAK_EVENTS") or 1_000_000)
FAULTS = int(os.environ.get("SOAK_FAULTS") or 20)
# Whatever is scored again each minute is accounts and sessions, not events.
ACCOUNTS = int(os.environ.get("SOAK_ACCOUNTS") or max(110, EVENTS // 500))
HOURS = 12.0
STOP_S = 3_600
# Said by a command that starts while there is a fault.
NOT_THERE = ("no space left", "no Kafka broker answers", "no Flink cluster answers")
UPDATE, COMMAND = "update", "command"


class Traffic(FlinkWorld):
    """As much as is asked for."""

    # About half of what is simulated is history.
    traffic = (
        "--accounts", ACCOUNTS, "--events", 2 * EVENTS, "--days", 8,
        "--history-days", 4, "--attack", "hydra-disjoint:m=12,rate=60,links=1",
    )  # fmt: skip

    def as_by_default(self) -> None:
        """Scores and saves as often as a stream does where nobody asks for more.

        The little worlds score every two seconds, so that their tests do not wait; with thousands
        of accounts that is all that a machine gets done.
        """
        text = self.settings.read_text()
        for often, default in (
            ("early_firing: 2 s", "early_firing: 1 min"),
            ("checkpoint_every: 2 s", "checkpoint_every: 10 s"),
            ("read_for: 1 s", "read_for: 5 s"),
        ):
            assert often in text
            text = text.replace(often, default)
        self.settings.write_text(text)


class Run:
    """The command on the topic, and those that follow it."""

    def __init__(self, world: Traffic, keep: Callable[..., subprocess.Popen[str]]) -> None:
        self._world, self._keep = world, keep
        self._start()

    def _start(self, *how: str) -> None:
        self._how = how
        self.process = self._keep(self._world.detect(*how))

    def look_after(self) -> None:
        """Starts a command again that met a fault as it started, as a supervisor would.

        One that is at work waits by itself; one that starts says what is missing, and ends.
        """
        if self.process.poll() is None:
            return
        out, _ = self.process.communicate()
        assert self.process.returncode == 2, out + self._world.errors()
        missing = [words for words in NOT_THERE if words in out]
        assert missing, out + self._world.errors()
        say(f"the command is started again: {missing[0]}")
        self._start(*self._how)

    def update(self) -> None:
        """Stops with a savepoint, and goes on from there with other settings."""
        out = self.stop()
        settings = self._world.settings.read_text()
        assert "commit_every: 1 s" in settings or "commit_every: 2 s" in settings
        swap = {"commit_every: 1 s": "commit_every: 2 s", "commit_every: 2 s": "commit_every: 1 s"}
        old = next(text for text in swap if text in settings)
        self._world.settings.write_text(settings.replace(old, swap[old]))
        self._start("--run-id", "endless", "--from-savepoint", json.loads(out)["savepoint"])

    def command(self) -> None:
        """Kills the command; the next one finds the job at work."""
        self.process.kill()
        self.process.wait()
        self._start()

    def stop(self) -> str:
        """Asks the command to end, as Ctrl-C does; what it said."""
        while True:
            self.look_after()
            self.process.send_signal(signal.SIGINT)
            out, _ = self.process.communicate(timeout=STOP_S)
            assert self.process.returncode == 130, out + self._world.errors()
            if "savepoint" in json.loads(out):
                return out
            # It was still starting, and has left the job to the cluster.
            self._start()
            time.sleep(30)

    def until_read(self, records: int) -> None:
        """Waits until the tables have so many."""
        deadline = time.monotonic() + HOURS * 3600
        while (self._world.rows(BALANCE) or [(0, 0)])[0][0] < records:
            self.look_after()
            assert time.monotonic() < deadline, self._world.errors()
            time.sleep(2)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def disk_of(stack: ExitStack, folder: Path) -> SmallDisk | None:
    """A disk that can be filled, where one may be mounted."""
    try:
        return stack.enter_context(small_disk(folder, 256 + EVENTS // 500))
    except CannotMountError as problem:
        say(f"without a disk that fills: {problem}")
        return None


def test_faults_at_random_points_of_a_long_run_change_nothing(
    flink: FlinkCluster, workers: WorkerPool, tmp_path: Path
) -> None:
    seed = int(os.environ.get("SEED") or time.time_ns() % 1_000_000)
    say(f"SEED={seed}")
    chance = random.Random(seed)
    with (
        ExitStack() as stack,
        KafkaBroker(tmp_path / "kafka", heap="1g") as broker,
        processes() as keep,
    ):
        world = Traffic(tmp_path, broker, flink, workers.address, parallelism=2)
        world.as_by_default()
        records = len(world.records)
        say(f"{records:,} records")
        disk = disk_of(stack, tmp_path / "disk")
        if disk is not None:
            world.database = disk.folder / "out.duckdb"
        world.requests.produce(world.records)
        say("all are in the topic")
        run, began = Run(world, keep), time.monotonic()
        faults = Faults(flink, workers, broker, chance, disk, run.look_after)
        # Each kind about as often as the others, in any order.
        all_kinds = [*faults.kinds, UPDATE, COMMAND]
        kinds = [all_kinds[i % len(all_kinds)] for i in range(FAULTS)]
        chance.shuffle(kinds)
        points = sorted(chance.sample(range(1, records), FAULTS))
        for point, kind in zip(points, kinds, strict=True):
            run.until_read(point)
            time.sleep(chance.uniform(0, 5))
            say(f"at {point:,} of {records:,}: {kind}")
            if kind == UPDATE:
                run.update()
            elif kind == COMMAND:
                run.command()
            else:
                faults.strike(kind)
        run.until_read(records)
        took = time.monotonic() - began
        say(f"all read, {records / took:,.0f} records/s with faults and new starts")
        run.look_after()
        world.until_rows(world.wanted(), run.process)
        assert world.rows(BALANCE) == [(records, 0)]
        say("the tables are those of an undisturbed run")
        run.stop()
        assert "Traceback" not in world.errors()
