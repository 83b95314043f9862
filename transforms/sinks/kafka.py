"""Rows and records into Kafka topics: idempotent, acknowledged by all replicas in sync."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import orjson

from schemas.errors import DistilwatchError
from schemas.tables import VERSION
from transforms.ingest.kafka_uri import (
    KafkaUri,
    check_broker,
    hush_client,
    no_broker,
    parse_kafka_uri,
    quiet_client,
)

CONTRACT_HEADER = ("contract_version", str(VERSION).encode())
_JSON = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_SERIALIZE_NUMPY
_DELIVERY_MS = 30_000
_AGAIN_S = 0.05
_UNSENT_BYTES = 16 << 20
_LARGEST = 32 << 20


def row_json(row: Mapping[str, Any]) -> bytes:
    """A row as JSON, the same bytes each time: keys sorted, times as RFC 3339 in UTC."""
    return orjson.dumps(dict(row), _utc, _JSON)


def _utc(value: Any) -> str:
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no form in JSON")


class RecordProducer:
    """Sends records to a topic, inside a `with` statement; at its end all have arrived.

    Raises:
      DistilwatchError: no broker answers, it refuses, or a record did not arrive.
    """

    def __init__(self, uri: str) -> None:
        self._uri: KafkaUri = parse_kafka_uri(uri)
        self._unsent = 0
        self._failure: Exception | None = None
        self._producer: Any = None

    def __enter__(self) -> RecordProducer:
        from kafka import KafkaProducer
        from kafka.errors import KafkaError

        # A producer would wait for a missing topic to appear until its time is up.
        check_broker(self._uri)
        hush_client()
        with quiet_client():
            try:
                self._producer = KafkaProducer(
                    **self._uri.client_options(),
                    enable_idempotence=True,
                    acks="all",
                    linger_ms=20,
                    batch_size=256 << 10,
                    compression_type="gzip",
                    max_request_size=_LARGEST,
                    max_block_ms=_DELIVERY_MS,
                    request_timeout_ms=10_000,
                    delivery_timeout_ms=_DELIVERY_MS,
                    bootstrap_timeout_ms=5_000,
                    allow_auto_create_topics=False,
                    metrics_enabled=False,
                )
            except (KafkaError, OSError, ValueError) as error:
                raise no_broker(self._uri, error) from None
        return self

    def write(self, record: bytes, key: str, time_ms: int) -> None:
        """Sends one record; waits now and then, so that what is on its way stays small.

        Args:
          record: its value.
          key: which keeps what belongs together in one partition, in order.
          time_ms: of the record, milliseconds UTC.
        """
        self.send(record, key.encode(), time_ms=time_ms)

    def send(
        self,
        value: bytes,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        time_ms: int | None = None,
        partition: int | None = None,
    ) -> Any:
        """Sends one record with headers.

        Args:
          value, key, headers: of the record.
          time_ms: of the record, milliseconds UTC; None: now.
          partition: to send it to; None: the one that its key decides.

        Returns:
          kafka-python's future: after `flush`, its value has the record's partition and offset.
        """
        from kafka.errors import KafkaError

        try:
            future = self._producer.send(
                self._uri.topic, value, key, list(headers), partition, time_ms
            )
        except KafkaError as error:
            raise self._failed(error) from None
        future.add_errback(self._note)
        self._unsent += len(value) + len(key or b"")
        if self._unsent >= _UNSENT_BYTES:
            self.flush()
        return future

    def _note(self, error: Exception) -> None:
        self._failure = self._failure or error

    def flush(self) -> None:
        """Waits until everything has arrived.

        Raises:
          DistilwatchError: something has not.
        """
        from kafka.errors import KafkaError, UnknownError

        until = time.monotonic() + _DELIVERY_MS / 1000 + 5
        with quiet_client():
            while True:
                try:
                    self._producer.flush(timeout=max(0.0, until - time.monotonic()))
                except UnknownError as error:
                    # A batch that is too large for the topic is sent again in smaller ones, and the
                    # client takes the first, which is never done, for one that failed.
                    if self._failure is None and time.monotonic() < until:
                        time.sleep(_AGAIN_S)
                        continue
                    self._note(error)
                except KafkaError as error:
                    self._note(error)
                break
        self._unsent = 0
        if self._failure is not None:
            raise self._failed(self._failure) from None

    def _failed(self, error: Exception) -> DistilwatchError:
        kind = type(error).__name__
        if kind in ("MessageSizeTooLargeError", "RecordListTooLargeError"):
            return DistilwatchError(
                "a record is larger than the topic takes",
                self._uri.place,
                "raise max.message.bytes of the topic",
            )
        if kind in ("KafkaTimeoutError", "KafkaConnectionError"):
            return no_broker(self._uri, error)
        return DistilwatchError(
            f"a record did not arrive ({kind})", self._uri.place, "check the topic and its rights"
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        from kafka.errors import KafkaError

        try:
            if error is None:
                self.flush()
        finally:
            # What is under way then would be waited for in vain; that it is given up must not take
            # the place of why.
            failed = error is not None or self._failure is not None
            with quiet_client(), suppress(*([KafkaError] if failed else [])):
                self._producer.close(timeout=0 if failed else 10)


def send_rows(uri: str, rows: Sequence[Mapping[str, Any]], key: str = "cluster_id") -> int:
    """Sends one JSON object a row and waits until all have arrived.

    Args:
      uri: kafka://host:port/topic.
      rows: of a table of contract 2; its version is in the header `contract_version`.
      key: the column that is the record's key.

    Returns:
      How many were sent.

    Raises:
      DistilwatchError: no broker answers, it refuses, or a row did not arrive.
    """
    with RecordProducer(uri) as producer:
        for row in rows:
            producer.send(row_json(row), str(row[key]).encode(), (CONTRACT_HEADER,))
    return len(rows)
