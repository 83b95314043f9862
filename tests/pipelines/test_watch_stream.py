"""A run without an end follows its watch list: a real broker, Prism, and the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import duckdb
import orjson
import pytest

from infra.local.services import KafkaBroker
from pipelines.sharing_drill.attacks import things_of
from tests.support.commands import result
from tests.support.kafka import new_topic
from tests.support.program import COMMAND
from transforms.sharing.watch.listing import QUARANTINED, Watched, write_watch_list

SETTINGS = """
scoring:
  detectors:
    - {name: KNN, params: {n_neighbors: 5}}
    - {name: IForest, params: {n_estimators: 30}}
coverage: {cells: 256, codebook_sample: 3000}
clusters: {null_groups: 1000}
ingest: {idle_after: 2 s, allowed_lateness: 20 min, batch_records: 200}
sessions: {early_firing: 2 s}
run: {commit_every: 1 s}
watch: {list: WATCH, refresh: 1 s}
"""
PATIENCE_S = 240  # reached on failure only; a busy machine takes its time


def until(holds: Callable[[], bool], run: subprocess.Popen[str]) -> None:
    """Waits for something to become true while a run goes on."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert run.poll() is None, "the run has ended"
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.5)


def rows(database: Path, sql: str) -> list[tuple[object, ...]]:
    """Rows by now; none before there are tables, or while they are being written."""
    try:
        with duckdb.connect(str(database), read_only=True) as connection:
            return connection.execute(sql).fetchall()
    except duckdb.Error:
        return []


@pytest.mark.kafka
@pytest.mark.prism
@pytest.mark.slow
def test_an_update_of_the_list_is_picked_up_while_it_runs(
    kafka: KafkaBroker, prism: Path, tmp_path: Path
) -> None:
    home, database, listed = tmp_path / "home", tmp_path / "out.duckdb", tmp_path / "watch.json"
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS.replace("WATCH", str(listed)))
    write_watch_list(listed, [])
    topic = new_topic(kafka, 2)
    result(
        "simulate", "--out", tmp_path / "live.jsonl", "--history", tmp_path / "history.jsonl",
        "--labels", tmp_path / "labels.jsonl", "--accounts", 110, "--events", 5_000,
        "--days", 6, "--history-days", 4, "--attack", "hydra-disjoint:m=8,rate=60,links=1",
        home=home,
    )  # fmt: skip
    result(
        "train", "--input", tmp_path / "history.jsonl", "--bundle", tmp_path / "bundle",
        "--config", settings, home=home,
    )  # fmt: skip
    labels = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    campaign = {x["account_id"] for x in labels if x["label"] == "attack"}
    events = [orjson.loads(x) for x in (tmp_path / "live.jsonl").read_bytes().splitlines()]
    own = {(thing, e["account_id"]) for e in events for thing in things_of(e)}
    # What the history shares already is never matched, and of two endings one may be ordinary.
    past = (tmp_path / "history.jsonl").read_bytes().splitlines()
    ordinary = {thing for x in past for thing in things_of(orjson.loads(x))}
    shared = Counter(t for t, account in own if account in campaign and t not in ordinary)
    (kind, value), carriers = shared.most_common(1)[0]
    assert carriers > 2

    def send(some: list[dict[str, object]]) -> None:
        topic.produce((zlib.crc32(e["account_id"].encode()) % 2, orjson.dumps(e)) for e in some)

    send(events[:-50])
    run = subprocess.Popen(
        [
            str(COMMAND), "detect", "--input", f"{topic.uri}?bounded=false", "--bundle",
            str(tmp_path / "bundle"), "--config", str(settings), "--output",
            f"duckdb:///{database}", "--run-id", "watching", "--json",
        ],
        stdout=subprocess.PIPE, stderr=(tmp_path / "errors.txt").open("w"), text=True,
        env=os.environ | {"DISTILWATCH_HOME": str(home), "DISTILWATCH_PRISM": str(prism)},
    )  # fmt: skip
    try:
        profiles = "SELECT 1 FROM session_scores WHERE level = 'profile' AND cluster_id IS NOT NULL"
        until(lambda: bool(rows(database, profiles)), run)
        assert not rows(database, "SELECT 1 FROM sightings")
        write_watch_list(
            listed, [Watched("indicator--1", kind, value, "lab-b", 0.9, 0, None, QUARANTINED)]
        )
        send(events[-50:])  # whoever asks anything makes all of the window be looked at again
        until(lambda: bool(rows(database, "SELECT 1 FROM sightings")), run)
        wanted = {account for thing, account in own if thing == (kind, value)} & campaign
        seen = "SELECT DISTINCT account_id FROM sightings"
        until(lambda: len({a for (a,) in rows(database, seen)} & wanted) >= 2, run)
    finally:
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=PATIENCE_S)
    found = rows(database, "SELECT sighting_id, indicator_id, account_id FROM sightings")
    assert len({row[0] for row in found}) == len(found)
    assert {row[1] for row in found} == {"indicator--1"}
    assert not rows(database, "SELECT 1 FROM flagged_clusters WHERE p_value_alone IS NOT NULL")
