"""`detect` on a real Flink cluster: a job manager, two task managers, a coordinator, workers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from infra.local.bigquery_emulator import BigQueryEmulator
from infra.local.flink_cluster import FlinkCluster, WorkerPool
from infra.local.services import KafkaBroker
from tests.support.bigquery import duckdb_rows, new_dataset
from tests.support.commands import result, table
from tests.support.faults import Faults
from tests.support.flink import FlinkWorld
from tests.support.processes import processes
from tests.support.stream import (
    BALANCE,
    LATE,
    PATIENCE_S,
    until,
)

pytestmark = [pytest.mark.flink, pytest.mark.kafka, pytest.mark.slow]

TABLES = ("session_scores", "flagged_clusters", "cluster_members", "dead_letters", "run_health")
Start = Callable[[subprocess.Popen[str]], subprocess.Popen[str]]


@pytest.fixture
def started() -> Iterator[Start]:
    """Ends the processes given to it, whatever becomes of the test."""
    with processes() as keep:
        yield keep


@pytest.fixture
def world(
    kafka: KafkaBroker, flink: FlinkCluster, workers: WorkerPool, tmp_path: Path
) -> Iterator[FlinkWorld]:
    made = FlinkWorld(tmp_path, kafka, flink, workers.address)
    yield made
    for job in flink.rest("/jobs/overview")["jobs"]:
        if job["state"] in ("RUNNING", "RESTARTING", "CREATED"):
            flink.rest(f"/jobs/{job['jid']}?mode=cancel", "PATCH")


@pytest.mark.bigquery
def test_a_bounded_run_on_flink_has_the_tables_of_the_embedded_runner(
    world: FlinkWorld, bigquery: BigQueryEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a database, and in BigQuery."""
    dataset = new_dataset(bigquery)
    how = (
        "detect", "--input", tmp_path / "live.jsonl", "--bundle", world.bundle,
        "--config", world.settings, "--run-id", "bounded",
    )  # fmt: skip
    here = tmp_path / "here.duckdb"
    result(*how, "--output", f"duckdb:///{here}", home=world.home)
    monkeypatch.setenv("DISTILWATCH_FLINK_LIBS", world.environment["DISTILWATCH_FLINK_LIBS"])
    for slots in (1, 2):
        there = tmp_path / f"there-{slots}.duckdb"
        settings = world.settings.read_text()
        assert "parallelism: 1" in settings
        world.settings.write_text(settings.replace("parallelism: 1", f"parallelism: {slots}"))
        outputs = ["--output", f"duckdb:///{there}", "--output", dataset.uri][: 2 * slots]
        said = result(*how, *outputs, *world.runner, home=world.home)
        world.settings.write_text(settings)
        assert said["rows"]["session_scores"] > 100
        for name in TABLES:
            assert table(there, name) == table(here, name), (name, slots)
    [delivered] = said["delivered"].values()
    assert delivered["sent"] == delivered["arrived"] > 100
    for name in TABLES:
        expected = duckdb_rows(here, name)
        found = [row for row in dataset.rows(name) if row.get("stage") != "bigquery"]
        assert found == expected, name


