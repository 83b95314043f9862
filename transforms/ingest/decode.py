"""Decodes batches of contract-1 records; what cannot be used becomes a dead letter.

| reason | when |
|---|---|
| record_too_large | more than `max_record_bytes` |
| not_json | not a JSON object in UTF-8 |
| no_registry | a record in a schema registry's format, and ingest.registry.url is not set |
| unknown_schema | the registry has no schema of this id |
| unusable_schema | it has one that is neither Avro nor JSON, or broken |
| not_avro | the bytes are no record of their schema |
| missing_field, wrong_type | named in the detail |
| empty_id | event_id or account_id is "" |
| unknown_schema_version | not 1 |
| time_unparseable, time_in_future, time_too_old | event_time |
| vector_undecodable, vector_wrong_length, vector_not_finite | embedding |
| forgotten | of an account that was to be forgotten; nothing else of the record is kept |
| late | older than the partition's watermark minus the allowed lateness |

An empty record, which in Kafka takes an older one of its key back, says nothing of a request: it is
neither accepted nor refused, and only counted.

Stated defaults: texts beyond `max_text_chars` are cut for embedding; negative counts and costs, and
costs that are not finite, count as 0; a vector of another model than the bundle's is left aside and
the text is embedded instead.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from transforms.embedding.space import AXES, NO_CELL
from transforms.ingest.batch import DeadLetter, Decoded, Events, RecordBatch
from transforms.ingest.capabilities import NONE, Capability, capabilities_of
from transforms.ingest.forgotten import Forgotten
from transforms.ingest.hashing import hash_column, hash_rows, hash_texts
from transforms.ingest.intents import intents_of
from transforms.ingest.known import KnownTexts
from transforms.ingest.pseudonyms import Pseudonymiser
from transforms.ingest.registry import (
    SchemaRegistry,
    UnknownSchema,
    UnusableSchema,
    payload,
    schema_id,
)
from transforms.ingest.scaffold import looks_like_code, scaffold_columns
from transforms.ingest.terms import Terms
from transforms.ingest.times import parse_times
from transforms.ingest.vectors import Vectors, decode_vectors

FORGOTTEN = "forgotten"


class RequestEvent(msgspec.Struct, gc=False):
    """Contract 1 as it is parsed; see `schemas`."""

    event_id: str
    event_time: str | int
    account_id: str
    payment_fingerprint: str | None = None
    organization_id: str | None = None
    credential_id: str | None = None
    account_created_at: str | int | None = None
    account_tier: str | None = None
    account_segment: str | None = None
    ip_prefix: str | None = None
    country: str | None = None
    asn: int | None = None
    client_fingerprint: str | None = None
    model: str | None = None
    endpoint: str | None = None
    conversation_id: str | None = None
    turn_index: int | None = None
    system_prompt_hash: str | None = None
    prompt_text: str | None = None
    embedding: bytes | list[float] | None = None  # bytes: base64, decoded by the parser
    embedding_model: str | None = None
    embedding_dtype: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    tool_names: list[str] | None = None
    response_format: str | None = None
    status_code: int | None = None
    cost_usd: float | None = None
    schema_version: int = 1


class _AnyVector(RequestEvent, gc=False):
    """The same with a vector of any text, for records that the parser refuses: what is no base64
    has a reason of its own, and does not matter in a vector of another model."""

    embedding: str | list[float] | None = None  # type: ignore[assignment]


_parse = msgspec.json.Decoder(RequestEvent).decode
_parse_lines = msgspec.json.Decoder(RequestEvent).decode_lines
_parse_any = msgspec.json.Decoder(_AnyVector).decode


class _Refused(Exception):
    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class _Refusal(NamedTuple):
    reason: str
    detail: str
    time_ms: int = 0


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

    def decode(self, batch: RecordBatch) -> Decoded:
        """Decodes a batch; every record is accepted, in `refused`, or empty.

        Raises:
          DistilwatchError: the schema registry stays away, or refuses us.
        """
        refusals: dict[int, _Refusal] = {}  # by place in the batch; the first reason counts
        events, places = self._parse(batch.values, refusals)
        times, vectors, created = self._check(events, batch.watermark_ms, places, refusals)
        if refusals:
            kept = [i for i, place in enumerate(places) if place not in refusals]
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
            if refusal.reason != _EMPTY
        ]
        accepted = self._columns(events, times, created, texts, vectors)
        empty = len(refusals) - len(refused)
        return Decoded(accepted, texts, vectors.values, vectors.present, refused, empty)

    def _parse(
        self, values: list[bytes], refusals: dict[int, _Refusal]
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
                        raise _Refused("record_too_large", f"{len(raw)} bytes")
                    event = self._event(raw)
                    if event.schema_version != 1:
                        raise _Refused("unknown_schema_version", "expected 1")
                    if not event.event_id or not event.account_id:
                        raise _Refused("empty_id")
                    if self.forgotten and event.account_id in self.forgotten:
                        raise _Refused(FORGOTTEN)
                    events.append(event)
                    places.append(place)
            except _Refused as error:
                refusals[place] = _Refusal(error.reason, error.detail)
        return events, places

    def _parse_together(self, values: list[bytes]) -> list[RequestEvent] | None:
        """Events of a batch in which nothing is to be refused; None: look at each by itself."""
        if max(map(len, values), default=0) > self.max_record_bytes:
            return None
        lines = b"\n".join(values)
        if lines.count(b"\n") != len(values) - 1:  # a record of several lines
            return None
        try:
            events = _parse_lines(lines)
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
        return _parse_record(raw) if number is None else self._framed_event(number, payload(raw))

    def _framed_event(self, number: int, data: bytes) -> RequestEvent:
        if self.schemas is None:
            raise _Refused("no_registry")
        try:
            writer = self.schemas.writer(number)
        except UnknownSchema:
            raise _Refused("unknown_schema") from None
        except UnusableSchema as why:
            raise _Refused("unusable_schema", str(why)) from None
        if writer.avro is None:
            return _parse_record(data)
        try:
            record = writer.read(data)
        except ValueError as why:
            raise _Refused("not_avro", str(why)) from None
        return _converted(record)

    def _check(
        self,
        events: list[RequestEvent],
        watermark_ms: int,
        places: list[int],
        refusals: dict[int, _Refusal],
    ) -> tuple[NDArray[np.int64], Vectors, NDArray[np.int64]]:
        """Times, vectors and times of the accounts' opening of n events; notes what is wrong."""
        times, readable = parse_times([e.event_time for e in events])
        created, created_readable = parse_times([e.account_created_at for e in events])
        latest = self.now_ms() + self.max_future_ms

        def refuse(at: Iterable[int], reason: str, detail: str = "") -> None:
            for i in at:
                refusals.setdefault(places[i], _Refusal(reason, detail, int(times[i])))

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
        return times, vectors, created

    def _columns(
        self,
        events: list[RequestEvent],
        times: NDArray[np.int64],
        created: NDArray[np.int64],
        texts: list[str | None],
        vectors: Vectors,
    ) -> Events:
        n = len(events)
        wording = _wording(texts)
        prompt = wording.prompt
        if vectors.values is not None:
            silent = np.flatnonzero((prompt == 0) & vectors.present)
            prompt[silent] = hash_rows(vectors.values[silent])
        tools = np.array([len(e.tool_names or ()) for e in events], np.int32)
        payments = [e.payment_fingerprint for e in events]
        pseudonyms = {payment: self.pseudonymise(payment) for payment in set(payments)}
        peers = [(e.account_tier, e.account_segment) for e in events]
        groups = {peer: f"{peer[0] or ''}|{peer[1] or ''}".lower() for peer in set(peers)}
        return Events(
            event_hash=hash_texts([f"{e.account_id}\x1f{e.event_id}" for e in events]),
            time_ms=times,
            account=_strings([e.account_id for e in events]),
            payment=_strings([pseudonyms[payment] for payment in payments]),
            organization=hash_column([e.organization_id for e in events]),
            credential=hash_column([e.credential_id for e in events]),
            network=hash_column([e.ip_prefix for e in events]),
            asn=_whole([e.asn for e in events]),
            country=hash_column([e.country for e in events]),
            client=hash_column([e.client_fingerprint for e in events]),
            model=hash_column([e.model for e in events]),
            conversation=hash_column([e.conversation_id for e in events]),
            turn=_whole([e.turn_index for e in events], -1, -1, _MOST_32).astype(np.int32),
            system_prompt=hash_column([e.system_prompt_hash for e in events]),
            prefix_scaffold=wording.prefix,
            suffix_scaffold=wording.suffix,
            prompt=prompt,
            peer=_strings([groups[peer] for peer in peers]),
            account_created_ms=created,
            input_tokens=_whole([e.input_tokens for e in events]),
            output_tokens=_whole([e.output_tokens for e in events]),
            reasoning_tokens=_whole([e.reasoning_tokens for e in events]),
            max_output_tokens=_whole([e.max_output_tokens for e in events]),
            temperature=_numbers([e.temperature for e in events], math.nan).astype(np.float32),
            tools=tools,
            structured=np.array([e.response_format not in _PLAIN for e in events], bool),
            status=_whole([e.status_code for e in events], 200, 0, 999).astype(np.int32),
            cost_microusd=_microusd([e.cost_usd for e in events]),
            prompt_chars=wording.chars,
            code=wording.code,
            coordinates=np.zeros((n, AXES), np.int8),
            cells=np.full(n, NO_CELL, np.uint16),
            nearness=np.zeros(n, np.int16),
            capability=np.where(tools > 0, np.int8(Capability.TOOL_USE), wording.capability),
            intent=wording.intent,
            known=self.known.labels(texts),
        )


