"""`detect` on a topic without an end: a real broker, Prism, and the command as users run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest

from infra.local.services import KafkaBroker
from pipelines import cli
from pipelines.console import Console
from pipelines.detect import endless
from pipelines.detect.endless import stopped_by_signals, watch
from pipelines.prism import find_prism, prism_running
from schemas.errors import DistilwatchError, told_by_a_worker
from tests.support.commands import COMMAND, result
from tests.support.kafka import new_topic
from transforms.sinks.spool import Spool

SETTINGS = """
scoring:
  detectors:
    - {name: KNN, params: {n_neighbors: 5}}
    - {name: IForest, params: {n_estimators: 30}}
coverage: {cells: 256, codebook_sample: 3000}
clusters: {null_groups: 1000}
alerts: {max_p: 0.05, pages_per_day: 1000, false_discovery_rate: 0.9}
ingest: {idle_after: 2 s, allowed_lateness: 20 min, batch_records: 200}
sessions: {early_firing: 2 s}
profiles: {window: 1 d}
run: {commit_every: 1 s}
"""
LATE = "late-account"
PATIENCE_S = 240  # reached on failure only; a busy machine takes its time

SESSIONS = """
    SELECT session_id, request_count, score, p_value FROM current_sessions
    WHERE level <> 'profile' AND key <> ?"""
CLOSED = SESSIONS + " AND pane <> 'early'"
# What a cluster is called depends on which of its accounts was seen first, and stays so: clusters
# are told by their members.
PROFILES = """
    WITH newest AS (
        SELECT * FROM session_scores WHERE level = 'profile' AND key <> ?
        QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1)
    SELECT session_id, request_count, score, p_value, combined_p_value, CASE WHEN
        cluster_id IS NOT NULL THEN min(key) OVER (PARTITION BY window_start, cluster_id) END
    FROM newest"""
_OPEN = """
    WITH newest AS (
        SELECT * FROM flagged_clusters
        QUALIFY row_number() OVER (
            PARTITION BY cluster_id, window_start ORDER BY revision DESC) = 1),
    opened AS (SELECT * FROM newest WHERE status <> 'resolved'),
    members AS (
        SELECT o.window_start, m.* EXCLUDE (window_start), min(m.account_id) OVER (
            PARTITION BY o.window_start, m.cluster_id) AS first_account
        FROM cluster_members m JOIN opened o USING (cluster_id, revision))"""
CLUSTERS = (
    _OPEN
    + """
    SELECT DISTINCT m.first_account, o.window_start, o.revision, severity, o.score, o.p_value,
        account_count
    FROM opened o JOIN members m USING (cluster_id, window_start) WHERE m.account_id <> ?"""
)
MEMBERS = (
    _OPEN
    + """
    SELECT window_start, account_id, first_account, request_count, p_value
    FROM members WHERE account_id <> ?"""
)
NAMES = "SELECT cluster_id, cluster_id FROM current_clusters WHERE status <> 'resolved'"
BALANCE = "SELECT records_read, unaccounted FROM run_balance"


class World:
    """A topic of four partitions, the last of them idle, and what `detect` wrote about it."""

    def __init__(self, folder: Path, broker: KafkaBroker, prism: Path) -> None:
        self.folder, self.prism = folder, prism
        self.home, self.bundle = folder / "home", folder / "bundle"
        self.database, self.settings = folder / "out.duckdb", folder / "settings.yaml"
        self.requests, self.alerts = new_topic(broker, 4), new_topic(broker)
        self.told = new_topic(broker)
        channels = folder / "channels.yaml"
        channels.write_text(
            f"channels: {{told: {{kind: kafka, uri: '{self.told.uri}'}}}}\n"
            "routes: [{channels: [told]}]\n"
        )
        on_call = f", channels: '{channels}'}}\ningest"
        self.settings.write_text(SETTINGS.replace("}\ningest", on_call, 1))
        self.quiet = folder / "quiet.yaml"  # of runs that are only compared with
        self.quiet.write_text(SETTINGS)
        result(
            "simulate", "--out", folder / "live.jsonl", "--history", folder / "history.jsonl",
            "--labels", folder / "labels.jsonl", "--accounts", 110, "--events", 5_000,
            "--days", 6, "--history-days", 4, "--attack", "hydra-disjoint:m=8,rate=60,links=1",
            home=self.home,
        )  # fmt: skip
        result(
            "train", "--input", folder / "history.jsonl", "--bundle", self.bundle,
            "--config", self.settings, home=self.home,
        )  # fmt: skip
        self.records = [
            (zlib.crc32(orjson.loads(line)["account_id"].encode()) % 3, line)
            for line in (folder / "live.jsonl").read_bytes().splitlines()
        ]
        labels = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
        self.campaign = {x["account_id"] for x in labels if x["label"] == "attack"}

    def detect(self, *more: str) -> subprocess.Popen[str]:
        """Starts detect on the topic without an end."""
        return subprocess.Popen(
            [
                str(COMMAND), "detect", "--input", f"{self.requests.uri}?bounded=false",
                "--bundle", str(self.bundle), "--config", str(self.settings),
                "--output", f"duckdb:///{self.database}", "--output", self.alerts.uri,
                *(more or ("--run-id", "endless")), "--json",
            ],
            stdout=subprocess.PIPE, stderr=(self.folder / "errors.txt").open("a"), text=True,
            env=os.environ
            | {"DISTILWATCH_HOME": str(self.home), "DISTILWATCH_PRISM": str(self.prism)},
        )  # fmt: skip

    def bounded(self) -> Path:
        """What a run over all that is in the topic says."""
        out = self.folder / "bounded.duckdb"
        result(
            "detect", "--input", self.requests.uri, "--bundle", self.bundle,
            "--config", self.quiet, "--output", f"duckdb:///{out}", home=self.home,
        )  # fmt: skip
        return out

    def rows(self, sql: str, database: Path | None = None) -> list[tuple[Any, ...]]:
        """Rows by now, while detect is at work; none before there is a table."""
        parameters = [LATE] if "?" in sql else []
        for _ in range(100):
            with (
                suppress(duckdb.IOException, duckdb.CatalogException),
                duckdb.connect(str(database or self.database), read_only=True) as connection,
            ):
                return sorted(connection.execute(sql, parameters).fetchall(), key=str)
            time.sleep(0.05)
        return []

    def until_rows(
        self, wanted: dict[str, list[tuple[Any, ...]]], process: subprocess.Popen[str]
    ) -> None:
        """Waits until the tables hold these rows; says which are missing when they never do."""

        def differing() -> dict[str, tuple[list[Any], list[Any]]]:
            found = {sql: self.rows(sql) for sql in wanted}
            return {
                sql: (
                    [row for row in rows if row not in found[sql]][:3],
                    [row for row in found[sql] if row not in rows][:3],
                )
                for sql, rows in wanted.items()
                if found[sql] != rows
            }

        try:
            until(lambda: not differing(), PATIENCE_S, process, self)
        except AssertionError as error:
            raise AssertionError(f"missing, and too many: {differing()}") from error

    def errors(self) -> str:
        return (self.folder / "errors.txt").read_text()[-3000:]


def until(
    condition: Callable[[], bool], seconds: float, process: subprocess.Popen[str], world: World
) -> None:
    """Waits for a condition while a process runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, world.errors()
        assert time.monotonic() < deadline, world.errors()
        time.sleep(1)


