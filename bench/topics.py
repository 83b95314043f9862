"""The events of a case in topics of a real broker, for jobs that read Kafka."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import orjson

from bench.case import Case
from infra.local.services import KafkaBroker
from transforms.coverage.layout import DAY_MS
from transforms.sinks.kafka import RecordProducer

END_ACCOUNT = "~end~"
"""Account of the record after the last. In Quix Streams nothing but a later record moves time on,
so without it the last sessions would stay open."""


def in_topics(case: Case, broker: KafkaBroker, name: str = "requests") -> Case:
    """Puts a case's records into two topics of one partition, in order, at the time of the event.

    Args:
      case: whose file is read.
      broker: where the topics are made.
      name: of the first; the other's begins with it.
    """
    records = case.events.read_bytes().splitlines()
    times = [int(orjson.loads(record)["event_time"]) for record in records]
    end = orjson.dumps(
        {"event_id": "end", "event_time": times[-1] + DAY_MS, "account_id": END_ACCOUNT}
    )
    made = []
    for topic, more in ((name, ()), (f"{name}-and-end", ((end, times[-1] + DAY_MS),))):
        made.append(broker.create_topic(topic))
        _send(broker, topic, [*zip(records, times, strict=True), *more])
    return replace(case, topic=made[0], ended_topic=made[1])


def _send(broker: KafkaBroker, topic: str, records: Iterable[tuple[bytes, int]]) -> None:
    # At its end all have arrived, or it raises.
    with RecordProducer(f"kafka://{broker.address}/{topic}") as producer:
        for record, time_ms in records:
            producer.write(record, orjson.loads(record)["account_id"], time_ms)
