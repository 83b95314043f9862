"""Topics and records on the session's real broker."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from infra.local.services import KafkaBroker

T = TypeVar("T")
_AT_ONCE = 10_000


@dataclass(frozen=True)
class Topic:
    """A topic of a test's own.

    Attributes:
      broker: that has it.
      name: unused by any other test.
    """

    broker: KafkaBroker
    name: str

    @property
    def uri(self) -> str:
        """Address of the topic."""
        return f"kafka://{self.broker.address}/{self.name}"

    def produce(self, records: Iterable[tuple[int, bytes | None]], **options: object) -> None:
        """Writes (partition, value) in order and waits until all have arrived; raises KafkaError
        when one has not."""
        producer = KafkaProducer(bootstrap_servers=self.broker.address, **options)
        for some in batched(records, _AT_ONCE):
            # What waits for two minutes is dropped without a word, unless somebody asks for it.
            sent = [
                # A record without value is a tombstone, which must have a key.
                producer.send(self.name, v, key=b"k" if v is None else None, partition=p)
                for p, v in some
            ]
            producer.flush()
            for one in sent:
                one.get()
        producer.close()

    def transact(self, values: Iterable[bytes], partition: int = 0, commit: bool = True) -> None:
        """Writes values in one transaction, then commits or aborts it."""
        producer = KafkaProducer(
            bootstrap_servers=self.broker.address, transactional_id=f"t-{uuid.uuid4().hex}"
        )
        producer.init_transactions()
        producer.begin_transaction()
        for value in values:
            producer.send(self.name, value, partition=partition)
        producer.flush()
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
        producer.close()

    def delete_before(self, partition: int, offset: int) -> None:
        """Deletes the oldest records, as retention does."""
        admin = KafkaAdminClient(bootstrap_servers=self.broker.address)
        admin.delete_records({TopicPartition(self.name, partition): offset})
        admin.close()

    def grow(self, partitions: int) -> None:
        """Adds partitions until there are so many."""
        admin = KafkaAdminClient(bootstrap_servers=self.broker.address)
        admin.create_partitions({self.name: partitions})
        admin.close()

    def records(self) -> list[ConsumerRecord]:
        """All records, by partition and offset."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.broker.address, auto_offset_reset="earliest"
        )
        partitions = [
            TopicPartition(self.name, p) for p in consumer.partitions_for_topic(self.name)
        ]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        found: list[ConsumerRecord] = []
        while any(consumer.position(tp) < ends[tp] for tp in partitions):
            for batch in consumer.poll(timeout_ms=200).values():
                found += batch
        consumer.close()
        return sorted(found, key=lambda record: (record.partition, record.offset))


def batched(records: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of so many, the last one of what is left."""
    left = iter(records)
    while some := list(islice(left, size)):
        yield some


def new_topic(
    broker: KafkaBroker, partitions: int = 1, configs: dict[str, str] | None = None
) -> Topic:
    """Makes a topic under a new name."""
    name = f"requests-{uuid.uuid4().hex[:10]}"
    broker.create_topic(name, partitions, configs)
    return Topic(broker, name)
