"""Traces as a collector gets them, by OTLP over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pipelines import cli
from pipelines.doctor.visit import _traces
from pipelines.observe.traces import traced
from pipelines.triage.handlers import Triage
from schemas.errors import DistilwatchError
from tests.pipelines.conftest import SmallRun
from tests.support.commit import Place, cluster, session, stage
from tests.support.receivers import HOOK_SECRET, Answer, Receiver, hook_file, receiver
from tests.support.spans import recorded
from tests.support.triage import client_of
from transforms.sinks import commit as commit_module
from transforms.spans import span


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A collector that the environment names; it takes everything."""
    with receiver(lambda *_: Answer(content=b"")) as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
        yield server


class Got:
    """The spans that a collector has taken."""

    def __init__(self, server: Receiver) -> None:
        self.resource: dict[str, Any] = {}
        self.spans: list[Any] = []
        self.raw = b""
        for request in server.taken():
            assert request.path == "/v1/traces"
            assert request.headers["content-type"] == "application/x-protobuf"
            assert request.headers["x-key"] == "secret"
            self.raw += request.content
            for group in ExportTraceServiceRequest.FromString(request.content).resource_spans:
                self.resource = values(group.resource.attributes)
                self.spans += [one for scope in group.scope_spans for one in scope.spans]

    def tree(self) -> set[str]:
        """Each span's name after its parents'."""
        by_id = {one.span_id: one for one in self.spans}

        def path(one: Any) -> str:
            parent = by_id.get(one.parent_span_id)
            return f"{path(parent)}/{one.name}" if parent is not None else one.name

        return {path(one) for one in self.spans}

    def of(self, name: str) -> list[dict[str, Any]]:
        return [values(one.attributes) for one in self.spans if one.name == name]


def values(attributes: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


def test_a_run_tells_where_its_time_went_and_nothing_of_its_events(
    small_run: SmallRun, collector: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(small_run.home))
    monkeypatch.setenv("HOOK_SECRET", HOOK_SECRET)
    live = small_run.inputs / "live.jsonl"
    with receiver() as hook:
        settings = tmp_path / "settings.yaml"
        channels = {"alerts": {"channels": str(hook_file(tmp_path, hook))}}
        settings.write_text(yaml.safe_dump(channels), encoding="utf-8")
        code = cli.run(
            ["detect", "--input", str(live), "--bundle", str(small_run.made / "bundle"),
             "--output", f"duckdb:///{tmp_path}/out.duckdb", "--config", str(settings),
             "--run-id", "traced-1", "--json"]
        )  # fmt: skip
        assert code == 0
        assert hook.taken()
    got = Got(collector)
    assert got.resource["service.name"] == "distilwatch"
    assert got.resource["distilwatch.run_id"] == "traced-1"
    assert got.tree() == {"run", "run/score", "run/write", "run/look for alerts", "run/tell"}
    assert got.of("run")[0]["distilwatch.records"] == live.read_bytes().count(b"\n")
    assert got.of("write") == [{"distilwatch.output": "duckdb"}]
    assert {one["distilwatch.channel"] for one in got.of("tell")} == {"hook"}
    [run] = [one for one in got.spans if one.name == "run"]
    inside = [one for one in got.spans if one.name == "score"]
    assert all(
        run.start_time_unix_nano <= one.start_time_unix_nano < one.end_time_unix_nano
        and one.end_time_unix_nano <= run.end_time_unix_nano
        for one in inside
    )
    for name in (b"acct", b"org", b"prompt"):  # names of the simulator's accounts begin so
        assert name in live.read_bytes()
        assert name not in got.raw


def test_a_commit_tells_which_output_took_how_long_and_which_failed(
    tmp_path: Path, collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    with place.spool.locked(), traced(place.warnings.append, run_id="r", runner="prism"):
        committer = place.committer()
        assert committer.commit()  # nothing was there: no span
        stage(place.spool, "session_scores", session("a", 1), session("b", 2))
        stage(place.spool, "flagged_clusters", cluster("c", 1))
        assert committer.commit()
        monkeypatch.setattr(commit_module, "add_parquet", _full)
        stage(place.spool, "session_scores", session("secret-account", 1))
        assert not committer.commit()
    got = Got(collector)
    assert got.tree() == {"commit", "commit/write"}
    good, bad = got.of("commit")
    assert good == {"distilwatch.rows": 3}
    assert bad == {"error.type": "DistilwatchError"}
    failed = [one for one in got.spans if one.status.code]
    assert [one.name for one in failed] == ["write", "commit"]
    assert values(failed[0].attributes)["distilwatch.output"] == "parquet"
    assert b"secret-account" not in got.raw
    assert [event for one in got.spans for event in one.events] == []


def _full(*_: object) -> None:
    raise DistilwatchError("rows of secret-account cannot be written", "there", "make room")


def test_pages_are_told_by_kind_not_by_address(small_run: SmallRun, collector: Receiver) -> None:
    with traced(print):
        client = client_of(small_run.database)
        assert client.get("/").status_code == 200
        assert client.get("/case/c-of-nobody").status_code == 404
        assert client.get("/healthz").status_code == 200
    got = Got(collector)
    assert got.of("page") == [
        {"distilwatch.method": "GET", "distilwatch.status": 200, "distilwatch.page": "show_queue"},
        {"distilwatch.method": "GET", "distilwatch.status": 404, "distilwatch.page": "show_case"},
    ]
    assert b"of-nobody" not in got.raw


def test_a_page_that_fails_is_told_by_its_name(
    small_run: SmallRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(small_run.database)
    monkeypatch.setattr(Triage, "_case", _fails)
    with recorded() as told, pytest.raises(RuntimeError):
        client.get("/case/c-of-nobody")
    [(name, about, failed)] = told
    assert (name, about["page"], failed) == ("page", "show_case", "RuntimeError")


def _fails(*_: object) -> None:
    raise RuntimeError("for the test")


def test_a_collector_that_is_away_is_told_of_once_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    warned: list[str] = []
    with traced(warned.append):
        for _ in range(6):
            with span("work"):
                time.sleep(0.1)
    assert len(warned) == 1
    assert "http://127.0.0.1:9" in warned[0]
    assert capfd.readouterr() == ("", "")


def test_without_a_collector_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("X", "")
    ):  # fmt: skip
        with monkeypatch.context() as one:
            if name != "X":
                one.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
                one.setenv(name, value)
            warned: list[str] = []
            with traced(warned.append), span("work", rows=1) as about:
                assert about == {"rows": 1}
            assert warned == []
            assert list(_traces()) == []


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318", "http://collector:4318"),
    ],
)
def test_what_cannot_work_is_told_with_its_mend(
    name: str, value: str, word: str, collector: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    warned: list[str] = []
    with traced(warned.append), span("work"):
        pass
    assert len(warned) == 1
    assert word in warned[0]
    assert collector.taken() == []
    [found] = _traces()
    assert (found.status, word in found.mend) == ("warn", True)


def test_doctor_asks_the_collector(collector: Receiver) -> None:
    [found] = _traces()
    assert found.status == "ok"
    collector.script.append(Answer(status=401))
    [found] = _traces()
    assert found.status == "warn"
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in found.mend
