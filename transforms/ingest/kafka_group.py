"""Offsets of a consumer group, so that whoever watches a broker sees how far a stream has come.

They are committed after the tables are, and only as far as the runner has taken over what was read.
The stream itself does not start from them unless `start=committed` says so: open sessions and
profiles are in memory, and only reading the records again makes them whole.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.errors import DistilwatchError
from transforms.ingest.kafka_uri import KafkaUri, hush_client, quiet_client

_log = logging.getLogger(__name__)
_ANSWER_MS = 5_000


_DRAIN = "drain"


def note_positions(folder: str, uri: KafkaUri, reader: int, positions: Mapping[int, int]) -> None:
    """Notes where a reader goes on, for `noted_positions`; whole or not at all."""
    path = Path(folder) / f"{_place(uri)}-{reader}.json"
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({str(p): at for p, at in positions.items()}))
        partial.replace(path)
    except OSError as error:  # only the lag is shown too large then
        _log.warning("positions cannot be noted: %s", os.strerror(error.errno or 0))


def _place(uri: KafkaUri) -> str:
    """Name of a topic among files: another broker may have one that is called the same."""
    brokers = hashlib.sha256(",".join(uri.servers).encode()).hexdigest()[:8]
    return f"{uri.topic}-{brokers}"


def noted_positions(folder: str, uri: KafkaUri) -> dict[int, int]:
    """Where all readers of a topic go on, by partition."""
    found: dict[int, int] = {}
    place = _place(uri)
    for path in Path(folder).glob(f"{place}-*.json"):
        if path.name[len(place) + 1 : -len(".json")].isdigit():
            for partition, at in json.loads(path.read_text()).items():
                found[int(partition)] = max(at, found.get(int(partition), 0))
    return found


def forget_positions(folder: str) -> None:
    """Forgets what an earlier process noted."""
    for path in Path(folder).glob("*.json"):
        path.unlink()


def ask_to_drain(folder: str) -> None:
    """Asks the readers that note their positions here to read no more.

    Raises:
      DistilwatchError: nothing can be written there.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, _DRAIN).touch()
    except OSError as error:
        raise DistilwatchError(
            f"readers cannot be asked to drain: {os.strerror(error.errno or 0)}",
            folder,
            "free some space there, then start the command again and stop it",
        ) from error


def forget_drain(folder: str) -> None:
    """Takes that back, for the next ones."""
    Path(folder, _DRAIN).unlink(missing_ok=True)


def asked_to_drain(folder: str) -> bool:
    """Whether readers are to read no more."""
    return Path(folder, _DRAIN).exists()


class GroupOffsets:
    """Commits and tells a group's offsets of one topic, without being a member."""

    def __init__(self, uri: KafkaUri, group: str) -> None:
        self._uri = uri
        self._group = group
        self._consumer: Any = None
        self._done: dict[int, int] = {}
        self._told = False

    def commit(self, positions: Mapping[int, int]) -> bool:
        """Commits offsets that have moved on; False, after one warning, when it cannot be done."""
        from kafka import TopicPartition
        from kafka.errors import KafkaError
        from kafka.structs import OffsetAndMetadata

        new = {p: at for p, at in positions.items() if self._done.get(p) != at}
        if not new:
            return True
        offsets = {
            TopicPartition(self._uri.topic, p): OffsetAndMetadata(at, "", -1)
            for p, at in new.items()
        }
        try:
            with quiet_client():
                self._opened().commit(offsets, timeout_ms=_ANSWER_MS)
        except (KafkaError, OSError, ValueError) as error:
            if not self._told:
                self._told = True
                _log.warning(
                    "%s: offsets of the group %s cannot be committed (%s); the stream goes on, "
                    "only its lag is not shown",
                    self._uri.place, self._group, type(error).__name__,
                )  # fmt: skip
            self.close()
            return False
        self._told = False
        self._done.update(new)
        return True

    def committed(self, partitions: list[int]) -> dict[int, int]:
        """Offsets by partition, of those that have one."""
        from kafka import TopicPartition

        consumer = self._opened()
        found = {p: consumer.committed(TopicPartition(self._uri.topic, p)) for p in partitions}
        return {p: int(at) for p, at in found.items() if at is not None}

    def _opened(self) -> Any:
        if self._consumer is None:
            from kafka import KafkaConsumer

            hush_client()
            self._consumer = KafkaConsumer(
                **self._uri.client_options(),
                group_id=self._group,
                enable_auto_commit=False,
                metrics_enabled=False,
                bootstrap_timeout_ms=_ANSWER_MS,
            )
        return self._consumer

    def close(self) -> None:
        """Leaves the broker."""
        if self._consumer is not None:
            with quiet_client():
                self._consumer.close()
            self._consumer = None
