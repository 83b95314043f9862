"""Reads partitions of a topic in order, through everything that a log may do to its reader."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from schemas.errors import DistilwatchError
from transforms.ingest.batch import RecordBatch
from transforms.ingest.kafka_group import GroupOffsets
from transforms.ingest.kafka_uri import KafkaUri, hush_client, no_broker, no_topic, quiet_client

_log = logging.getLogger(__name__)
_ANSWER_MS = 5_000
_NEAR = 200  # records that are cheaper to read than to leave out


class TopicReader:
    """A consumer of some partitions of a topic, without a group and without commits.

    Where reading goes on is known to the caller only, who gives it with `seek`. Aborted
    transactions are left out, and open ones waited for.

    Args:
      uri: of the topic.
      gather_ms: the broker waits so long for more records to come together; 0 for not at all.

    Raises:
      DistilwatchError: no broker answers, or it refuses.
    """

    def __init__(self, uri: KafkaUri, gather_ms: int = 0) -> None:
        from kafka import KafkaConsumer
        from kafka.errors import KafkaError

        self.uri = uri
        self._silent_since = 0.0
        self._closed = False
        self._lock = threading.Lock()
        self._positions: dict[int, int] = {}
        self._lost: dict[int, int] = {}
        hush_client()  # `unread` says once that the broker is away
        try:
            self._consumer = KafkaConsumer(
                **uri.client_options(),
                auto_offset_reset="none",
                enable_auto_commit=False,
                allow_auto_create_topics=False,
                isolation_level="read_committed",
                max_partition_fetch_bytes=4 << 20,
                fetch_max_wait_ms=gather_ms or 500,
                fetch_min_bytes=1 << 18 if gather_ms else 1,
                # Without the C library checking takes five sixths of the reading time.
                check_crcs=importlib.util.find_spec("crc32c") is not None,
                metrics_enabled=False,
                bootstrap_timeout_ms=_ANSWER_MS * 2,
            )
        except (KafkaError, OSError, ValueError) as error:
            raise no_broker(uri, error) from None

    def close(self) -> None:
        """Leaves the broker, after the call that another thread may be in.

        A runner that cancels tears down while it still reads. Calls after that find nothing.
        """
        with self._lock:
            self._closed = True
            self._consumer.close()

    def partitions(self) -> list[int]:
        """Partitions that the topic has now.

        Raises:
          DistilwatchError: there is no such topic.
        """
        with quiet_client():
            names = self._consumer.topics()
            found = self._consumer.partitions_for_topic(self.uri.topic)
        if not found:
            raise no_topic(self.uri, sorted(names))
        return sorted(found)

    def _topic_partition(self, partition: int) -> Any:
        from kafka import TopicPartition

        return TopicPartition(self.uri.topic, partition)

    def _offsets(self, ask: Callable[..., Any], partitions: Iterable[int]) -> dict[int, int]:
        found = ask([self._topic_partition(p) for p in partitions], timeout_ms=_ANSWER_MS)
        return {tp.partition: int(offset) for tp, offset in found.items()}

    def first_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Offsets of the oldest records that are kept."""
        return self._offsets(self._consumer.beginning_offsets, partitions)

    def end_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Offsets after the last record that may be read."""
        return self._offsets(self._consumer.end_offsets, partitions)

    def start_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Offsets where the URI says to start."""
        wanted = list(partitions)
        if self.uri.start == "earliest":
            return self.first_offsets(wanted)
        ends = self.end_offsets(wanted)
        if self.uri.start == "latest":
            return ends
        if self.uri.start == "committed":
            return self._committed_offsets(wanted)
        found = self._consumer.offsets_for_times(
            {self._topic_partition(p): self.uri.start for p in wanted}, timeout_ms=_ANSWER_MS
        )
        later = {tp.partition: at.offset for tp, at in found.items() if at is not None}
        return {p: later.get(p, ends[p]) for p in wanted}

    def _committed_offsets(self, partitions: list[int]) -> dict[int, int]:
        """Those of the group; a partition that has none begins with its oldest record."""
        from kafka.errors import KafkaError

        offsets = GroupOffsets(self.uri, self.uri.group)
        try:
            return self.first_offsets(partitions) | offsets.committed(partitions)
        except (KafkaError, OSError) as error:
            raise no_broker(self.uri, error) from None
        finally:
            offsets.close()

    def seek(self, positions: Mapping[int, int]) -> None:
        """Reads these partitions, and no others, from these offsets on."""
        with self._lock:
            if not self._closed:
                self._seek(positions)

    def _seek(self, positions: Mapping[int, int]) -> None:
        if set(positions) != set(self._positions):
            self._consumer.assign([self._topic_partition(p) for p in positions])
            self._positions = {}
        for partition, offset in positions.items():
            if self._positions.get(partition) != offset:
                self._consumer.seek(self._topic_partition(partition), offset)
        self._positions = dict(positions)

    @property
    def positions(self) -> dict[int, int]:
        """The offset where each partition goes on, after all that was polled."""
        return dict(self._positions)

    def poll(self, timeout_ms: int, max_records: int) -> list[RecordBatch]:
        """Records that came, one batch a partition; positions move on, past gaps, too.

        Raises:
          DistilwatchError: they cannot be read, and waiting would not help.
        """
        from kafka.errors import KafkaError, OffsetOutOfRangeError

        with self._lock:
            if self._closed:
                time.sleep(timeout_ms / 1000)
                return []
            try:
                polled = self._consumer.poll(timeout_ms=timeout_ms, max_records=max_records)
            except OffsetOutOfRangeError as error:
                self._out_of_range({tp.partition: int(at) for tp, at in error.args[0].items()})
                return []
            except KafkaError as error:
                if error.retriable:
                    time.sleep(0.1)
                    return []
                raise self._unreadable(error) from None
            for tp, records in polled.items():
                self._positions[tp.partition] = records[-1].offset + 1
            for partition, known in self._positions.items():
                # Past markers of transactions and what compaction took, which come as no records.
                with contextlib.suppress(KafkaError):
                    at = self._consumer.position(self._topic_partition(partition), timeout_ms=0)
                    self._positions[partition] = max(at or 0, known)
        return [
            RecordBatch(
                self.uri.source,
                tp.partition,
                np.array([r.offset for r in records], np.int64),
                [r.value or b"" for r in records],
                lost=self.take_lost(tp.partition),
                written_ms=max(r.timestamp for r in records),
            )
            for tp, records in polled.items()
        ]

    def take_lost(self, partition: int) -> int:
        """Records that were deleted before they could be read, and of which nobody was told yet."""
        return self._lost.pop(partition, 0)

    def records_at(self, partition: int, offsets: Iterable[int]) -> Iterator[Any]:
        """Single records with key and headers, as kafka-python has them; those that are gone, or
        of aborted transactions, are left out.

        Args:
          partition: that they are in.
          offsets: ascending.

        Raises:
          DistilwatchError: they cannot be read, or the broker stays away.
        """
        from kafka.errors import KafkaError

        at = self._topic_partition(partition)
        try:
            first = self.first_offsets([partition])[partition]
            end = self.end_offsets([partition])[partition]
            wanted = [o for o in offsets if first <= o < end]
            self.seek({partition: wanted[0] if wanted else end})
            for offset in wanted:
                position = self._consumer.position(at, timeout_ms=_ANSWER_MS)
                if not offset - _NEAR <= position <= offset:
                    self._consumer.seek(at, offset)
                    position = offset
                deadline = time.monotonic() + _ANSWER_MS / 1000 * 4
                while position <= offset:
                    polled = self._consumer.poll(500, max_records=offset - position + 1)
                    yield from (r for r in polled.get(at, ()) if r.offset == offset)
                    position = self._consumer.position(at, timeout_ms=_ANSWER_MS)
                    if time.monotonic() > deadline:
                        raise DistilwatchError(
                            "records do not come", self.uri.place, "check the broker"
                        )
        except KafkaError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> DistilwatchError:
        kind = type(error).__name__
        if kind == "UnsupportedCodecError":
            return DistilwatchError(
                f"records are compressed in a way that needs another package ({error})",
                self.uri.place,
                "pip install 'kafka-python[lz4,snappy,zstd]'",
            )
        return DistilwatchError(
            f"records cannot be read ({kind})", self.uri.place, "check the topic and your rights"
        )

    def _out_of_range(self, asked: dict[int, int]) -> None:
        """Goes on at the oldest record when older ones were deleted under the reader."""
        from kafka.errors import KafkaError

        try:
            firsts = self.first_offsets(asked)
        except KafkaError:
            return  # away just now; the next poll asks again
        for partition, first in firsts.items():
            if first <= asked[partition]:
                raise DistilwatchError(
                    f"partition {partition} ends before offset {asked[partition]}, where reading "
                    "should go on: the topic was made anew, or lost records",
                    self.uri.place,
                    "start again from the beginning",
                )
            if self.uri.missing == "fail":
                raise DistilwatchError(
                    f"the broker has deleted records {asked[partition]} to {first - 1} of "
                    f"partition {partition} before they were read",
                    self.uri.place,
                    "lengthen the topic's retention; missing=skip in the address goes on with the "
                    "next, and start=earliest begins anew",
                )
            self._lost[partition] = self._lost.get(partition, 0) + first - asked[partition]
            _log.warning(
                "%s: the broker has deleted records %d to %d of partition %d before they were "
                "read; going on with the next",
                self.uri.place, asked[partition], first - 1, partition,
            )  # fmt: skip
            self._consumer.seek(self._topic_partition(partition), first)
            self._positions[partition] = first

    def unread(self) -> set[int]:
        """Partitions that are not known to be read to their end; all, when no broker answers.

        An open transaction counts as something to read. Says once that the broker is away, and once
        that it is back.
        """
        with self._lock:
            return set() if self._closed else self._unread()

    def _unread(self) -> set[int]:
        from kafka.errors import KafkaError

        try:
            ends = self.end_offsets(self._positions)
        except KafkaError:
            if not self._silent_since:
                self._silent_since = time.monotonic()
                _log.warning("%s: no broker answers; waiting for it", self.uri.place)
            return set(self._positions)
        if self._silent_since:
            _log.warning("%s: the broker is back after %.0f s", self.uri.place, self.away_s)
            self._silent_since = 0.0
        return {
            p
            for p, at in self._positions.items()
            if at < max(ends[p], self._consumer.highwater(self._topic_partition(p)) or 0)
        }

    @property
    def away_s(self) -> float:
        """Seconds since a broker was first missed; 0 when one answers."""
        return time.monotonic() - self._silent_since if self._silent_since else 0.0

    def new_partitions(self, known: Iterable[int]) -> dict[int, int]:
        """First offsets of partitions that the topic has got; none when no broker answers."""
        from kafka.errors import KafkaError

        with self._lock:
            try:
                if self._closed or self._silent_since:
                    return {}
                new = set(self.partitions()) - set(known)
                return self.first_offsets(new) if new else {}
            except (KafkaError, DistilwatchError):
                return {}
