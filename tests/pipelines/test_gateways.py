"""Logs of gateways through the whole of `detect`: the same findings as from events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from infra.local.services import KafkaBroker
from pipelines import cli
from tests.pipelines.conftest import SmallRun
from tests.support import gateways
from tests.support.commands import query, result
from tests.support.kafka import new_topic
from transforms.ingest.batch import RecordBatch
from transforms.ingest.decode import Decoder
from transforms.ingest.pseudonyms import Pseudonymiser


@dataclass(frozen=True)
class Plain:
    """Requests that gateways could have told of, and the tables that they give as events."""

    requests: list[dict[str, Any]]
    database: Path


@pytest.fixture(scope="module")
def plain(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Plain:
    lines = (small_run.inputs / "live.jsonl").read_bytes().splitlines()
    decoder = Decoder(Pseudonymiser(b"k" * 32), "distilwatch-hashing-v1", 384)
    refused = decoder.decode(RecordBatch("t", 0, np.arange(len(lines)), lines)).refused
    spoilt = {letter.offset for letter in refused}
    events = [told(orjson.loads(line)) for i, line in enumerate(lines) if i not in spoilt]
    folder = tmp_path_factory.mktemp("plain")
    (folder / "events.jsonl").write_bytes(b"".join(orjson.dumps(e) + b"\n" for e in events))
    detect(small_run, folder / "events.jsonl", "events", folder / "out.duckdb")
    return Plain(events, folder / "out.duckdb")


def told(event: dict[str, Any]) -> dict[str, Any]:
    """A request as far as documents tell of it: hashes of system prompts that nobody has are left
    out, a text has a turn, and there is some client."""
    event.pop("system_prompt_hash", None)
    turn = event.pop("turn_index", None) or 0
    if event.get("prompt_text"):
        event["turn_index"] = turn
    return event | {"client_fingerprint": event.get("client_fingerprint") or "0000000000"}


def detect(
    small_run: SmallRun, where: object, form: str, database: Path, *more: object
) -> dict[str, int]:
    """Runs it; what it counted."""
    found = result(
        "detect", "--input", where, "--input-format", form,
        "--bundle", small_run.made / "bundle", "--output", f"duckdb:///{database}",
        "--run-id", "r", *more, home=small_run.home,
    )  # fmt: skip
    health: dict[str, int] = found["health"]
    return health


def rows(database: Path, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
    return query(database, f"SELECT {columns} FROM {table} ORDER BY ALL")


@pytest.mark.slow
def test_a_proxys_log_gives_the_same_tables_as_its_events(
    small_run: SmallRun, plain: Plain, tmp_path: Path
) -> None:
    log, database = tmp_path / "litellm.jsonl", tmp_path / "litellm.duckdb"
    log.write_bytes(b"".join(orjson.dumps(gateways.litellm(e)) + b"\n" for e in plain.requests))
    assert detect(small_run, log, "litellm", database)["read"] == len(plain.requests)
    for table in ("session_scores", "flagged_clusters", "cluster_members"):
        assert rows(database, table) == rows(plain.database, table)
        assert rows(database, table)


@pytest.mark.kafka
@pytest.mark.slow
def test_a_collectors_topic_is_read_and_its_poison_is_not_lost(
    kafka: KafkaBroker, small_run: SmallRun, plain: Plain, tmp_path: Path
) -> None:
    good = plain.requests
    topic = new_topic(kafka, 2)
    nameless = gateways.span(good[0])
    nameless["attributes"] = [p for p in nameless["attributes"] if p["key"] != "user.id"]
    records = []
    for start in range(0, len(good), 40):
        spans = [gateways.span(event) for event in good[start : start + 40]]
        if start == 40:
            spans.insert(3, nameless)
        request = gateways.export([*spans, gateways.other_span(start + 1)])
        records.append(gateways.protobuf(request) if start % 80 else orjson.dumps(request))
    records.insert(7, b"\x00\x01 no span")
    topic.produce((i % 2, record) for i, record in enumerate(records))
    database = tmp_path / "otlp.duckdb"
    settings = tmp_path / "settings.yaml"  # spans have ids of their own, and sampling goes by ids
    settings.write_text("ingest: {format: otlp, fields: {event_id: [request.id]}}\n")
    health = detect(small_run, topic.uri, "otlp", database, "--config", settings)
    assert health["read"] == len(good) + 2
    assert health["not_requests"] == len(records) - 1
    [balance] = query(database, "SELECT records_read, unaccounted FROM run_balance")
    assert balance == (len(good) + 2, 0)
    letters = query(database, "SELECT reason, count(*) FROM dead_letters GROUP BY 1 ORDER BY 1")
    assert letters == [("missing_field", 1), ("not_otlp", 1)]
    for table in ("session_scores", "flagged_clusters", "cluster_members"):
        assert rows(database, table) == rows(plain.database, table)


def test_a_place_that_there_is_not_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("ingest: {format: kong, fields: {acount_id: consumer.id, model: 'a..b'}}\n")
    code = cli.run(
        ["detect", "--input", "x.jsonl", "--bundle", "b", "--output", "duckdb:///o.duckdb",
         "--config", str(settings)]
    )  # fmt: skip
    said = capsys.readouterr().err
    assert code == 2
    assert "ingest.fields" in said
    assert "did you mean account_id or account_tier?" in said
    settings.write_text("ingest: {format: kong, fields: {account_id: '*.id'}}\n")
    cli.run(["config", "check", str(settings)])
    assert "must begin with a name" in capsys.readouterr().err
    settings.write_text("ingest: {fields: {account_id: consumer.id}}\n")
    cli.run(["config", "check", str(settings)])
    assert "set ingest.format" in capsys.readouterr().err
