"""Metrics as Prometheus reads them, and logs as machines do."""

from __future__ import annotations

import json
import logging
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.local.services import KafkaBroker
from pipelines import cli
from pipelines.config import Config
from pipelines.observe import watcher
from pipelines.observe.metrics import RunMetrics, write_file
from pipelines.observe.of_tables import table_metrics
from pipelines.observe.watcher import Watched, served, told
from pipelines.oncall import Untold
from pipelines.settings.observe import ObserveConfig
from schemas.errors import DistilwatchError
from tests.pipelines.conftest import SmallRun
from tests.support.kafka import new_topic
from transforms.ingest.kafka_group import note_positions
from transforms.ingest.kafka_uri import parse_kafka_uri

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text.decode())
        for s in family.samples
        if not s.name.endswith("_created")
    }


class Commits:
    """What a committer says, from a list."""

    def __init__(self, *said: Any) -> None:
        self._said = list(said)
        self.written: Any = None

    def commit(self) -> bool:
        done, self.written = self._said.pop(0)
        return bool(done)


def written(read: int, clusters: int, late: int = 0) -> Any:
    return SimpleNamespace(
        health={"read": read, "scored": read - late, "refused": late, "refused_late": late},
        rows={"flagged_clusters": clusters, "session_scores": 2 * read},
        members={("c", str(i)): 5 for i in range(clusters)},
        newest=AT,
    )


def test_counters_follow_what_was_counted_and_never_fall(tmp_path: Path) -> None:
    metrics, file = RunMetrics("run-1", "b-1", "prism"), tmp_path / "run.prom"
    steps = [(True, written(10, 0)), (False, written(10, 0)), (True, written(25, 2, late=3))]
    watched = Watched(Commits(*steps), metrics, file)
    for done, _ in steps:
        assert watched.commit() is done
    found = samples(file.read_bytes())
    assert found["distilwatch_records_total", (("outcome", "read"),)] == 25
    assert found["distilwatch_records_total", (("outcome", "scored"),)] == 22
    assert found["distilwatch_dead_letters_total", (("reason", "late"),)] == 3
    assert found["distilwatch_rows_total", (("table", "session_scores"),)] == 50
    assert found["distilwatch_commit_failures_total", ()] == 1
    assert found["distilwatch_flagged_accounts", ()] == 10
    assert found["distilwatch_newest_event_timestamp_seconds", ()] == AT.timestamp()
    assert found["distilwatch_last_flagged_timestamp_seconds", ()] > 0
    info = (("bundle", "b-1"), ("run_id", "run-1"), ("runner", "prism"))
    assert found["distilwatch_run_info", info] == 1
    assert not list(tmp_path.glob(".*"))


def test_what_is_committed_after_the_last_look_is_told_in_the_end(tmp_path: Path) -> None:
    metrics, file = RunMetrics("run-1", "b-1", "prism"), tmp_path / "run.prom"
    commits = Commits((True, written(10, 0)))
    watched = Watched(commits, metrics, file)
    assert watched.commit()
    commits.written = written(25, 2)
    watched.close()
    found = samples(file.read_bytes())
    assert found["distilwatch_records_total", (("outcome", "read"),)] == 25
    assert found["distilwatch_commit_failures_total", ()] == 0


def test_what_was_read_and_is_not_in_the_tables_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reader:
        def __init__(self, _: object) -> None:
            pass

        def partitions(self) -> list[int]:
            return [0]

        def end_offsets(self, _: object) -> dict[int, int]:
            return {0: 100}

        def first_offsets(self, _: object) -> dict[int, int]:
            return {0: 5}

        def close(self) -> None:
            pass

    monkeypatch.setattr(watcher, "TopicReader", Reader)
    monkeypatch.setattr(watcher, "_LAG_EVERY_S", 0.0)
    topic, positions = "kafka://b:9092/requests?bounded=false", str(tmp_path / "positions")
    metrics, file = RunMetrics("run-1", "b-1", "prism"), tmp_path / "run.prom"
    steps = [(True, written(1, 0)), (False, written(1, 0)), (True, written(2, 0))]
    watched = Watched(Commits(*steps), metrics, file, [topic], positions)
    labels = (("brokers", "b:9092"), ("partition", "0"), ("topic", "requests"))
    behind = []
    for at in (40, 90, 100):
        note_positions(positions, parse_kafka_uri(topic), 0, {0: at})
        watched.commit()
        behind.append(samples(file.read_bytes())["distilwatch_lag_records", labels])
    assert behind == [60, 60, 0]


def test_who_could_not_be_told_is_told_of(tmp_path: Path) -> None:
    metrics, file = RunMetrics("run-1", "b-1", "prism"), tmp_path / "run.prom"
    found = iter([Untold(2, 1), DistilwatchError("the book is locked", "x", "wait"), Untold(0, 1)])

    def look() -> Untold:
        one = next(found)
        if isinstance(one, DistilwatchError):
            raise one
        return one

    watched = Watched(Commits(*[(True, written(1, 0))] * 3), metrics, file, untold=look)
    for failing in (2, 2, 0):
        watched.commit()
        now = samples(file.read_bytes())
        assert now["distilwatch_untold_messages", (("state", "failing"),)] == failing
        assert now["distilwatch_untold_messages", (("state", "dead"),)] == 1


def test_prometheus_gets_an_answer_while_a_run_goes_on() -> None:
    metrics = RunMetrics("run-1", "b-1", "prism")
    with served(metrics, ObserveConfig(metrics_address="127.0.0.1:0")) as address:
        text = urllib.request.urlopen(address, timeout=20).read()
    assert samples(text)["distilwatch_records_total", (("outcome", "read"),)] == 0


