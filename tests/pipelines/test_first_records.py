"""Files that hold something else than the settings say: noticed before a run, which goes on."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipelines.config import load_config
from pipelines.preflight import strange_records
from schemas.errors import DistilwatchError
from tests.support import gateways

EVENT = {"event_id": "e", "event_time": "2026-06-01T00:00:00Z", "account_id": "a"}
OWN = {"id": "1", "ts": "2026-06-01T00:00:00Z", "user": "a", "prompt": "SECRET"}


def look(path: Path, form: str = "events") -> DistilwatchError | None:
    return strange_records(load_config(None, {"ingest.format": form}), str(path))


def written(path: Path, *records: Any) -> Path:
    data = b"\n".join(r if isinstance(r, bytes) else orjson.dumps(r) for r in records)
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["e.jsonl", "e.jsonl.gz"])
def test_one_good_record_is_enough(tmp_path: Path, name: str) -> None:
    assert look(written(tmp_path / name, *[OWN] * 19, EVENT)) is None


def test_records_of_ones_own_are_noticed_and_not_quoted(tmp_path: Path) -> None:
    problem = look(written(tmp_path / "e.jsonl", *[OWN] * 50))
    assert problem is not None
    assert "none of its first 20 records" in problem.what
    assert "missing_field (20 times)" in problem.what
    assert "`event_id`" in problem.what
    assert "docs/contracts.md" in problem.mend
    assert "SECRET" not in str(problem)


@pytest.mark.parametrize("form", ["otlp", "litellm", "kong"])
def test_a_gateways_log_is_known_by_its_looks(tmp_path: Path, form: str) -> None:
    request = EVENT | {"event_time": 1_780_272_000_000, "model": "m", "prompt_text": "hello"}
    write = {"litellm": gateways.litellm, "kong": gateways.kong}
    record = write[form](request) if form in write else gateways.export([gateways.span(request)])
    log = written(tmp_path / "log.jsonl", record)
    problem = look(log)
    assert problem is not None
    assert f"--input-format {form}" in problem.mend
    assert look(log, form) is None
    back = look(written(tmp_path / "e.jsonl", EVENT), form)
    assert back is not None
    assert "--input-format events" in back.mend


def test_one_array_is_said_to_be_one(tmp_path: Path) -> None:
    problem = look(written(tmp_path / "e.jsonl", [EVENT, EVENT]))
    assert problem is not None
    assert "jq -c" in problem.mend


def test_topics_and_blank_files_are_left_alone(tmp_path: Path) -> None:
    assert strange_records(load_config(None), "kafka://127.0.0.1:1/t") is None
    assert look(written(tmp_path / "e.jsonl", b"", b" ")) is None
