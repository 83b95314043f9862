"""A span of the past gives the rows of the live run, beside a live job that is not disturbed."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from infra.local.services import KafkaBroker
from pipelines import cli
from pipelines.console import Console
from pipelines.detect import DetectOptions, endless, make_plan
from pipelines.detect.backfill import Backfill
from tests.support.commands import query
from tests.support.events import START_MS
from tests.support.kafka import new_topic
from tests.support.receivers import HOOK_SECRET, hook_file, receiver, signed
from tests.support.sketches import small_bundle
from tests.support.small_world import SETTINGS, as_lines, requests, settings_file, small_config
from tests.support.stream import Stream
from transforms.scoring.bundle import save_bundle

HOUR, DAY = 3_600_000, 86_400_000
DAYS = ("2026-06-01", "2026-06-02", "2026-06-03", "2026-06-04")
SPAN = ("--from", DAYS[1], "--to", DAYS[2])
_INSIDE = f"BETWEEN TIMESTAMPTZ '{DAYS[1]}' AND TIMESTAMPTZ '{DAYS[2]}' - INTERVAL 1 MILLISECOND"
SESSIONS = f"""
    SELECT session_id, revision, session_start, session_end, score, p_value, bundle_version
    FROM current_sessions WHERE level <> 'profile' AND session_start {_INSIDE} ORDER BY ALL"""
PROFILES = f"""
    WITH newest AS (
        SELECT * FROM session_scores WHERE level = 'profile'
        QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1)
    SELECT session_id, revision, score, p_value, combined_p_value
    FROM newest WHERE window_start {_INSIDE} ORDER BY ALL"""
# Clusters are told by their members: what one is called depends on what was seen before.
CLUSTERS = f"""
    WITH newest AS (
        SELECT * FROM flagged_clusters WHERE window_start {_INSIDE}
        QUALIFY row_number() OVER (
            PARTITION BY cluster_id, window_start ORDER BY revision DESC) = 1)
    SELECT c.window_start, c.revision, c.score, c.p_value, c.severity, c.request_count,
        list(m.account_id ORDER BY m.account_id)
    FROM newest c JOIN cluster_members m USING (cluster_id, revision)
    WHERE c.status <> 'resolved' GROUP BY ALL ORDER BY ALL"""
ALL = (SESSIONS, PROFILES, CLUSTERS)


def three_days() -> list[bytes]:
    """Requests of three days, sessions over both midnights among them."""
    made = requests(24, 6, 3 * HOUR, START_MS + 2 * HOUR)
    made += requests(24, 8, 4 * HOUR, START_MS + DAY - 2 * HOUR, 1, "night")
    made += requests(24, 6, 3 * HOUR, START_MS + DAY + 9 * HOUR, 2, "day")
    made += requests(24, 8, 4 * HOUR, START_MS + 2 * DAY - 2 * HOUR, 3, "night")
    for i, one in enumerate(made):  # the same people came on other nights
        one["event_id"] += f"/{i}"
    return as_lines(sorted(made, key=lambda one: one["event_time"]))


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    save_bundle(small_bundle(), tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def run(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    """Runs detect over input that ends, and returns its summary."""

    def detect(source: object, database: str, *more: object) -> dict[str, Any]:
        arguments = [
            "detect", "--input", source, "--bundle", bundle, "--config", settings_file(tmp_path),
            "--output", f"duckdb:///{tmp_path / database}", *more, "--json",
        ]  # fmt: skip
        code = cli.run([*map(str, arguments)])
        out = capsys.readouterr()
        assert code == 0, out.out + out.err
        found: dict[str, Any] = json.loads(out.out)
        return found

    return detect


def test_a_span_of_files_has_the_rows_of_a_run_over_everything(
    tmp_path: Path, run: Callable[..., dict[str, Any]]
) -> None:
    lines = three_days()
    old = json.loads(lines[0]) | {"event_time": "2010-01-01"}
    refused = [b"{", as_lines([old])[0], b'{"event_time": 3}']
    (tmp_path / "live.jsonl").write_bytes(b"\n".join([*refused, *lines]) + b"\n")
    run(tmp_path / "live.jsonl", "whole.duckdb")
    part = run(tmp_path / "live.jsonl", "part.duckdb", *SPAN)
    for sql in ALL:
        wanted = query(tmp_path / "whole.duckdb", sql)
        assert wanted
        assert query(tmp_path / "part.duckdb", sql) == wanted
    health = part["health"]
    assert health["read"] == health["scored"] + health["refused"]
    assert health["read"] + health["outside_span"] == len(lines) + len(refused)
    assert health["refused"] == 2  # those without a time; the old one is outside
    # Nothing of other days, but the windows that the span touches.
    days = (
        "SELECT DISTINCT CAST(session_start AS DATE) FROM session_scores WHERE level <> 'profile'"
    )
    assert len(query(tmp_path / "part.duckdb", days)) == 1
    assert query(tmp_path / "part.duckdb", "SELECT count(DISTINCT window_start) "
                 "FROM session_scores WHERE level = 'profile'") == [(1,)]  # fmt: skip
    # Into the tables of the whole run it changes no figure.
    before = {sql: query(tmp_path / "whole.duckdb", sql) for sql in ALL}
    run(tmp_path / "live.jsonl", "whole.duckdb", *SPAN)
    assert {sql: query(tmp_path / "whole.duckdb", sql) for sql in ALL} == before


def test_nobody_is_paged_for_the_past_unless_it_is_asked_for(
    tmp_path: Path, run: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", HOOK_SECRET)
    (tmp_path / "live.jsonl").write_bytes(b"\n".join(three_days()) + b"\n")
    with receiver(signed) as server:
        alerts = f"channels: {hook_file(tmp_path, server)}, book: {tmp_path / 'book.alerts'}"
        settings = tmp_path / "on-call.yaml"
        settings.write_text(SETTINGS.replace("alerts: {", f"alerts: {{{alerts}, "))
        how = (*SPAN, "--config", settings)
        quiet = run(tmp_path / "live.jsonl", "past.duckdb", *how)
        assert quiet["rows"]["flagged_clusters"]
        assert not quiet["rows"]["alerts"]
        assert not server.requests
        told = run(tmp_path / "live.jsonl", "past.duckdb", "--send-alerts", *how)
        assert told["rows"]["alerts"]
        assert server.taken()


def test_a_backfill_on_a_cluster_tells_neither_channels_nor_topics(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is over when it begins: to whom its rows would go is decided before."""
    heard: list[tuple[Any, Any]] = []

    class Committer(endless.Committer):
        def __init__(
            self, spool: Any, outputs: Any, *more: Any, on_call: Any, **named: Any
        ) -> None:
            heard.append((outputs, on_call))
            super().__init__(spool, outputs, *more, **named)

    @contextmanager
    def over(*_: object) -> Iterator[Any]:
        job = Mock(failure=None, ended=threading.Event())
        job.ended.set()
        yield job

    monkeypatch.setattr(endless, "Committer", Committer)
    monkeypatch.setattr(endless, "running_job", lambda plan: None)
    monkeypatch.setattr(endless, "on_flink", over)
    tables, topic = f"duckdb:///{tmp_path / 'past.duckdb'}", "kafka://127.0.0.1:1/alerts"
    config = small_config(alerts__book=str(tmp_path / "book.alerts"))
    options = DetectOptions(
        ["e.jsonl"], bundle, [tables, topic], config, "flink", None, [], from_ms=START_MS,
        alerts=False,
    )  # fmt: skip
    with Console(as_json=True) as console:
        endless.run_until_stopped(make_plan(options), console)
    assert heard == [([tables], None)]