def test_an_address_that_is_taken_is_told() -> None:
    metrics = RunMetrics("run-1", "b-1", "prism")
    with (
        served(metrics, ObserveConfig(metrics_address="127.0.0.1:0")) as address,
        pytest.raises(DistilwatchError, match=r"observe.metrics_address"),
        served(metrics, ObserveConfig(metrics_address=address.split("/")[2])),
    ):
        pass
    with pytest.raises(DistilwatchError, match=r"observe.metrics_file"):
        write_file(Path("/no/such/folder/x.prom"), b"")


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.prom").mkdir()  # a file cannot take its place
    with pytest.raises(DistilwatchError, match=r"observe.metrics_file"):
        write_file(tmp_path / "x.prom", b"text")
    assert [path.name for path in tmp_path.iterdir()] == ["x.prom"]


@pytest.mark.kafka
def test_lag_is_what_is_not_committed(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = new_topic(kafka, 2)
    topic.produce((i % 2, b"{}") for i in range(10))
    note_positions(str(tmp_path), parse_kafka_uri(topic.uri), 0, {0: 3})
    # A topic of the same name elsewhere, whose readers are far ahead and whose broker is away.
    away = f"kafka://127.0.0.1:1/{topic.name}?bounded=false"
    note_positions(str(tmp_path), parse_kafka_uri(away), 0, {0: 90, 1: 90})
    plan = SimpleNamespace(
        config=Config(observe=ObserveConfig(metrics_file=str(tmp_path / "x.prom"))),
        run_id="r", bundle_version="b", runner="prism", positions=str(tmp_path),
        options=SimpleNamespace(inputs=[topic.uri + "?bounded=false", away], outputs=[]),
    )  # fmt: skip
    with told(plan, Commits((True, written(1, 0))), None) as watched:  # type: ignore[arg-type]
        watched.commit()
    found = samples((tmp_path / "x.prom").read_bytes())
    lags = {labels: v for (name, labels), v in found.items() if name == "distilwatch_lag_records"}
    assert sorted(lags.values()) == [2, 5]
    assert {dict(labels)["brokers"] for labels in lags} == {kafka.address}


def test_tables_tell_of_the_newest_runs_only() -> None:
    """A run a day must not make a series a day, for ever."""
    database = duckdb.connect()
    database.execute("CREATE TABLE run_health (run_id TEXT, metric TEXT, value BIGINT)")
    database.execute("CREATE TABLE session_scores (run_id TEXT, session_end TIMESTAMPTZ)")
    for day in range(1, 29):
        database.execute(f"INSERT INTO run_health VALUES ('r{day}', 'read', {day})")
        for hour in (3, 9):
            at = f"2026-06-{day:02} 0{hour}:00:00+00"
            database.execute(f"INSERT INTO session_scores VALUES ('r{day}', '{at}')")
    database.execute("INSERT INTO run_health VALUES ('a-run-that-scored-nothing', 'read', 0)")

    def ask(query: str) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        if "run_health" not in query:
            return (), ()
        return (), database.execute(query).fetchall()

    found = samples(table_metrics(ask))
    runs = {dict(labels)["run_id"] for name, labels in found if name.endswith("_tables_health")}
    assert runs == {"r24", "r25", "r26", "r27", "r28"}


def test_tables_tell_drift_and_clusters(
    small_run: SmallRun, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"duckdb:///{small_run.database}"
    assert cli.run(["tables", "metrics", "--output", uri]) == 0
    found = samples(capsys.readouterr().out.encode())
    run = (("metric", "read"), ("run_id", "run-1"))
    lines = (small_run.inputs / "live.jsonl").read_bytes().count(b"\n")
    assert found["distilwatch_tables_health", run] == lines > 1_000
    shares = [v for (n, _), v in found.items() if n == "distilwatch_tables_feature_outside_share"]
    assert shares
    assert all(0 <= share <= 1 for share in shares)
    assert sum(v for (n, _), v in found.items() if n == "distilwatch_tables_clusters") >= 1


def test_logs_are_one_object_a_line_and_say_nothing_else(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("DISTILWATCH_HOME", str(small_run.home))
    events = (small_run.inputs / "live.jsonl").read_bytes().splitlines(keepends=True)[:300]
    (tmp_path / "few.jsonl").write_bytes(b"".join(events))
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"observe: {{log_format: json, metrics_file: {tmp_path}/run.prom}}\n", encoding="utf-8"
    )
    before = logging.getLogger().handlers[:]
    try:
        code = cli.run(
            ["detect", "--input", str(tmp_path / "few.jsonl"), "--bundle",
             str(small_run.made / "bundle"), "--output", f"duckdb:///{tmp_path}/out.duckdb",
             "--config", str(settings), "--json"]
        )  # fmt: skip
        logging.getLogger("elsewhere").warning("something %s", "odd")
    finally:
        logging.getLogger().handlers[:] = before
    out, err = capsys.readouterr()
    assert code == 0
    lines = [json.loads(line) for line in err.splitlines() if line.strip()]
    assert {"level": "warning", "message": "something odd", "logger": "elsewhere"}.items() <= (
        lines[-1].items()
    )
    health = json.loads(out)["health"]
    found = samples((tmp_path / "run.prom").read_bytes())
    assert found["distilwatch_records_total", (("outcome", "read"),)] == health["read"]
    assert found["distilwatch_run_completed_timestamp_seconds", ()] > 0
