"""`detect` on a topic without an end: a real broker, Prism, and the command as users run it."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from infra.local.services import KafkaBroker
from pipelines import cli
from pipelines.console import Console
from pipelines.detect import endless
from pipelines.detect.endless import watch
from pipelines.prism import find_prism, prism_running
from schemas.errors import DistilwatchError, told_by_a_worker
from tests.support.kafka import new_topic
from tests.support.leaks import every_text, leaks, secrets
from tests.support.processes import alive, descendants, processes
from tests.support.sketches import small_bundle
from tests.support.small_world import as_lines, requests, settings_file
from tests.support.stream import (
    BALANCE,
    CLOSED,
    CLUSTERS,
    LATE,
    MEMBERS,
    NAMES,
    PATIENCE_S,
    PROFILES,
    SESSIONS,
    Stream,
    World,
    until,
)
from transforms.scoring.bundle import save_bundle
from transforms.sinks.spool import Spool


def check_alerts(world: World) -> None:
    """Each cluster that is flagged has one alert, and its steps were told in order, through a kill
    and three runs; what was told twice has the same key."""
    flagged = [name for name, _ in world.rows(NAMES)]
    alerts = world.rows("SELECT cluster_id, alert_id, revision, state FROM current_alerts")
    clusters = [row for row in alerts if not row[0].startswith("s-")]
    assert sorted(name for name, *_, state in clusters if state != "resolved") == flagged
    steps = world.rows("SELECT alert_id, revision, channels FROM alerts")
    wanted = {f"{name}/{revision}/told" for name, revision, channels in steps if channels}
    keys = [dict(r.headers)["idempotency_key"].decode() for r in world.told.records()]
    assert set(keys) == wanted
    assert len(keys) - len(wanted) <= 2
    for name in {key.split("/")[0] for key in keys}:
        told = [int(k.split("/")[1]) for k in dict.fromkeys(keys) if k.startswith(f"{name}/")]
        assert told == sorted(told)


def on_their_way(world: World) -> list[Path]:
    """Files of rows that are in no table yet."""
    spool = world.folder / "out.duckdb.spool"
    return [*spool.glob("staged/*/*.parquet"), *spool.glob("batch-*/*/*.parquet")]


def kill_at_work(process: subprocess.Popen[str], world: World) -> None:
    """Kills a run while it has rows on their way."""
    while True:
        until(lambda: bool(on_their_way(world)), PATIENCE_S, process, world)
        process.send_signal(signal.SIGSTOP)  # so that it does not finish them just now
        if on_their_way(world):
            break
        process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()


def check_that_nothing_leaks(world: World) -> None:
    """What a job that was killed at work left: its spool, tables, book, log, and what it sent."""
    wanted = {s for name in ("live", "history") for s in secrets(world.folder / f"{name}.jsonl")}
    assert len(wanted) > 300
    spool = world.folder / "out.duckdb.spool"
    assert on_their_way(world)
    found, read = leaks(spool, wanted)
    assert {"clusters.json", "counts.json", "positions"} <= read
    for path in world.folder.glob("out.duckdb*"):
        found += [] if path.is_dir() else [
            place for place, text in every_text(path) for secret in wanted if secret in text
        ]  # fmt: skip
    sent = [r.value for topic in (world.alerts, world.told) for r in topic.records()]
    found += [f"topic: {value!r}" for value in sent for secret in wanted if secret in value]
    log = (world.folder / "errors.txt").read_bytes()
    found += ["log" for secret in wanted if secret in log]
    assert found == []


@pytest.fixture
def world(kafka: KafkaBroker, prism: Path, tmp_path: Path) -> World:
    return World(tmp_path, kafka, {"DISTILWATCH_PRISM": str(prism)})


@pytest.fixture
def started() -> Iterator[Callable[[subprocess.Popen[str]], subprocess.Popen[str]]]:
    """Ends the processes given to it, whatever becomes of the test."""
    with processes() as keep:
        yield keep


@pytest.mark.kafka
@pytest.mark.prism
@pytest.mark.slow
def test_an_endless_topic_ends_in_the_same_tables_as_a_bounded_one(
    world: World, started: Callable[[subprocess.Popen[str]], subprocess.Popen[str]]
) -> None:
    part = len(world.records) * 7 // 10
    world.requests.produce(world.records[:part])
    first = started(world.detect())

    def told() -> bool:
        panes = {row[0] for row in world.rows("SELECT DISTINCT pane FROM session_scores")}
        members = {row[1] for row in world.rows(MEMBERS)}
        return panes >= {"early", "on_time"} and len(members & world.campaign) >= 6

    until(told, PATIENCE_S, first, world)
    keys = {row[0] for row in world.rows("SELECT DISTINCT key FROM session_scores")}
    partitions = {p for p, line in world.records if orjson.loads(line)["account_id"] in keys}
    assert partitions == {0, 1, 2}
    sent = world.folder / "out.duckdb.spool" / "clusters.json"
    until(sent.exists, PATIENCE_S, first, world)

    # Killed in the midst of it, nothing stays behind, and a new start goes on.
    world.requests.produce(world.records[part:])
    below = descendants(first.pid)
    assert below
    kill_at_work(first, world)
    deadline = time.monotonic() + 120
    while any(alive(pid) for pid in below) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in below if alive(pid)]
    check_that_nothing_leaks(world)

    second = started(world.detect())
    bounded = world.bounded()
    wanted = {sql: world.rows(sql, bounded) for sql in (SESSIONS, PROFILES, CLUSTERS, MEMBERS)}
    world.until_rows(wanted, second)
    days = "SELECT DISTINCT pane FROM session_scores WHERE level = 'profile'"
    until(  # one day is over, the other is not
        lambda: world.rows(days) == [("early",), ("on_time",)], PATIENCE_S, second, world
    )
    until(lambda: len(world.rows(CLOSED)) > 0.9 * len(wanted[SESSIONS]), PATIENCE_S, second, world)
    assert set(world.rows(CLOSED)) <= set(wanted[SESSIONS])
    until(lambda: world.rows(BALANCE) == [(len(world.records), 0)], PATIENCE_S, second, world)

    # What is older than the watermark by more than is allowed is refused, and says so.
    # It shares nothing with others: a later run, which reads faster, may take it for on time.
    when = orjson.loads(world.records[0][1])["event_time"]
    late = {"account_id": LATE, "event_id": "late-1", "event_time": when}
    world.requests.produce([(3, orjson.dumps(late))])
    until(
        lambda: world.rows("SELECT reason FROM dead_letters") == [("late",)],
        PATIENCE_S,
        second,
        world,
    )
    until(lambda: world.rows(BALANCE) == [(len(world.records) + 1, 0)], PATIENCE_S, second, world)
    assert world.rows("SELECT late FROM run_balance") == [(1,)]

    second.send_signal(signal.SIGINT)
    out, _ = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 130, world.errors()
    summary = json.loads(out)
    assert summary["health"]["read"] == len(world.records) + 1
    of_windows = world.rows("SELECT count(*) FROM flagged_clusters", bounded)
    assert [(summary["rows"]["flagged_clusters"],)] == of_windows
    assert "Traceback" not in world.errors()

    # Over the same data again, as another run: the newest revisions are the same.
    third = started(world.detect("--run-id", "again"))
    again = "SELECT records_read, unaccounted FROM run_balance WHERE run_id = 'again'"
    until(lambda: world.rows(again) == [(len(world.records) + 1, 0)], PATIENCE_S, third, world)
    world.until_rows(wanted, third)
    third.send_signal(signal.SIGTERM)
    third.communicate(timeout=PATIENCE_S)
    assert third.returncode == 130, world.errors()

    check_alerts(world)
    alerts = [(r.key.decode(), orjson.loads(r.value)) for r in world.alerts.records()]
    told_of = [(key, row["severity"], row["window_start"], row["run_id"]) for key, row in alerts]
    assert len(told_of) == len(set(told_of))  # once for each severity, also after a crash
    assert {name for name, _ in world.rows(NAMES)} <= {key for key, _ in alerts}
    assert all(row["cluster_id"] == key for key, row in alerts)

    metrics = world.folder / "run.prom"
    with world.settings.open("a") as settings:
        settings.write(f"observe: {{metrics_file: {metrics}}}\n")
    fourth = started(world.detect("--for", "1 s"))
    fourth.communicate(timeout=240)
    assert fourth.returncode == 0, world.errors()
    # It ended as it was asked to: nobody is to be paged because it commits no more.
    [ended] = re.findall(
        r"^distilwatch_run_completed_timestamp_seconds (.+)$", metrics.read_text(), re.M
    )
    assert float(ended) > 0

    # A message that was tried in vain, for a channel that the settings do not have.
    with closing(sqlite3.connect(world.folder / "out.duckdb.alerts")) as book, book:
        book.execute(
            "UPDATE outbox SET state = 'pending', attempts = 1, channel = 'gone', not_before = 0 "
            "WHERE place = (SELECT max(place) FROM outbox)"
        )
    fifth = started(world.detect("--for", "1 s"))
    out, _ = fifth.communicate(timeout=240)
    assert fifth.returncode == 2, world.errors()
    assert json.loads(out)["untold"] == {"waiting": 1, "dead": 0}


@pytest.mark.kafka
@pytest.mark.prism
@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_prism_starts_ends_it_without_a_trace(
    kafka: KafkaBroker, prism: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    save_bundle(small_bundle(), tmp_path / "bundle")
    topic = new_topic(kafka)
    topic.produce((0, line) for line in as_lines(requests(4, 2, 60_000)))
    source = f"{topic.uri}?bounded=false"
    with Stream(tmp_path, prism, source, tmp_path / "bundle", settings_file(tmp_path)) as stream:
        stream.until((tmp_path / "out.duckdb.spool" / "lock").exists)
        for _ in range(times):  # twice: the second asks for no patience
            stream.process.send_signal(signal.SIGINT)
        out, _ = stream.process.communicate(timeout=PATIENCE_S)
    said = stream.log.read_text()
    assert stream.process.returncode == 130, said
    assert "Traceback" not in said
    told = json.loads(out)  # one word, of whichever of both
    assert told.get("error", {}).get("kind", "interrupted") == "interrupted"
    if times == 1:
        assert set(told["health"]) <= {"read", "scored", "duplicate", "refused"}
    assert not [pid for pid in descendants(stream.process.pid) if alive(pid)]


# --- small parts ----------------------------------------------------------------------------------


class _Job:
    def __init__(self) -> None:
        self.ended = threading.Event()


class _Committer:
    def __init__(self) -> None:
        self.commits = 0

    def commit(self, last: bool = False) -> bool:
        self.commits += 1
        return True


def _watch(stop: threading.Event, job: _Job, for_ms: int | None) -> tuple[int, float]:
    committer, began = _Committer(), time.monotonic()
    watch(job, stop, committer, Console(as_json=True), 100, for_ms)  # type: ignore[arg-type]
    return committer.commits, time.monotonic() - began


def test_watching_ends_with_time_a_signal_or_the_job() -> None:
    commits, took = _watch(threading.Event(), _Job(), 350)
    assert 2 <= commits <= 5
    assert 0.3 < took < 3
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    assert _watch(stop, _Job(), None)[1] < 3
    job = _Job()
    job.ended.set()
    assert _watch(threading.Event(), job, None)[0] == 0


def test_results_that_have_to_wait_at_the_end_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(_Committer):
        def commit(self, last: bool = False) -> bool:
            return False

    monkeypatch.setattr(endless, "_LAST_TRIES_S", 0.0)
    console, spool = Console(as_json=True), Spool(tmp_path)
    assert endless._commit_the_rest(_Committer(), spool, console)  # type: ignore[arg-type]
    assert not capsys.readouterr().err
    assert not endless._commit_the_rest(Full(), spool, console)  # type: ignore[arg-type]
    assert "the next run with this output writes them" in capsys.readouterr().err


def test_our_errors_are_found_in_what_a_runner_says() -> None:
    said = (
        "Traceback (most recent call last):\n  File …\n"
        "schemas.errors.DistilwatchError: no bundle there [while running 'Score/Run'] (b): make one"
    )
    told = told_by_a_worker(RuntimeError(said))
    assert str(told) == "no bundle there (b): make one"
    assert told_by_a_worker(RuntimeError("ValueError: 3")) is None


def test_prism_is_found_and_missed_with_a_word_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("DISTILWATCH_PRISM", raising=False)
    with pytest.raises(DistilwatchError, match="make services"):
        find_prism()
    places = [tmp_path / "bin" / "prism", tmp_path / ".local" / "bin" / "prism", tmp_path / "own"]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("#!/bin/sh\necho no runner >&2\nexit 3\n")
        place.chmod(0o755)
        if place.name == "own":
            monkeypatch.setenv("DISTILWATCH_PRISM", str(place))
        assert find_prism() == place
    assert find_prism([f"--prism_location={places[0]}"]) == places[0]
    assert find_prism(["--prism_location", str(places[0])]) == places[0]
    monkeypatch.setenv("DISTILWATCH_PRISM", str(tmp_path / "none"))
    with pytest.raises(DistilwatchError, match="no program there"):
        find_prism()
    monkeypatch.setenv("PATH", os.defpath)
    with pytest.raises(DistilwatchError, match="no runner"), prism_running(places[0]):
        pass


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--runner", "direct"), "cannot read an endless topic"),
        ((), "make services"),
    ],
)
def test_endless_input_that_cannot_be_read_is_refused_before_anything_starts(
    more: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("DISTILWATCH_PRISM", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    code = cli.run([
        "detect", "--input", "kafka://127.0.0.1:1/t?bounded=false", "--bundle", "b",
        "--output", "duckdb:///o.duckdb", *more,
    ])  # fmt: skip
    said = capsys.readouterr().err
    assert code == 2
    assert words in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_prism_is_refused_for_input_that_ends_whose_profiles_it_would_drop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "e.jsonl").write_text("{}\n")
    options = ["--input", str(tmp_path / "e.jsonl"), "--runner", "prism"]
    assert cli.run(["detect", *options, "--bundle", "b", "--output", "duckdb:///o.duckdb"]) == 2
    assert "would lose the profiles and clusters" in capsys.readouterr().err
    assert cli.run(["doctor", *options, "--json"]) == 2
    found = json.loads(capsys.readouterr().out)["findings"]
    [engine] = [one for one in found if one["name"] == "prism"]
    assert engine["status"] == "fail"
    assert "would lose the profiles and clusters" in engine["said"]


def test_a_time_is_only_for_what_has_no_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "e.jsonl").write_text("{}\n")
    options = [
        "detect", "--input", str(tmp_path / "e.jsonl"), "--bundle", "b",
        "--output", f"duckdb:///{tmp_path}/o.duckdb",
    ]  # fmt: skip
    assert cli.run([*options, "--for", "10 min"]) == 2
    assert "only an endless topic" in capsys.readouterr().err
    assert cli.run([*options, "--for", "10 apples"]) == 2
    assert "unknown unit" in capsys.readouterr().err