_PLAIN = (None, "", "text")  # values of `response_format` that ask for nothing special
_MOST_32, _MOST_64 = int(np.iinfo(np.int32).max), int(np.iinfo(np.int64).max)


_EMPTY = "empty"


def _converted(record: dict[str, Any]) -> RequestEvent:
    """A decoded record as an event; msgspec looks at names and types as it does in JSON."""
    try:
        return msgspec.convert(record, RequestEvent)
    except msgspec.ValidationError:
        pass
    try:
        return msgspec.convert(record, _AnyVector)
    except msgspec.ValidationError as error:
        raise _refused_by(error) from None


def _refused_by(error: msgspec.ValidationError) -> _Refused:
    # Its message names the field and types, and never quotes a value of ours.
    text = str(error)
    reason = "missing_field" if "missing required" in text else "wrong_type"
    return _Refused(reason, text if "Invalid value" not in text else "")


def _parse_record(raw: bytes) -> RequestEvent:
    try:
        return _parse(raw)
    except msgspec.ValidationError:
        return _parse_again(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _Refused("not_json" if raw else _EMPTY) from None


def _parse_again(raw: bytes) -> RequestEvent:
    """Parses what was refused, to find the reason, or that only the vector is no base64."""
    try:
        return _parse_any(raw)
    except msgspec.ValidationError as error:
        raise _refused_by(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _Refused("not_json") from None


class _Wording(NamedTuple):
    """What is kept of n prompts' texts; zeros where there is none, and no label."""

    prompt: NDArray[np.uint64]
    prefix: NDArray[np.uint64]
    suffix: NDArray[np.uint64]
    chars: NDArray[np.int32]
    code: NDArray[np.int8]
    capability: NDArray[np.int8]
    intent: NDArray[np.int8]


def _wording(texts: list[str | None]) -> _Wording:
    """Each distinct text of the batch is looked at once."""
    distinct = list(dict.fromkeys(text for text in texts if text))
    place: dict[str | None, int] = {text: i for i, text in enumerate(distinct, 1)}
    place[None] = 0
    at = np.fromiter(map(place.__getitem__, texts), np.intp, len(texts))

    def spread(values: Any, dtype: Any, missing: int = 0) -> Any:
        return np.concatenate([np.full(1, missing, dtype), np.asarray(values, dtype)])[at]

    prefix, suffix = scaffold_columns(distinct)
    code = [looks_like_code(text) for text in distinct]
    terms = [Terms(text) for text in distinct]
    return _Wording(
        spread(hash_texts(distinct), np.uint64),
        spread(prefix, np.uint64),
        spread(suffix, np.uint64),
        spread([len(text) for text in distinct], np.int32),
        spread(code, np.int8),
        spread(capabilities_of(terms, code), np.int8, NONE),
        spread(intents_of(terms), np.int8, NONE),
    )


def _strings(values: Sequence[str]) -> NDArray[np.object_]:
    out = np.empty(len(values), object)
    out[:] = values
    return out


def _whole(
    values: Sequence[int | None], missing: int = 0, least: int = 0, most: int = _MOST_64
) -> NDArray[np.int64]:
    """Whole numbers of any size, brought between `least` and `most`: int64 of shape (n,)."""
    known = [missing if value is None else value for value in values]
    try:
        out = np.array(known, np.int64)
    except OverflowError:
        out = np.array([min(max(value, least), most) for value in known], np.int64)
    return np.clip(out, least, most)


def _numbers(values: Sequence[float | None], missing: float) -> NDArray[np.float64]:
    return np.array([missing if value is None else value for value in values], np.float64)


def _microusd(costs: Sequence[float | None]) -> NDArray[np.int64]:
    """Costs in millionths of a dollar; what is negative or not finite counts as 0."""
    cost = _numbers(costs, 0.0)
    cost[~np.isfinite(cost)] = 0
    return np.rint(np.clip(cost, 0, 1e9) * 1e6).astype(np.int64)