@pytest.mark.parametrize(("begin", "end"), [("0001-01-01", "9999-12-31"), ("1969-12-31", None)])
def test_a_span_may_begin_before_all_and_end_after_all(begin: str, end: str | None) -> None:
    times = [
        None if day is None else round(datetime.fromisoformat(f"{day}T00:00Z").timestamp() * 1000)
        for day in (begin, end)
    ]
    span = Backfill.of(*times, small_config())
    assert span is not None
    assert span.words().startswith("Events from the beginning to the end UTC")
    assert span.source("kafka://h/t") == "kafka://h/t"
    assert span.has_session(START_MS)


def test_what_is_read_covers_whole_sessions_and_windows() -> None:
    config = small_config()
    span = Backfill.of(START_MS + 7 * HOUR, START_MS + 8 * HOUR, config)
    assert span is not None
    assert span.read == (START_MS, START_MS + DAY)
    assert span.has_session(START_MS + 7 * HOUR)
    assert not span.has_session(START_MS + 8 * HOUR)
    assert span.has_window(START_MS, START_MS + DAY)
    assert not span.has_window(START_MS + DAY, START_MS + 2 * DAY)
    topic = "kafka://h/t"
    assert span.source(topic) == f"{topic}?start=2026-05-31T23:50:00+00:00"
    assert span.source(f"{topic}?start=earliest") == f"{topic}?start=earliest"
    assert Backfill.of(None, None, config) is None
    open_end = Backfill.of(START_MS, None, config)
    assert open_end is not None
    assert open_end.has_session(START_MS + 10_000 * DAY)
    open_start = Backfill.of(None, START_MS, config)
    assert open_start is not None
    assert open_start.source(topic) == topic


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--from", "2026-06-02", "--to", "2026-06-01"), "ends before it begins"),
        (("--from", "yesterday"), "write a time as"),
        (("--send-alerts",), "only a backfill keeps alerts back"),
    ],
)
def test_spans_that_are_none_are_refused(
    more: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "e.jsonl").write_text("{}\n")
    options = ["--input", str(tmp_path / "e.jsonl"), "--bundle", "b", "--output", "duckdb:///o.db"]
    assert cli.run(["detect", *options, *more]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.kafka
@pytest.mark.prism
@pytest.mark.slow
def test_a_backfill_beside_a_live_job_has_its_rows_and_does_not_disturb_it(
    kafka: KafkaBroker, prism: Path, tmp_path: Path, bundle: Path,
    run: Callable[..., dict[str, Any]],
) -> None:  # fmt: skip
    topic, alerts = new_topic(kafka, 2), new_topic(kafka)
    lines = three_days()
    topic.produce((i % 2, line) for i, line in enumerate(lines))
    source = f"{topic.uri}?bounded=false"
    settings = settings_file(tmp_path)
    with Stream(
        tmp_path, prism, source, bundle, settings, "--output", alerts.uri, "--run-id", "live"
    ) as live:
        live.until_read(len(lines))
        # Elsewhere, it has the rows that the live run comes to.
        part = run(topic.uri, "part.duckdb", *SPAN)
        wanted = {sql: query(tmp_path / "part.duckdb", sql) for sql in ALL}
        assert all(wanted.values())
        assert part["health"]["outside_span"] > 0
        live.until(lambda: {sql: live.rows(sql) for sql in ALL} == wanted)
        live.until(lambda: bool(alerts.records()))  # they come after the tables

        # Into the live job's own tables, while it works on more.
        more = as_lines(requests(12, 6, HOUR, START_MS + 2 * DAY + 6 * HOUR, 4, "later"))
        writer = threading.Thread(
            target=lambda: topic.produce((i % 2, line) for i, line in enumerate(more))
        )
        writer.start()
        again = run(topic.uri, "out.duckdb", *SPAN, "--output", alerts.uri, "--run-id", "backfill")
        writer.join()
        assert again["health"]["scored"] == part["health"]["scored"]
        live.until_read(len(lines) + len(more))
        assert {sql: live.rows(sql) for sql in ALL} == wanted
        runs = "SELECT run_id, unaccounted FROM run_balance ORDER BY ALL"
        assert live.rows(runs) == [("backfill", 0), ("live", 0)]
        spanned = [json.loads(v) for _, v in [(r.key, r.value) for r in alerts.records()]]
        assert {row["run_id"] for row in spanned} == {"live"}
        live.stop()
    shutil.rmtree(tmp_path / "out.duckdb.spool")
    # On request alerts of the past are sent.
    run(topic.uri, "part.duckdb", *SPAN, "--output", alerts.uri, "--send-alerts", "--run-id", "x")
    assert "x" in {json.loads(r.value)["run_id"] for r in alerts.records()}
