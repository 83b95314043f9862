"""What flows through ingest: raw records, decoded events in columns, and dead letters."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import orjson
from apache_beam import coders
from numpy.typing import NDArray

from transforms.embedding.space import AXES

NO_WATERMARK = -(2**62)


@dataclass(frozen=True, slots=True, eq=False)
class RecordBatch:
    """Raw records of one partition or file, in order.

    Attributes:
      source: "kafka://topic" or a file's name.
      partition: 0 for a file.
      offsets: int64 of shape (n,); of a file the bytes at which lines begin.
      values: raw bytes, b"" for a tombstone.
      watermark_ms: no event older than this minus the allowed lateness is on time.
      lost: records before these that the broker deleted before they could be read.
      written_ms: latest of the broker's timestamps; NO_WATERMARK where there are none.
    """

    source: str
    partition: int
    offsets: NDArray[np.int64]
    values: list[bytes]
    watermark_ms: int = NO_WATERMARK
    lost: int = 0
    written_ms: int = NO_WATERMARK


_TYPES: dict[str, str] = {
    "event_hash": "<u8", "time_ms": "<i8", "account": "O", "payment": "O", "organization": "<u8",
    "credential": "<u8", "network": "<u8", "client": "<u8", "model": "<u8", "conversation": "<u8",
    "turn": "<i4", "system_prompt": "<u8", "prefix_scaffold": "<u8", "suffix_scaffold": "<u8",
    "opening": "<u8", "closing": "<u8", "prompt": "<u8", "peer": "O", "account_created_ms": "<i8",
    "input_tokens": "<i8", "output_tokens": "<i8", "reasoning_tokens": "<i8",
    "max_output_tokens": "<i8", "tools": "<i4", "structured": "|b1", "status": "<i4",
    "cost_microusd": "<i8", "prompt_chars": "<i4", "code": "|i1", "coordinates": "|i1",
    "cells": "<u2", "nearness": "<i2", "capability": "|i1", "intent": "|i1", "known": "|i1",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Columns of n accepted events: no prompt text, no raw payment fingerprint.

    Hash columns hold 0, and token and time columns 0, where the event says nothing; `turn` and the
    labels `capability`, `intent` and `known` −1, strings "". `coordinates` (int8, (n, 64)), `cells`
    (uint16, 65535 for none) and `nearness` (cosine to the cell's centre in thousandths) are filled
    in by the embedding stage.
    """

    event_hash: NDArray[np.uint64]
    time_ms: NDArray[np.int64]
    account: NDArray[np.object_]
    payment: NDArray[np.object_]
    organization: NDArray[np.uint64]
    credential: NDArray[np.uint64]
    network: NDArray[np.uint64]
    client: NDArray[np.uint64]
    model: NDArray[np.uint64]
    conversation: NDArray[np.uint64]
    turn: NDArray[np.int32]
    system_prompt: NDArray[np.uint64]
    prefix_scaffold: NDArray[np.uint64]
    suffix_scaffold: NDArray[np.uint64]
    opening: NDArray[np.uint64]
    closing: NDArray[np.uint64]
    prompt: NDArray[np.uint64]
    peer: NDArray[np.object_]
    account_created_ms: NDArray[np.int64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    reasoning_tokens: NDArray[np.int64]
    max_output_tokens: NDArray[np.int64]
    tools: NDArray[np.int32]
    structured: NDArray[np.bool_]
    status: NDArray[np.int32]
    cost_microusd: NDArray[np.int64]
    prompt_chars: NDArray[np.int32]
    code: NDArray[np.int8]
    coordinates: NDArray[np.int8]
    cells: NDArray[np.uint16]
    nearness: NDArray[np.int16]
    capability: NDArray[np.int8]
    intent: NDArray[np.int8]
    known: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.time_ms)

    def __reduce__(self) -> tuple[object, ...]:
        return decode_events, (encode_events(self),)

    def take(self, index: NDArray[Any]) -> Events:
        """The rows at `index` (integers or booleans)."""
        return Events(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @classmethod
    def concat(cls, batches: Sequence[Events]) -> Events:
        """Rows of all batches, in order."""
        if len(batches) == 1:
            return batches[0]
        return cls(
            **{f.name: np.concatenate([getattr(b, f.name) for b in batches]) for f in fields(cls)}
        )


def encode_events(events: Events) -> bytes:
    """One header, then each column's bytes; strings once each, with an index."""
    parts: list[bytes] = [struct.pack("<I", len(events))]
    for field in fields(events):
        column = getattr(events, field.name)
        if _TYPES[field.name] == "O":
            names: dict[str, int] = {}
            index = np.array([names.setdefault(v, len(names)) for v in column], "<u4")
            text = orjson.dumps(list(names))
            parts += [struct.pack("<I", len(text)), text, index.tobytes()]
        else:
            parts.append(np.ascontiguousarray(column, _TYPES[field.name]).tobytes())
    return b"".join(parts)


def decode_events(data: bytes) -> Events:
    """Reads what `encode_events` wrote."""
    (n,) = struct.unpack_from("<I", data)
    at = 4
    columns: dict[str, Any] = {}
    for field in fields(Events):
        kind = _TYPES[field.name]
        if kind == "O":
            (size,) = struct.unpack_from("<I", data, at)
            names = np.array([*orjson.loads(data[at + 4 : at + 4 + size]), None], object)[:-1]
            at += 4 + size
            columns[field.name] = names[np.frombuffer(data, "<u4", n, at)] if n else names
            at += 4 * n
            continue
        count = n * AXES if field.name == "coordinates" else n
        column = np.frombuffer(data, kind, count, at)
        at += column.nbytes
        columns[field.name] = column.reshape(n, AXES) if field.name == "coordinates" else column
    return Events(**columns)


class EventsCoder(coders.Coder):  # type: ignore[misc]
    """Compact, deterministic coder of `Events`."""

    def encode(self, value: Events) -> bytes:
        return encode_events(value)

    def decode(self, encoded: bytes) -> Events:
        return decode_events(encoded)

    def is_deterministic(self) -> bool:
        return True


coders.registry.register_coder(Events, EventsCoder)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was refused.

    Attributes:
      reason: a stable word, see `decode`.
      detail: names and types only, never a value.
      raw: the record; tables hold its hash, and itself only encrypted.
      schema_id: in the schema registry, of a record that brings one.
    """

    source: str
    partition: int
    offset: int
    reason: str
    detail: str
    raw: bytes
    event_time_ms: int = 0
    schema_id: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A decoded batch; lives inside ingest and embedding only, because it has texts.

    Attributes:
      events: n accepted events, coordinates and cells not filled in yet.
      texts: n prompt texts, None where there is none.
      vectors: float32 of shape (n, d), zero rows where an event brought none; None if none did.
      has_vector: bool of shape (n,).
      refused: dead letters, late ones among them (reason "late").
      empty: records without a value, tombstones of a compacted topic among them.
      others: documents of a gateway's records that are no requests to a model.
    """

    events: Events
    texts: list[str | None]
    vectors: NDArray[np.float32] | None
    has_vector: NDArray[np.bool_]
    refused: list[DeadLetter]
    empty: int = 0
    others: int = 0
