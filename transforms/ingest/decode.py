"""Decodes batches of contract-1 records; what cannot be used becomes a dead letter.

| reason | when |
|---|---|
| record_too_large | more than `max_record_bytes` |
| not_json | not a JSON object in UTF-8 |
| not_otlp | with `ingest.format: otlp`: neither JSON nor an export request in protobuf |
| no_registry | a record in a schema registry's format, and ingest.registry.url is not set |
| unknown_schema | the registry has no schema of this id |
| unusable_schema | it has one that is neither Avro nor JSON, or broken |
| not_avro | the bytes are no record of their schema |
| missing_field, wrong_type | named in the detail |
| empty_id | event_id or account_id is "" |
| unknown_schema_version | not 1 |
| time_unparseable, time_in_future, time_too_old | event_time |
| vector_undecodable, vector_wrong_length, vector_not_finite | embedding |
| forgotten | of an account that was to be forgotten, or unread and naming one; no bytes are kept |
| late | older than the partition's watermark minus the allowed lateness |

An empty record, which in Kafka takes an older one of its key back, says nothing of a request: it is
neither accepted nor refused, and only counted.

With an adapter, a record is what a gateway wrote and may hold many requests, and documents that are
none. Each request is accepted or not by itself; those of a record that are not make one dead letter
together, which holds the whole record and counts once.

Stated defaults: texts beyond `max_text_chars` are cut for embedding; negative counts and costs, and
costs that are not finite, count as 0; a vector of another model than the bundle's is left aside and
the text is embedded instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from transforms.ingest.batch import DeadLetter, Decoded, RecordBatch
from transforms.ingest.columns import columns_of
from transforms.ingest.events import RequestEvent, event_of, parse_lines, parse_record
from transforms.ingest.forgotten import Forgotten
from transforms.ingest.formats.adapter import Adapter
from transforms.ingest.known import KnownTexts
from transforms.ingest.pseudonyms import Pseudonymiser
from transforms.ingest.refusals import EMPTY, FORGOTTEN, Refusal, Refused
from transforms.ingest.registry import (
    SchemaRegistry,
    UnknownSchema,
    UnusableSchema,
    payload,
    schema_id,
)
from transforms.ingest.times import parse_times
from transforms.ingest.vectors import Vectors, decode_vectors


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Decoder:
    """How records are decoded.

    Attributes:
      pseudonymise: for payment fingerprints.
      embedding_model, dim: of the vectors that may be brought.
      max_text_chars, max_record_bytes: longer texts are cut, larger records refused.
      max_future_ms, min_event_time_ms: bounds of event times.
      allowed_lateness_ms: behind the batch's watermark.
      now_ms: the clock.
      known: collections that texts are looked up in.
      forgotten: accounts whose records are refused.
      schemas: registry of the schemas that records may begin with the id of; None: there is none.
      adapter: reads what a gateway writes; None: records are of contract 1.
    """

    pseudonymise: Pseudonymiser
    embedding_model: str
    dim: int
    max_text_chars: int = 200_000
    max_record_bytes: int = 16_000_000
    max_future_ms: int = 600_000
    min_event_time_ms: int = 1_420_070_400_000
    allowed_lateness_ms: int = 3_600_000
    now_ms: Callable[[], int] = _now_ms
    known: KnownTexts = field(default_factory=KnownTexts)
    forgotten: Forgotten = field(default_factory=Forgotten)
    schemas: SchemaRegistry | None = None
    adapter: Adapter | None = None

    def decode(self, batch: RecordBatch) -> Decoded:
        """Decodes a batch; every record is accepted, in `refused`, or empty.

        Raises:
          DistilwatchError: the schema registry stays away, or refuses us.
        """
        refusals: dict[int, Refusal] = {}  # by place in the batch; the first reason counts
        others = 0
        if self.adapter is None:
            events, places = self._parse(batch.values, refusals)
        else:
            events, places, others = self._parse_adapted(self.adapter, batch.values, refusals)
        self._forget_unread(batch.values, refusals)
        times, vectors, created, bad = self._check(events, batch.watermark_ms, places, refusals)
        if self.adapter is not None:  # a document beside the refused one may be of the account
            self._forget_unread(batch.values, refusals)
        if bad:
            kept = [i for i in range(len(events)) if i not in bad]
            events = [events[i] for i in kept]
            times, created, vectors = times[kept], created[kept], vectors.take(kept)
        texts = [e.prompt_text[: self.max_text_chars] if e.prompt_text else None for e in events]
        refused = [
            DeadLetter(
                batch.source,
                batch.partition,
                int(batch.offsets[place]),
                refusal.reason,
                refusal.detail,
                b"" if refusal.reason == FORGOTTEN else batch.values[place],
                refusal.time_ms,
                schema_id(batch.values[place]),
            )
            for place, refusal in sorted(refusals.items())
            if refusal.reason != EMPTY
        ]
        accepted = columns_of(events, times, created, texts, vectors, self.pseudonymise, self.known)
        empty = len(refusals) - len(refused)
        return Decoded(accepted, texts, vectors.values, vectors.present, refused, empty, others)

    def requests(self, values: list[bytes]) -> tuple[list[RequestEvent], int]:
        """Requests in records as they were written, fingerprints and all, with nothing checked but
        what `decode` needs to read them; and how many records cannot be read.

        Requests of forgotten accounts are in neither.

        Raises:
          DistilwatchError: the schema registry stays away, or refuses us.
        """
        refusals: dict[int, Refusal] = {}
        if self.adapter is None:
            events, _ = self._parse(values, refusals)
        else:
            events, _, _ = self._parse_adapted(self.adapter, values, refusals)
        return events, sum(r.reason not in (EMPTY, FORGOTTEN) for r in refusals.values())

    def _forget_unread(self, values: list[bytes], refusals: dict[int, Refusal]) -> None:
        """Looks for forgotten accounts in records that were refused before theirs was read."""
        if not self.forgotten:
            return
        for place, refusal in refusals.items():
            if refusal.reason not in (EMPTY, FORGOTTEN) and self.forgotten.named_in(values[place]):
                refusals[place] = Refusal(FORGOTTEN, "")

    def _parse(
        self, values: list[bytes], refusals: dict[int, Refusal]
    ) -> tuple[list[RequestEvent], list[int]]:
        """Parses records: events, and the place of each among the records."""
        if (usual := self._parse_together(values)) is not None:
            return usual, list(range(len(usual)))
        events: list[RequestEvent] = []
        places: list[int] = []
        too_large = max(map(len, values), default=0) > self.max_record_bytes
        records = enumerate(values)
        while len(places) + len(refusals) < len(values):
            try:
                for place, raw in records:  # goes on where the last refusal left it
                    if too_large and len(raw) > self.max_record_bytes:
                        raise Refused("record_too_large", f"{len(raw)} bytes")
                    event = self._event(raw)
                    self._admit(event)
                    events.append(event)
                    places.append(place)
            except Refused as error:
                refusals[place] = Refusal(error.reason, error.detail)
        return events, places

    def _admit(self, event: RequestEvent) -> None:
        if event.schema_version != 1:
            raise Refused("unknown_schema_version", "expected 1")
        if not event.event_id or not event.account_id:
            raise Refused("empty_id")
        if self.forgotten and event.account_id in self.forgotten:
            raise Refused(FORGOTTEN)

    def _parse_adapted(
        self, adapter: Adapter, values: list[bytes], refusals: dict[int, Refusal]
    ) -> tuple[list[RequestEvent], list[int], int]:
        """Parses records of a gateway: events, the record of each, and documents that are none."""
        events: list[RequestEvent] = []
        places: list[int] = []
        others = 0

        def refuse(place: int, reason: str, detail: str) -> None:
            # Nothing may be kept of a record that has anything of a forgotten account.
            if place not in refusals or reason == FORGOTTEN:
                refusals[place] = Refusal(reason, detail)

        for place, raw in enumerate(values):
            if not raw:
                refuse(place, EMPTY, "")
                continue
            if len(raw) > self.max_record_bytes:
                refuse(place, "record_too_large", f"{len(raw)} bytes")
                continue
            try:
                found, none = adapter(raw)
            except Refused as error:
                refuse(place, error.reason, error.detail)
                continue
            others += none
            for one in found:
                try:
                    if isinstance(one, Refused):
                        raise one
                    event = event_of(one)
                    self._admit(event)
                except Refused as error:
                    refuse(place, error.reason, error.detail)
                else:
                    events.append(event)
                    places.append(place)
        return events, places, others

    def _parse_together(self, values: list[bytes]) -> list[RequestEvent] | None:
        """Events of a batch in which nothing is to be refused; None: look at each by itself."""
        if max(map(len, values), default=0) > self.max_record_bytes:
            return None
        # One that ends in another, or holds two, is for the way below: each of these is whole.
        if not all(value[:1] == b"{" and value[-1:] == b"}" for value in values):
            return None
        lines = b"\n".join(values)
        if lines.count(b"\n") != len(values) - 1:  # a record of several lines
            return None
        try:
            events = parse_lines(lines)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if len(events) != len(values):  # some are empty
            return None
        for e in events:
            if e.schema_version != 1 or not e.event_id or not e.account_id:
                return None
        if self.forgotten and any(e.account_id in self.forgotten for e in events):
            return None
        return events

    def _event(self, raw: bytes) -> RequestEvent:
        number = schema_id(raw)
        return parse_record(raw) if number is None else self._framed_event(number, payload(raw))

    def _framed_event(self, number: int, data: bytes) -> RequestEvent:
        if self.schemas is None:
            raise Refused("no_registry")
        try:
            writer = self.schemas.writer(number)
        except UnknownSchema:
            raise Refused("unknown_schema") from None
        except UnusableSchema as why:
            raise Refused("unusable_schema", str(why)) from None
        if writer.avro is None:
            return parse_record(data)
        try:
            record = writer.read(data)
        except ValueError as why:
            raise Refused("not_avro", str(why)) from None
        return event_of(record)

    def _check(
        self,
        events: list[RequestEvent],
        watermark_ms: int,
        places: list[int],
        refusals: dict[int, Refusal],
    ) -> tuple[NDArray[np.int64], Vectors, NDArray[np.int64], set[int]]:
        """Times, vectors and times of the accounts' opening of n events, and which are refused;
        notes why."""
        times, readable = parse_times([e.event_time for e in events])
        created, created_readable = parse_times([e.account_created_at for e in events])
        latest = self.now_ms() + self.max_future_ms
        bad: set[int] = set()

        def refuse(at: Iterable[int], reason: str, detail: str = "") -> None:
            for i in at:
                bad.add(int(i))
                refusals.setdefault(places[i], Refusal(reason, detail, int(times[i])))

        refuse(np.flatnonzero(~readable), "time_unparseable", "event_time")
        refuse(np.flatnonzero(times > latest), "time_in_future")
        refuse(np.flatnonzero(times < self.min_event_time_ms), "time_too_old")
        refuse(np.flatnonzero(times < watermark_ms - self.allowed_lateness_ms), "late")
        ours = self.embedding_model
        brought = [
            e.embedding if e.embedding and (e.embedding_model or ours) == ours else None
            for e in events
        ]
        vectors = decode_vectors(brought, [e.embedding_dtype for e in events], self.dim)
        for i, (reason, detail) in vectors.refused.items():
            refuse([i], reason, detail)
        refuse(np.flatnonzero(~created_readable), "time_unparseable", "account_created_at")
        return times, vectors, created, bad
