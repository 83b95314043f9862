"""Decodes batches of contract-1 records; what cannot be used becomes a dead letter.

| reason | when |
|---|---|
| tombstone | an empty record |
| record_too_large | more than `max_record_bytes` |
| not_json | not a JSON object in UTF-8 |
| missing_field, wrong_type | named in the detail |
| empty_id | event_id or account_id is "" |
| unknown_schema_version | not 1 |
| time_unparseable, time_in_future, time_too_old | event_time |
| vector_undecodable, vector_wrong_length, vector_not_finite | embedding |
| late | older than the partition's watermark minus the allowed lateness |

Stated defaults: texts beyond `max_text_chars` are cut for embedding; negative counts and costs, and
costs that are not finite, count as 0; a vector of another model than the bundle's is left aside and
the text is embedded instead.
"""

from __future__ import annotations

import base64
import binascii
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from transforms.embedding.space import AXES, NO_CELL
from transforms.ingest.batch import DeadLetter, Decoded, Events, RecordBatch
from transforms.ingest.hashing import hash64, hash_column
from transforms.ingest.pseudonyms import Pseudonymiser
from transforms.ingest.scaffold import looks_like_code, scaffolds


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
    embedding: str | list[float] | None = None
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


class _Refused(Exception):
    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


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

    def decode(self, batch: RecordBatch) -> Decoded:
        """Decodes a batch; every record is either accepted or in `refused`."""
        parse = msgspec.json.Decoder(RequestEvent).decode
        latest = self.now_ms() + self.max_future_ms
        late = batch.watermark_ms - self.allowed_lateness_ms
        accepted: list[RequestEvent] = []
        times: list[int] = []
        vectors: list[NDArray[np.float32] | None] = []
        refused: list[DeadLetter] = []
        for offset, raw in zip(batch.offsets, batch.values, strict=True):
            at = 0
            try:
                event = self._parse(raw, parse)
                at = _time_ms(event.event_time, "event_time")
                if at > latest:
                    raise _Refused("time_in_future")
                if at < self.min_event_time_ms:
                    raise _Refused("time_too_old")
                if at < late:
                    raise _Refused("late")
                vector = self._vector(event)
                if event.account_created_at is not None:
                    event.account_created_at = _time_ms(
                        event.account_created_at, "account_created_at"
                    )
            except _Refused as error:
                refused.append(
                    DeadLetter(
                        batch.source,
                        batch.partition,
                        int(offset),
                        error.reason,
                        error.detail,
                        raw,
                        at,
                    )
                )
            else:
                accepted.append(event)
                times.append(at)
                vectors.append(vector)
        has_vector = np.array([v is not None for v in vectors], bool)
        block = None
        if has_vector.any():
            block = np.zeros((len(accepted), self.dim), np.float32)
            block[has_vector] = np.stack([v for v in vectors if v is not None])
        texts = [e.prompt_text[: self.max_text_chars] if e.prompt_text else None for e in accepted]
        return Decoded(
            self._columns(accepted, times, texts, block), texts, block, has_vector, refused
        )

    def _parse(self, raw: bytes, parse: Callable[[bytes], RequestEvent]) -> RequestEvent:
        if not raw:
            raise _Refused("tombstone")
        if len(raw) > self.max_record_bytes:
            raise _Refused("record_too_large", f"{len(raw)} bytes")
        try:
            event = parse(raw)
        except msgspec.ValidationError as error:
            # Its message names the field and types, and never quotes a value of ours.
            text = str(error)
            reason = "missing_field" if "missing required" in text else "wrong_type"
            raise _Refused(reason, text if "Invalid value" not in text else "") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _Refused("not_json") from None
        if event.schema_version != 1:
            raise _Refused("unknown_schema_version")
        if not event.event_id or not event.account_id:
            raise _Refused("empty_id")
        return event

    def _vector(self, event: RequestEvent) -> NDArray[np.float32] | None:
        brought = event.embedding
        if not brought or (event.embedding_model or self.embedding_model) != self.embedding_model:
            return None
        if isinstance(brought, str):
            dtype = "<f4" if event.embedding_dtype == "float32" else "<f2"
            try:
                vector = np.frombuffer(base64.b64decode(brought, validate=True), dtype)
            except (binascii.Error, ValueError):
                raise _Refused("vector_undecodable", "embedding") from None
        else:
            with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused
                vector = np.array(brought, np.float32)
        if len(vector) != self.dim:
            raise _Refused("vector_wrong_length", f"{len(vector)} values, expected {self.dim}")
        vector = vector.astype(np.float32)
        if not np.isfinite(vector).all():
            raise _Refused("vector_not_finite", "embedding")
        return vector if vector.any() else None

    def _columns(
        self,
        events: list[RequestEvent],
        times: list[int],
        texts: list[str | None],
        vectors: NDArray[np.float32] | None,
    ) -> Events:
        n = len(events)
        heads = [scaffolds(text) if text else (0, 0) for text in texts]

        def count(name: str, missing: int = 0, dtype: Any = np.int64) -> NDArray[Any]:
            values = (getattr(e, name) for e in events)
            top = int(np.iinfo(dtype).max)
            return np.array(
                [missing if v is None else min(max(v, missing), top) for v in values], dtype
            )

        prompts = [hash64(text) if text else 0 for text in texts]
        if vectors is not None:
            prompts = [
                p or (hash64(v.tobytes().hex()) if v.any() else 0)
                for p, v in zip(prompts, vectors, strict=True)
            ]
        return Events(
            event_hash=np.array(
                [hash64(f"{e.account_id}\x1f{e.event_id}") for e in events], np.uint64
            ),
            time_ms=np.array(times, np.int64),
            account=_strings([e.account_id for e in events]),
            payment=_strings([self.pseudonymise(e.payment_fingerprint) for e in events]),
            organization=hash_column(e.organization_id for e in events),
            credential=hash_column(e.credential_id for e in events),
            network=hash_column(e.ip_prefix for e in events),
            asn=count("asn"),
            country=hash_column(e.country for e in events),
            client=hash_column(e.client_fingerprint for e in events),
            model=hash_column(e.model for e in events),
            conversation=hash_column(e.conversation_id for e in events),
            turn=count("turn_index", -1, np.int32),
            system_prompt=hash_column(e.system_prompt_hash for e in events),
            prefix_scaffold=np.array([head for head, _ in heads], np.uint64),
            suffix_scaffold=np.array([tail for _, tail in heads], np.uint64),
            prompt=np.array(prompts, np.uint64),
            peer=_strings(
                [f"{e.account_tier or ''}|{e.account_segment or ''}".lower() for e in events]
            ),
            account_created_ms=np.array([e.account_created_at or 0 for e in events], np.int64),
            input_tokens=count("input_tokens"),
            output_tokens=count("output_tokens"),
            reasoning_tokens=count("reasoning_tokens"),
            max_output_tokens=count("max_output_tokens"),
            temperature=np.array(
                [math.nan if e.temperature is None else e.temperature for e in events], np.float32
            ),
            tools=np.array([len(e.tool_names or ()) for e in events], np.int32),
            structured=np.array(
                [e.response_format not in (None, "", "text") for e in events], bool
            ),
            status=np.array(
                [200 if e.status_code is None else min(max(e.status_code, 0), 999) for e in events],
                np.int32,
            ),
            cost_microusd=np.array([_microusd(e.cost_usd) for e in events], np.int64),
            prompt_chars=np.array([len(t or "") for t in texts], np.int32),
            code=np.array([looks_like_code(t) if t else False for t in texts], np.int8),
            coordinates=np.zeros((n, AXES), np.int8),
            cells=np.full(n, NO_CELL, np.uint16),
            nearness=np.zeros(n, np.int16),
        )


def _strings(values: list[str]) -> NDArray[np.object_]:
    out = np.empty(len(values), object)
    out[:] = values
    return out


def _microusd(cost: float | None) -> int:
    if cost is None or not math.isfinite(cost) or cost <= 0:
        return 0
    return round(min(cost, 1e9) * 1e6)


def _time_ms(value: str | int, name: str) -> int:
    """Milliseconds UTC of RFC 3339 text or integer milliseconds."""
    if isinstance(value, int):
        if abs(value) > 1 << 53:
            raise _Refused("time_unparseable", name)
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _Refused("time_unparseable", name) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return round(moment.timestamp() * 1000)
    except (OverflowError, ValueError):
        raise _Refused("time_unparseable", name) from None
