"""How far a stream has come, as the broker sees it; and what to do about records that are gone."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from infra.local.services import KafkaBroker
from pipelines.detect.lag import CommitBoth
from schemas.errors import DistilwatchError
from tests.support.kafka import new_topic
from tests.transforms.ingest.test_kafka_source import Bundle, numbers, read_all, to_element
from transforms.ingest.kafka import parse_kafka_uri
from transforms.ingest.kafka_group import GroupOffsets, note_positions, noted_positions
from transforms.ingest.kafka_reader import TopicReader
from transforms.ingest.kafka_tail import TailFn
from transforms.sinks.commit import Written

pytestmark = pytest.mark.kafka


def offsets_of(broker: KafkaBroker, group: str) -> dict[int, int]:
    """As an operator's tools see them."""
    admin = KafkaAdminClient(bootstrap_servers=broker.address)
    found = admin.list_group_offsets(group)
    admin.close()
    found = found.get(group, found)
    return {tp.partition: meta.offset for tp, meta in found.items()}


class Tables:
    """A committer whose outputs can be away."""

    def __init__(self) -> None:
        self.there = True
        self.written = Written()

    def commit(self) -> bool:
        return self.there


def test_offsets_follow_the_tables_and_never_run_ahead_of_what_was_taken_over(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    topic = new_topic(kafka, 2)
    topic.produce(numbers(2, 400))
    folder, tables = str(tmp_path / "positions"), Tables()
    uri = f"{topic.uri}?bounded=false&group=watch-{topic.name}"
    both = CommitBoth(tables, [uri, "file.jsonl"], folder, "run-1")  # type: ignore[arg-type]
    tail = Bundle(topic, positions=folder)
    tail.read()
    assert both.commit()
    # What the first bundle read, the runner had not taken over when the next had not begun.
    assert set(offsets_of(kafka, f"watch-{topic.name}").values()) == {0}
    tables.there = False
    tail.read()
    assert not both.commit()
    assert set(offsets_of(kafka, f"watch-{topic.name}").values()) == {0}
    tables.there = True
    assert both.commit()
    assert offsets_of(kafka, f"watch-{topic.name}") == {0: 200, 1: 200}
    tail.fn.teardown()
    both.close()
    # A later start may begin there, where somebody wants it to.
    topic.produce(numbers(2, 2))
    begin = f"{topic.uri}?start=committed&group=watch-{topic.name}"
    assert sorted((p, o) for p, o, _ in read_all(begin)) == [(0, 200), (1, 200)]
    assert len(read_all(f"{topic.uri}?start=committed&group=nobody-{topic.name}")) == 402


def test_a_group_that_cannot_be_committed_is_told_once_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    offsets = GroupOffsets(parse_kafka_uri("kafka://127.0.0.1:1/t"), "g")
    for _ in range(2):
        assert not offsets.commit({0: 5})
    assert len([r for r in caplog.records if "cannot be committed" in r.message]) == 1
    assert offsets.commit({})


def test_notes_of_topics_with_names_alike_are_kept_apart(tmp_path: Path) -> None:
    folder = str(tmp_path)
    note_positions(folder, parse_kafka_uri("kafka://h/a"), 0, {0: 5})
    note_positions(folder, parse_kafka_uri("kafka://h/a-1"), 0, {0: 7, 3: 1})
    note_positions(folder, parse_kafka_uri("kafka://h/a"), 1, {1: 6})
    note_positions(folder, parse_kafka_uri("kafka://other/a"), 0, {0: 9, 8: 2})
    assert noted_positions(folder, parse_kafka_uri("kafka://h/a")) == {0: 5, 1: 6}
    assert noted_positions(folder, parse_kafka_uri("kafka://h/a-1")) == {0: 7, 3: 1}
    assert noted_positions(folder, parse_kafka_uri("kafka://other/a")) == {0: 9, 8: 2}


def test_records_that_retention_took_are_counted_or_an_error_as_the_address_says(
    kafka: KafkaBroker,
) -> None:
    topic = new_topic(kafka)
    topic.produce(numbers(1, 100))
    topic.delete_before(0, 60)
    reader = TopicReader(parse_kafka_uri(topic.uri))
    reader.seek({0: 0})
    batches = []
    deadline = time.monotonic() + 60
    while reader.positions[0] < 100 and time.monotonic() < deadline:
        batches += reader.poll(500, 25)
    reader.close()
    assert [batch.lost for batch in batches] == [60, 0]
    reader = TopicReader(parse_kafka_uri(f"{topic.uri}?missing=fail"))
    reader.seek({0: 0})
    with pytest.raises(DistilwatchError, match="deleted records 0 to 59") as gone:
        all(reader.poll(500, 25) == [] for _ in range(20))
    reader.close()
    assert "retention" in str(gone.value)


def test_a_compacted_topic_with_tombstones_and_headers_is_read_to_its_end(
    kafka: KafkaBroker,
) -> None:
    topic = new_topic(kafka, configs={
        "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "100",
        "max.compaction.lag.ms": "100", "min.compaction.lag.ms": "0",
    })  # fmt: skip
    producer = KafkaProducer(bootstrap_servers=kafka.address)
    odd = [("a", b""), ("a", b"twice"), ("é", b"\xff"), ("", b"\0\1")]
    for i in range(50):
        value = None if i % 10 == 9 else b"%d" % i
        producer.send(topic.name, value, key=b"k%d" % (i % 5), headers=odd, partition=0)
    producer.flush()
    time.sleep(0.3)
    producer.send(topic.name, b"50", key=b"last", partition=0)  # closes the segment
    producer.close()
    found = read_all(topic.uri)
    assert found[-1] == (0, 50, b"50")
    assert len({o for _, o, _ in found}) == len(found)


def test_a_tail_outlives_an_outage_of_the_broker(
    kafka: KafkaBroker, caplog: pytest.LogCaptureFixture
) -> None:
    topic = new_topic(kafka)
    topic.produce(numbers(1, 100))
    tail = Bundle(topic, idle_after_ms=1_500)
    found = tail.read()
    kafka.stop()
    try:
        away = tail.read(3)
        assert [p.idle for p in tail.rest.partitions] == [False]  # nobody knows what is there
    finally:
        kafka.start()
    topic.produce(numbers(1, 100))
    found += away
    deadline = time.monotonic() + 60
    while len(found) < 200 and time.monotonic() < deadline:
        found += tail.read()
    tail.fn.teardown()
    assert [o for _, o, _ in found] == list(range(200))
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR and "transforms" in r.name]


def test_the_reader_of_a_tail_has_the_options_of_its_address(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    uri = parse_kafka_uri(f"{topic.uri}?bounded=false&missing=fail&group=g")
    assert (uri.missing, uri.group) == ("fail", "g")
    fn = TailFn(uri, to_element, 10, 0, 1_000, 1)
    assert fn.initial_restriction(0).positions() == {0: 0}
    fn.teardown()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("start=committed", "needs a group"),
        ("missing=never", "neither skip nor fail"),
        ("sasl_plain_password=x", "does not belong into the address"),
    ],
)
def test_addresses_that_contradict_themselves_are_refused(query: str, words: str) -> None:
    with pytest.raises(DistilwatchError, match=words):
        parse_kafka_uri(f"kafka://h/t?{query}")
