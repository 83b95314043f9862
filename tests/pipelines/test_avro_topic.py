"""A topic of Avro from producers old and new, by way of a real schema registry, into the tables."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest

from infra.local.services import KafkaBroker, ServiceError
from pipelines import cli
from schemas.events import avro_schema
from tests.support.apicurio import apicurio_jar, apicurio_running, register
from tests.support.commands import query
from tests.support.kafka import new_topic
from tests.support.sketches import small_bundle
from tests.support.small_world import SETTINGS, as_lines, requests
from transforms.ingest.registry import framed
from transforms.scoring.bundle import save_bundle

HOUR = 3_600_000


def avro(schema: Any, record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


@pytest.mark.kafka
def test_old_new_and_json_producers_give_the_tables_of_json_alone(
    kafka: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    try:
        apicurio_jar()
    except ServiceError as missing:
        pytest.skip(str(missing))
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    save_bundle(small_bundle(), tmp_path / "bundle")
    events = requests(12, 10, HOUR)
    lines = as_lines(events)
    ours = avro_schema()
    older = ours | {"fields": [f for f in ours["fields"] if f["name"] != "reasoning_tokens"]}
    newer = ours | {"fields": [{"name": "region", "type": "string"}, *ours["fields"]]}
    topic = new_topic(kafka, 2)

    def detect(source: object, registry: str, database: str, run_id: str) -> dict[str, Any]:
        settings = tmp_path / f"{run_id}.yaml"
        settings.write_text(SETTINGS.replace("ingest: {", f"ingest: {{{registry}"))
        code = cli.run([
            "detect", "--input", str(source), "--bundle", str(tmp_path / "bundle"), "--config",
            str(settings), "--output", f"duckdb:///{tmp_path / database}", "--run-id", run_id,
            "--json",
        ])  # fmt: skip
        out = capsys.readouterr()
        assert code == 0, out.out + out.err
        found: dict[str, Any] = json.loads(out.out)
        return found

    with apicurio_running(tmp_path) as url:
        numbers = [
            register(url, f"{topic.name}-{i}", schema)
            for i, schema in enumerate((ours, older, newer))
        ]
        loose = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
        as_json = register(url, f"{topic.name}-json", loose, "JSON")
        made = []
        for i, (event, line) in enumerate(zip(events, lines, strict=True)):
            kinds = (
                line,
                framed(as_json, line),
                framed(numbers[0], avro(ours, event)),
                framed(numbers[1], avro(older, event)),
                framed(numbers[2], avro(newer, event | {"region": "eu"})),
            )
            made.append((i % 2, kinds[i % 5]))
        spoilt = [(0, framed(424_242, b"x")), (1, framed(numbers[0], b"\xff")), (0, None)]
        topic.produce([*made[:50], *spoilt, *made[50:]])
        registry = f"registry: {{url: '{url}'}}, "
        found = detect(topic.uri, registry, "avro.duckdb", "avro")
    health = found["health"]
    assert (health["read"], health["scored"], health["refused"]) == (122, 120, 2)
    assert health["empty"] == 1
    letters = query(tmp_path / "avro.duckdb", "SELECT reason, schema_id FROM dead_letters")
    assert sorted(letters) == [("not_avro", numbers[0]), ("unknown_schema", 424_242)]

    (tmp_path / "events.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    detect(tmp_path / "events.jsonl", "", "json.duckdb", "json")
    scores = "SELECT session_id, revision, score, p_value FROM session_scores ORDER BY ALL"
    wanted = query(tmp_path / "json.duckdb", scores)
    assert len(wanted) > 20
    assert query(tmp_path / "avro.duckdb", scores) == wanted
    assert query(tmp_path / "avro.duckdb", "SELECT unaccounted FROM run_balance") == [(0,)]
