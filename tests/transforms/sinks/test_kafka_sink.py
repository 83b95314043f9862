"""Rows in a real topic."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta, timezone

import pytest

from infra.local.services import KafkaBroker
from schemas.errors import DistilwatchError
from tests.support.kafka import new_topic
from transforms.sinks.kafka import RecordProducer, row_json, send_rows

ROW = {
    "cluster_id": "c-1",
    "window_start": datetime(2026, 6, 1, tzinfo=UTC),
    "p": 1e-4,
    "members": ["a", "b"],
    "links": [{"kind": "payment", "weight": 0.5}],
    "note": None,
}


def test_the_same_row_has_the_same_bytes_whatever_its_order_and_zone() -> None:
    summer = timezone(timedelta(hours=2))
    other = dict(reversed(ROW.items()))
    other["window_start"] = datetime(2026, 6, 1, 2, tzinfo=summer)
    assert json.loads(row_json(ROW))["window_start"] == "2026-06-01T00:00:00Z"
    assert json.loads(row_json(other)) != json.loads(row_json({**ROW, "p": 1.0}))
    assert row_json(other) == row_json(ROW)


@pytest.mark.kafka
def test_rows_arrive_keyed_by_cluster_with_the_contract_version(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka, 3)
    rows = [{**ROW, "cluster_id": f"c-{i}"} for i in range(50)]
    assert send_rows(topic.uri, rows) == 50
    found = topic.records()
    assert {r.key.decode(): r.value for r in found} == {r["cluster_id"]: row_json(r) for r in rows}
    assert len(found) == 50
    assert {tuple(r.headers) for r in found} == {(("contract_version", b"1"),)}


@pytest.mark.kafka
def test_rows_of_a_cluster_keep_their_order_in_one_partition(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka, 4)
    send_rows(topic.uri, [{"cluster_id": f"c-{i % 5}", "n": i} for i in range(100)])
    found = topic.records()
    for cluster in range(5):
        mine = [r for r in found if r.key == f"c-{cluster}".encode()]
        assert len({r.partition for r in mine}) == 1
        assert [json.loads(r.value)["n"] for r in mine] == list(range(cluster, 100, 5))


@pytest.mark.kafka
def test_records_are_sent_idempotently(kafka: KafkaBroker) -> None:
    with RecordProducer(new_topic(kafka).uri) as producer:
        config = producer._producer.config
        producer.write(b"{}", "a", 1)
    assert config["enable_idempotence"] is True
    assert config["acks"] == -1


@pytest.mark.kafka
def test_a_record_has_its_own_time(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    with RecordProducer(topic.uri) as producer:
        producer.write(b"{}", "a", 1_780_272_000_123)
    assert [r.timestamp for r in topic.records()] == [1_780_272_000_123]


@pytest.mark.kafka
def test_a_record_larger_than_the_topic_takes_is_named(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka, configs={"max.message.bytes": "10000"})
    noise = random.Random(7).randbytes(200_000)  # compression does not help
    with (
        pytest.raises(DistilwatchError, match="larger than the topic takes"),
        RecordProducer(topic.uri) as producer,
    ):
        producer.write(noise, "a", 1)


@pytest.mark.kafka
def test_records_that_are_too_large_together_arrive_one_by_one(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka, configs={"max.message.bytes": "10000"})
    rng = random.Random(7)
    wanted = [rng.randbytes(3_000) for _ in range(40)]
    with RecordProducer(topic.uri) as producer:
        for record in wanted:
            producer.write(record, "a", 1)
    assert sorted(record.value for record in topic.records()) == sorted(wanted)


@pytest.mark.kafka
def test_a_missing_topic_is_told_at_once(kafka: KafkaBroker) -> None:
    with pytest.raises(DistilwatchError, match="there is no Kafka topic nowhere"):
        send_rows(f"kafka://{kafka.address}/nowhere", [ROW])
