"""A Kafka topic: one record for each step, all steps of an alert in one partition, in order."""

from __future__ import annotations

from schemas.errors import DistilwatchError
from transforms.alerts.channels import Notice, Thread, TryLater


class Topic:
    """See the module. The header `idempotency_key` tells a repeat."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def tell(self, key: str, notice: Notice, thread: Thread | None) -> Thread | None:
        """As `Channel.tell`."""
        from transforms.sinks.kafka import CONTRACT_HEADER, RecordProducer, row_json

        headers = (CONTRACT_HEADER, ("idempotency_key", key.encode()))
        try:
            with RecordProducer(self._uri) as producer:
                producer.send(row_json(notice), str(notice["alert_id"]).encode(), headers)
        except DistilwatchError as error:
            raise TryLater(error.what) from None
        return None
