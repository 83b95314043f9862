"""A campaign that goes slower where it is noticed: seven requests of ten, evenly over time."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer

from infra.local.services import KafkaBroker
from pipelines.sharing_drill import drill, exchange
from pipelines.sharing_drill.labs import Lab
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.alerts.decision_store import DispositionStore
from transforms.sinks.duckdb import write_tables


def lab(folder: Path) -> Lab:
    campaign = {
        name: [json.dumps({"account_id": name, "n": i}) + "\n" for i in range(100)]
        for name in ("x", "y")
    }
    made = Lab("lab-a", folder, {}, campaign=campaign)
    folder.joinpath("benign.jsonl").write_text(
        "".join(json.dumps({"account_id": f"b{i}"}) + "\n" for i in range(10))
    )
    return made


def test_the_benign_requests_stay_and_the_campaign_is_thinned_evenly(tmp_path: Path) -> None:
    one = lab(tmp_path)
    one.slow_down()
    one.slow_down()
    events = [json.loads(line) for line in one.live.read_text().splitlines()]
    assert sum(e["account_id"].startswith("b") for e in events) == 10
    for name in one.members:
        kept = [e["n"] for e in events if e["account_id"] == name]
        assert len(kept) in (48, 49)
        assert sum(n < 50 for n in kept) in (24, 25)
    assert one.requests == pytest.approx(0.49)


def test_it_slows_down_until_it_is_not_flagged_and_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, seen = lab(tmp_path), []

    def detect(self: Lab, name: str) -> Path:
        seen.append(self.requests)
        return tmp_path / name

    monkeypatch.setattr(Lab, "detect", detect)
    monkeypatch.setattr(drill, "_recall", lambda _, lab: float(lab.requests > 0.4))
    assert drill.unnoticed(one) == tmp_path / "before"
    assert seen == pytest.approx([1, 0.7, 0.49, 0.343])
    monkeypatch.setattr(drill, "_recall", lambda _, lab: 1.0)
    with pytest.raises(RuntimeError, match=r"lab-a flags the campaign at 5.8%"):
        drill.unnoticed(lab(tmp_path))


def test_who_looks_through_a_hunt_takes_customers_out_of_what_is_of_the_campaign(
    tmp_path: Path,
) -> None:
    made = {
        "c-mixed": ["x", "y", "b1", "b2"], "c-customers": ["b3", "b4"], "c-own": ["x", "y"],
        "c-one": ["x", "b5"],
    }  # fmt: skip
    at = datetime(2026, 5, 1, tzinfo=UTC)
    rows = {
        "flagged_clusters": [
            {"cluster_id": name, "revision": 9, "window_start": at, "window_end": at,
             "status": "open", "severity": "low", "score": 1.0, "p_value": 0.1, "first_seen": at,
             "last_seen": at, "account_count": len(accounts), "request_count": 9}
            for name, accounts in made.items()
        ],
        "cluster_members": [
            {"cluster_id": name, "revision": 9, "account_id": account, "since": at,
             "window_start": at}
            for name, accounts in made.items() for account in accounts
        ],
    }  # fmt: skip
    tables = tmp_path / "hunt.duckdb"
    write_tables(tables, {name: TABLES[name].to_arrow(found) for name, found in rows.items()})
    assert exchange.take_customers_out(lab(tmp_path), tables) == 1
    (decision,) = DispositionStore(tables).rows()
    assert (decision.cluster_id, decision.decision) == ("c-mixed", "split")
    assert decision.split_accounts == ("b1", "b2")


@pytest.mark.kafka
def test_a_lab_whose_stream_the_broker_does_not_take_does_not_go_on(
    tmp_path: Path, kafka: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = lab(tmp_path)
    one.broker, one.folder = kafka.address, tmp_path
    one.slow_down()
    topic = one.input.rpartition("/")[2]
    reader = KafkaConsumer(
        topic, bootstrap_servers=kafka.address, auto_offset_reset="earliest",
        consumer_timeout_ms=10_000,
    )  # fmt: skip
    sent, partitions = [], set()
    wanted = one.live.read_bytes().splitlines()
    for record in reader:
        sent.append(record.value)
        partitions.add(record.partition)
        if len(sent) == len(wanted):
            break
    reader.close()
    assert sorted(sent) == sorted(wanted)
    assert partitions == {0, 1}

    made = KafkaAdminClient.create_topics

    def small(self: KafkaAdminClient, topics: dict[str, dict[str, Any]]) -> object:
        limit = {"configs": {"max.message.bytes": "2000"}}
        return made(self, {name: one | limit for name, one in topics.items()})

    monkeypatch.setattr(KafkaAdminClient, "create_topics", small)
    # Of bytes by chance nothing is saved by packing them.
    one.folder.joinpath("benign.jsonl").write_text(os.urandom(8_000).hex() + "\n")
    with pytest.raises(DistilwatchError, match="larger than the topic takes"):
        one.slow_down()
