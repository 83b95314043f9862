"""The whole way from a real broker: corpora composed into accounts, with the traces' timing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.local.services import KafkaBroker
from tests.support.commands import query, result, table
from tests.support.kafka import new_topic

DATA = Path(
    os.environ.get("DISTILWATCH_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)


# Every kind of attack, fewer accounts of each than by default.
CAMPAIGNS = [
    word
    for attack in (
        "bulk:rate=1000", "drip:m=16", "hydra-disjoint:m=16", "hydra-random:m=16",
        "mixture:m=16,alpha=0.4", "self-instruct:m=6", "evol:m=6", "reasoning:m=6",
        "capability:m=6", "replay:m=4", "replacement:m=6,rate=200", "relay:m=5",
    )
    for word in ("--attack", attack)
]  # fmt: skip


@pytest.mark.kafka
@pytest.mark.corpora
@pytest.mark.slow
@pytest.mark.skipif(
    not (DATA / "prompts").is_dir(), reason="no corpora: set DISTILWATCH_DATA to their folder"
)
def test_composed_corpora_through_kafka_twice(kafka: KafkaBroker, tmp_path: Path) -> None:
    home, bundle, database = tmp_path / "home", tmp_path / "bundle", tmp_path / "out.duckdb"
    requests, alerts = new_topic(kafka, 4), new_topic(kafka)
    made = result(
        "simulate", "--corpus", DATA / "prompts", "--traces", DATA / "traces",
        "--accounts", 500, "--events", 60_000, "--mutate", 0.05, *CAMPAIGNS,
        "--out", requests.uri, "--history", tmp_path / "history.jsonl",
        "--labels", tmp_path / "labels.jsonl", home=home,
    )  # fmt: skip
    result("train", "--input", tmp_path / "history.jsonl", "--bundle", bundle, home=home)
    detect = (
        "detect", "--input", requests.uri, "--bundle", bundle,
        "--output", f"duckdb:///{database}", "--output", alerts.uri,
    )  # fmt: skip
    result(*detect, home=home)

    [balance] = query(
        database, "SELECT records_read, unaccounted, refused, duplicate FROM run_balance"
    )
    assert balance[:2] == (made["live_records"], 0)
    assert min(balance[2:]) > 0
    letters = dict(query(database, "SELECT reason, count(*) FROM dead_letters GROUP BY 1"))
    assert set(letters) == set(made["spoilt"]) - {"duplicate"}
    flagged = {row[0] for row in query(database, "SELECT cluster_id FROM flagged_clusters")}
    sent = alerts.records()
    assert flagged
    assert {record.key.decode() for record in sent} == flagged

    names = ("session_scores", "flagged_clusters", "cluster_members", "dead_letters", "run_health")
    before = {name: table(database, name) for name in names}
    result(*detect, home=home)
    assert {name: table(database, name) for name in names} == before
    # The alerts come again, byte by byte the same: whoever reads them keeps one for each key.
    assert {record.value for record in alerts.records()} == {record.value for record in sent}

    figures = result(
        "evaluate", "--output", f"duckdb:///{database}", "--labels", tmp_path / "labels.jsonl",
        home=home,
    )  # fmt: skip
    assert 0.5 < figures["auroc"] <= 1
