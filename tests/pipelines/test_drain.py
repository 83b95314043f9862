"""A stream that is asked to drain ends as if its input had ended where it stopped reading."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from infra.local.services import KafkaBroker
from tests.support.commands import result
from tests.support.engines import Engine
from tests.support.kafka import new_topic
from tests.support.sketches import small_bundle
from tests.support.small_world import as_lines, requests, settings_file
from tests.support.stream import Stream
from transforms.scoring.bundle import save_bundle

HOUR = 3_600_000
NEWEST = (
    "SELECT session_id, pane, request_count, score, p_value FROM current_sessions ORDER BY ALL",
    "SELECT account_id, request_count FROM cluster_members ORDER BY ALL",
)
OPEN = "SELECT count(*) FROM current_sessions WHERE pane = 'early'"


@pytest.mark.kafka
@pytest.mark.slow
def test_draining_closes_what_is_open_and_writes_it(
    kafka: KafkaBroker, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    save_bundle(small_bundle(), tmp_path / "bundle")
    topic = new_topic(kafka, 2)
    lines = as_lines(requests(30, 8, HOUR))
    topic.produce((i % 2, line) for i, line in enumerate(lines))
    settings = settings_file(tmp_path, engine.settings)
    # Little of it is told when it is stopped, and nothing moves the watermark past the last gaps.
    changed = settings.read_text().replace("early_firing: 1 s", "early_firing: 15 s")
    settings.write_text(changed.replace("run: {", "run: {on_stop: drain, "))
    how = (f"{topic.uri}?bounded=false", tmp_path / "bundle", settings, *engine.options)
    with Stream(tmp_path, engine.prism, *how) as stream:
        stream.until_read(len(lines))
        summary = stream.stop()
    assert "Traceback" not in stream.errors()
    assert summary.get("savepoint") is None

    there = tmp_path / "bounded.duckdb"
    result(
        "detect", "--input", topic.uri, "--bundle", tmp_path / "bundle", "--config", settings,
        "--output", f"duckdb:///{there}", home=tmp_path / "home",
    )  # fmt: skip
    for sql in NEWEST:
        with duckdb.connect(str(there), read_only=True) as bounded:
            wanted = bounded.execute(sql).fetchall()
        assert stream.rows(sql) == wanted
        assert wanted or "cluster_members" in sql
    assert stream.rows(OPEN) == [(0,)]

    # What is asked of one run is not asked of the next.
    assert not (tmp_path / "out.duckdb.spool" / "positions" / "drain").exists()