def descendants(pid: int) -> set[int]:
    """Process ids below one."""
    below: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parts = stat.read_text().rpartition(")")[2].split()
            below.setdefault(int(parts[1]), []).append(int(stat.parent.name))
    found, waiting = set(), [pid]
    while waiting:
        children = below.get(waiting.pop(), [])
        found.update(children)
        waiting += children
    return found


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


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


@pytest.fixture
def world(kafka: KafkaBroker, prism: Path, tmp_path: Path) -> World:
    return World(tmp_path, kafka, prism)


@pytest.fixture
def started() -> Iterator[Callable[[subprocess.Popen[str]], subprocess.Popen[str]]]:
    """Ends the processes given to it, whatever becomes of the test."""
    processes: list[subprocess.Popen[str]] = []

    def keep(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        processes.append(process)
        return process

    yield keep
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


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
    until(sent.exists, 20, first, world)

    # Killed in the midst of it, nothing stays behind, and a new start goes on.
    world.requests.produce(world.records[part:])
    below = descendants(first.pid)
    assert below
    first.kill()
    first.wait()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in below) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in below if alive(pid)]

    second = started(world.detect())
    bounded = world.bounded()
    wanted = {sql: world.rows(sql, bounded) for sql in (SESSIONS, PROFILES, CLUSTERS, MEMBERS)}
    world.until_rows(wanted, second)
    days = "SELECT DISTINCT pane FROM session_scores WHERE level = 'profile'"
    until(  # one day is over, the other is not
        lambda: world.rows(days) == [("early",), ("on_time",)], 40, second, world
    )
    until(lambda: len(world.rows(CLOSED)) > 0.9 * len(wanted[SESSIONS]), 40, second, world)
    assert set(world.rows(CLOSED)) <= set(wanted[SESSIONS])
    until(lambda: world.rows(BALANCE) == [(len(world.records), 0)], 20, second, world)

    # What is older than the watermark by more than is allowed is refused, and says so.
    # It shares nothing with others: a later run, which reads faster, may take it for on time.
    when = orjson.loads(world.records[0][1])["event_time"]
    late = {"account_id": LATE, "event_id": "late-1", "event_time": when}
    world.requests.produce([(3, orjson.dumps(late))])
    until(lambda: world.rows("SELECT reason FROM dead_letters") == [("late",)], 20, second, world)
    until(lambda: world.rows(BALANCE) == [(len(world.records) + 1, 0)], 20, second, world)
    assert world.rows("SELECT late FROM run_balance") == [(1,)]

    second.send_signal(signal.SIGINT)
    out, _ = second.communicate(timeout=40)
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
    third.communicate(timeout=40)
    assert third.returncode == 130, world.errors()

    check_alerts(world)
    alerts = [(r.key.decode(), orjson.loads(r.value)) for r in world.alerts.records()]
    told_of = [(key, row["severity"], row["window_start"], row["run_id"]) for key, row in alerts]
    assert len(told_of) == len(set(told_of))  # once for each severity, also after a crash
    assert {name for name, _ in world.rows(NAMES)} <= {key for key, _ in alerts}
    assert all(row["cluster_id"] == key for key, row in alerts)

    fourth = started(world.detect("--for", "1 s"))
    fourth.communicate(timeout=60)
    assert fourth.returncode == 0, world.errors()


# --- small parts ----------------------------------------------------------------------------------


class _Job:
    def __init__(self) -> None:
        self.ended = threading.Event()


class _Committer:
    def __init__(self) -> None:
        self.commits = 0

    def commit(self) -> bool:
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
        def commit(self) -> bool:
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


def test_signals_stop_gently_and_a_second_ctrl_c_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopped_by_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(2)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


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