def test_a_stream_stopped_with_a_savepoint_goes_on_with_newer_settings_and_loses_nothing(
    world: FlinkWorld, started: Start
) -> None:
    part = len(world.records) * 6 // 10
    world.requests.produce(world.records[:part])
    first = started(world.detect())
    until(lambda: world.rows(BALANCE) == [(part, 0)], PATIENCE_S, first, world)
    until(lambda: world.checkpoints() > 1, PATIENCE_S, first, world)
    first.send_signal(signal.SIGINT)
    out, _ = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 130, world.errors()
    savepoint = json.loads(out)["savepoint"]
    assert Path(savepoint.removeprefix("file:"), "_metadata").exists()

    # While nobody reads, the topic grows; and the newer version has other thresholds for severity.
    world.requests.produce(world.records[part:])
    settings = world.settings.read_text()
    newer = settings.replace("max_p: 0.05", "max_p: 0.05, severity: {high_accounts: 3}")
    assert newer != settings
    world.settings.write_text(newer)
    wanted = world.wanted()

    second = started(world.detect("--run-id", "endless", "--from-savepoint", savepoint))
    world.until_rows(wanted, second)
    # All that both have read: it did not begin anew.
    until(lambda: world.rows(BALANCE) == [(len(world.records), 0)], PATIENCE_S, second, world)
    assert world.cluster.rest(f"/jobs/{world.job()}/checkpoints")["counts"]["restored"] == 1

    # A record that is older than the watermark by more than is allowed is refused, and says so.
    late = {"account_id": LATE, "event_id": "late-1",
            "event_time": orjson.loads(world.records[0][1])["event_time"]}  # fmt: skip
    world.requests.produce([(3, orjson.dumps(late))])
    letters = "SELECT reason FROM dead_letters"
    until(lambda: world.rows(letters) == [("late",)], PATIENCE_S, second, world)
    until(lambda: world.rows(BALANCE) == [(len(world.records) + 1, 0)], PATIENCE_S, second, world)

    # Killed, the command leaves the job to the cluster, and its successor goes on with it.
    second.kill()
    second.wait()
    job = world.job()
    world.settings.write_text(
        newer.replace("commit_every: 1 s", "commit_every: 1 s, on_stop: leave")
    )
    between = started(world.detect())
    more = [(0, line.replace(b'"event_id":"', b'"event_id":"x', 1))
            for _, line in world.records[-5:]]  # fmt: skip
    world.requests.produce(more[:2])
    total = len(world.records) + 1 + len(more)
    until(lambda: world.rows(BALANCE) == [(total - 3, 0)], PATIENCE_S, between, world)
    # So does one that is told to leave it, for a supervisor that moves it elsewhere.
    between.send_signal(signal.SIGTERM)
    out, _ = between.communicate(timeout=PATIENCE_S)
    assert between.returncode == 130, world.errors()
    assert "savepoint" not in json.loads(out)
    assert world.job() == job
    world.settings.write_text(newer)
    third = started(world.detect())
    world.requests.produce(more[2:])
    until(lambda: world.rows(BALANCE) == [(total, 0)], PATIENCE_S, third, world)
    assert world.job() == job
    third.send_signal(signal.SIGTERM)
    third.communicate(timeout=PATIENCE_S)
    alerts = [(r.key, orjson.loads(r.value)["severity"], orjson.loads(r.value)["window_start"])
              for r in world.alerts.records()]  # fmt: skip
    assert alerts
    assert len(alerts) == len(set(alerts))  # once for each severity, over all of it
    assert "Traceback" not in world.errors()


def test_faults_change_nothing(
    flink: FlinkCluster, workers: WorkerPool, started: Start, tmp_path: Path
) -> None:
    seed = int(os.environ.get("SEED") or time.time_ns() % 1_000_000)
    print(f"SEED={seed}")
    chance = random.Random(seed)
    with KafkaBroker(tmp_path / "kafka") as broker:
        world = FlinkWorld(tmp_path, broker, flink, workers.address)
        faults = Faults(flink, workers, broker, chance)
        kinds = list(faults.kinds)
        chance.shuffle(kinds)
        bounds = sorted(chance.sample(range(1, len(world.records)), len(kinds)))
        world.requests.produce(world.records[: bounds[0]])
        process = started(world.detect())
        until(lambda: world.rows(BALANCE) == [(bounds[0], 0)], PATIENCE_S, process, world)
        for kind, start, stop in zip(kinds, bounds, [*bounds[1:], len(world.records)], strict=True):
            # Struck at any moment: while a checkpoint is made, a bundle runs, or nothing happens.
            time.sleep(chance.uniform(0, 3))
            faults.strike(kind)
            world.requests.produce(world.records[start:stop])
        wanted = world.wanted()
        world.until_rows(wanted, process)
        until(lambda: world.rows(BALANCE) == [(len(world.records), 0)], PATIENCE_S, process, world)
        # Whoever watches the command is told that something failed. A job manager that was killed
        # has forgotten which failures there were before, so here is one more, and it lives. One of
        # the task managers has nothing of a job without parallelism: both are killed.
        for manager in flink.task_managers:
            manager.kill()
            manager.start()
        said = tmp_path / "errors.txt"
        until(
            lambda: "goes back to its last checkpoint" in said.read_text(),
            PATIENCE_S, process, world,
        )  # fmt: skip
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 130, world.errors()
        # The client's own threads tell by the dozen that a broker is away.
        assert ":kafka." not in said.read_text()
