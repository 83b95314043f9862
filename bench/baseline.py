"""The job's way from record to session, written as Beam pipelines usually are: event by event.

Each record is an element: parsed with `json.loads`, checked, embedded, deduplicated, keyed twice,
put into session windows and added to a CombineFn's accumulator, one at a time. The sessions are the
same as the product's to the bit, so that only the way of computing them differs.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.transforms import trigger, window
from apache_beam.transforms.deduplicate import DeduplicatePerKey
from apache_beam.utils.timestamp import Duration, Timestamp
from numpy.typing import NDArray

from bench.accumulator import CountRequests, Request, bin_of, items_of, mix, octave_of
from transforms.coverage import layout
from transforms.coverage.layout import Bins, Items, Sum
from transforms.coverage.sketch import CoverageSketch
from transforms.embedding.hashing import HashingEmbedder
from transforms.ingest.capabilities import NONE, Capability, capabilities_of
from transforms.ingest.decode import Decoder
from transforms.ingest.hashing import hash64
from transforms.ingest.intents import intents_of
from transforms.ingest.scaffold import ScaffoldHashes, looks_like_code, scaffolds
from transforms.ingest.terms import Terms
from transforms.scoring.handler import VerifiedBundle
from transforms.sessions.identity import ACCOUNT, PAYMENT, SessionKey, session_id
from transforms.sessions.transforms import Session, SessionOptions

Json = dict[str, Any]
_MONDAY_MS = 4 * layout.DAY_MS
_REFUSED = "refused"
_TEXT = (
    "event_id", "account_id", "payment_fingerprint", "organization_id", "credential_id",
    "account_tier", "account_segment", "ip_prefix", "country", "client_fingerprint", "model",
    "endpoint", "conversation_id", "system_prompt_hash", "prompt_text", "embedding_model",
    "embedding_dtype", "response_format",
)  # fmt: skip
_WHOLE = (
    "asn", "turn_index", "input_tokens", "output_tokens", "reasoning_tokens", "max_output_tokens",
    "status_code",
)  # fmt: skip
_NUMBER = ("temperature", "cost_usd")
_REQUIRED = ("event_id", "event_time", "account_id")


class RefusedError(Exception):
    """A record that cannot be used; the message is the reason."""


def per_event_sessions(
    pipeline: beam.Pipeline,
    path: str,
    decoder: Decoder,
    bundle: VerifiedBundle,
    options: SessionOptions,
    dedupe: beam.PTransform,
) -> beam.PCollection[Session]:
    """Sessions by account and by payment fingerprint of the events of a file.

    Args:
      pipeline: to build in.
      path: a .jsonl file.
      decoder: whose bounds and pseudonyms count.
      bundle: in whose space events are placed.
      options: how sessions are cut.
      dedupe: one of the two below.
    """
    parsed = (
        pipeline
        | "ReadLines" >> beam.io.ReadFromText(path)
        | "Parse" >> beam.ParDo(ParseFn(decoder)).with_outputs(_REFUSED, main="events")
    )
    return (
        parsed.events
        | "Embed" >> beam.ParDo(EmbedFn(decoder, bundle))
        | "ById"
        >> beam.Map(lambda request: (request.name, request)).with_output_types(tuple[str, Request])
        | "Dedupe" >> dedupe
        | "ByAccountAndPayment"
        >> beam.FlatMap(keyed, options.max_length_ms).with_output_types(tuple[str, Request])
        | "SessionWindows"
        >> beam.WindowInto(
            window.Sessions(options.gap_ms / 1000),
            trigger=trigger.AfterWatermark(late=trigger.AfterCount(1)),
            accumulation_mode=trigger.AccumulationMode.ACCUMULATING,
            allowed_lateness=Duration(micros=options.allowed_lateness_ms * 1000),
        )
        | "CountRequests" >> beam.CombinePerKey(CountRequests())
        | "NameSessions" >> beam.ParDo(NameFn())
        | "LeaveWindows" >> beam.WindowInto(window.GlobalWindows())
    )


def dedupe_by_state(horizon_ms: int) -> beam.PTransform:
    """Beam's own transform: a flag in keyed state, and a timer, for each id."""
    return DeduplicatePerKey(event_time_duration=horizon_ms // 1000)


@dataclass(eq=False)
class DedupeByGroup(beam.PTransform):  # type: ignore[misc]
    """The first of each id in fixed windows: no state of one's own, but a shuffle."""

    horizon_ms: int

    def expand(
        self, named: beam.PCollection[tuple[str, Request]]
    ) -> beam.PCollection[tuple[str, Request]]:
        return (
            named
            | "Windows" >> beam.WindowInto(window.FixedWindows(self.horizon_ms / 1000))
            | "Group" >> beam.GroupByKey()
            | "First" >> beam.Map(_first)
        )


def _first(element: tuple[str, Iterable[Request]]) -> window.TimestampedValue:
    name, requests = element
    first = min(requests, key=lambda request: request.time_ms)
    return window.TimestampedValue((name, first), Timestamp(micros=first.time_ms * 1000))


class ParseFn(beam.DoFn):  # type: ignore[misc]
    """Parses and checks a record; what is wrong goes to the tag `refused`."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def process(self, line: str) -> Iterator[Any]:
        try:
            event, at = parse(line, self._decoder)
        except RefusedError as error:
            yield beam.pvalue.TaggedOutput(_REFUSED, (str(error), line))
        else:
            yield window.TimestampedValue((event, at), Timestamp(micros=at * 1000))


def parse(line: str, decoder: Decoder) -> tuple[Json, int]:
    """One record as a dictionary, and its time in milliseconds UTC.

    Raises:
      RefusedError: as the product's decoder refuses it.
    """
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        raise RefusedError("not_json") from None
    if not isinstance(event, dict):
        raise RefusedError("wrong_type")
    if any(event.get(name) is None for name in _REQUIRED):
        raise RefusedError("missing_field")
    _check(event, _TEXT, lambda value: isinstance(value, str))
    _check(event, _WHOLE, lambda value: isinstance(value, int) and not isinstance(value, bool))
    _check(event, _NUMBER, lambda value: isinstance(value, int | float))
    if event.get("schema_version", 1) != 1:
        raise RefusedError("unknown_schema_version")
    if not event["event_id"] or not event["account_id"]:
        raise RefusedError("empty_id")
    at = _time_ms(event["event_time"])
    if at > decoder.now_ms() + decoder.max_future_ms:
        raise RefusedError("time_in_future")
    if at < decoder.min_event_time_ms:
        raise RefusedError("time_too_old")
    return event, at


def _check(event: Json, names: tuple[str, ...], fits: Callable[[Any], bool]) -> None:
    for name in names:
        value = event.get(name)
        if value is not None and not fits(value):
            raise RefusedError("wrong_type")


def _time_ms(value: str | int) -> int:
    if isinstance(value, int):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise RefusedError("time_unparseable") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


class EmbedFn(beam.DoFn):  # type: ignore[misc]
    """Gives an event its place in the bundle's space, and leaves its text behind."""

    def __init__(self, decoder: Decoder, bundle: VerifiedBundle) -> None:
        self._decoder = decoder
        self._bundle = bundle

    def setup(self) -> None:
        bundle = self._bundle.load()
        self._space, self._labels = bundle.space, bundle.capabilities.labels
        self._embedder = HashingEmbedder()

    def process(self, element: tuple[Json, int]) -> Iterator[Request]:
        event, at = element
        vector = _vector(event, self._decoder)
        if vector is None:
            vector = self._embedder.embed([event.get("prompt_text")])[0]
        coordinates = self._space.coordinates(vector[None])[0]
        placed = bool(coordinates.any())
        cell, nearness = self._space.nearest(coordinates[None])
        if not placed:
            yield request_of(event, at, self._decoder, b"", -1, 0, NONE)
            return
        label = int(self._labels[cell[0]]) if len(self._labels) else NONE
        place = coordinates.tobytes(), int(cell[0]), int(nearness[0])
        yield request_of(event, at, self._decoder, *place, label)


def _vector(event: Json, decoder: Decoder) -> NDArray[np.float32] | None:
    brought = event.get("embedding")
    if not brought or (event.get("embedding_model") or decoder.embedding_model) != (
        decoder.embedding_model
    ):
        return None
    if isinstance(brought, str):
        dtype = "<f4" if event.get("embedding_dtype") == "float32" else "<f2"
        try:
            vector = np.frombuffer(base64.b64decode(brought, validate=True), dtype)
        except (binascii.Error, ValueError):
            return None
    else:
        vector = np.array(brought, np.float32)
    fits = len(vector) == decoder.dim and bool(np.isfinite(vector).all()) and bool(vector.any())
    return vector.astype(np.float32) if fits else None


def request_of(
    event: Json,
    at: int,
    decoder: Decoder,
    coordinates: bytes,
    cell: int,
    nearness: int,
    label: int,
) -> Request:
    """What is counted of an event."""

    def hashed(name: str) -> int:
        value = event.get(name)
        return hash64(value) if value else 0

    def count(name: str, missing: int = 0) -> int:
        value = event.get(name)
        return missing if value is None else max(value, missing)

    account, text = event["account_id"], event.get("prompt_text") or ""
    payment = decoder.pseudonymise(event.get("payment_fingerprint"))
    created = event.get("account_created_at")
    created_ms = _time_ms(created) if created is not None else 0
    wording = scaffolds(text) if text else ScaffoldHashes()
    head, tail = wording.prefix, wording.suffix
    talk, system = hashed("conversation_id"), hashed("system_prompt_hash")
    tokens_in, tokens_out = count("input_tokens"), count("output_tokens")
    reasoning, limit = count("reasoning_tokens"), count("max_output_tokens")
    status = event.get("status_code")
    status = 200 if status is None else status
    blocked = status in (403, 429)
    cost = event.get("cost_usd")
    sums = {
        Sum.EVENTS: 1,
        Sum.VECTORS: bool(coordinates),
        Sum.NEARNESS: nearness,
        Sum.INPUT_TOKENS: tokens_in,
        Sum.OUTPUT_TOKENS: tokens_out,
        Sum.REASONING_TOKENS: reasoning,
        Sum.SATURATED: limit > 0 and tokens_out >= limit,
        Sum.COST_MICROUSD: round(min(cost, 1e9) * 1e6)
        if cost and cost > 0 and math.isfinite(cost)
        else 0,
        Sum.BLOCKED: blocked,
        Sum.TOOL_REQUESTS: bool(event.get("tool_names")),
        Sum.STRUCTURED: event.get("response_format") not in (None, "", "text"),
        Sum.CODE: bool(text) and looks_like_code(text),
        Sum.CONTINUED: count("turn_index", -1) > 0 and talk > 0,
        Sum.PROMPT_CHARS: len(text),
        Sum.WITH_OUTPUT: tokens_out > 0,
        Sum.WITH_CONVERSATION: talk > 0,
    }
    bins = [(at - _MONDAY_MS) // layout.HOUR_MS % 168 + int(Bins.HOUR_OF_WEEK)]
    bins += [cell] if cell >= 0 else []
    day, topics = at // layout.DAY_MS % layout.TRAIL_DAYS, layout.TRAIL_TOPICS
    topic = cell % (topics - 1) if cell >= 0 else topics - 1
    bins += [day * topics + topic + int(Bins.TRAIL)]
    bins += _label_bins(event, text, label)
    bins += [bin_of(head, Bins.PREFIX_SCAFFOLD, 256)] if head else []
    bins += [bin_of(tail, Bins.SUFFIX_SCAFFOLD, 256)] if tail else []
    bins += [octave_of(tokens_in, Bins.INPUT_SIZE)] if tokens_in else []
    tier, segment = event.get("account_tier") or "", event.get("account_segment") or ""
    prompt = hash64(text) if text else 0
    items = items_of({
        Items.PAYMENT: hash64(payment) if payment else 0,
        Items.NETWORK: hashed("ip_prefix"),
        Items.CLIENT: hashed("client_fingerprint"),
        Items.PREFIX_SCAFFOLD: head,
        Items.SUFFIX_SCAFFOLD: tail,
        Items.SYSTEM_PROMPT: system,
        Items.PROMPT: prompt,
        Items.MINUTE: mix(at // layout.MINUTE_MS, 1),
        Items.HOUR: mix(at // layout.HOUR_MS, 2),
        Items.MODEL: hashed("model"),
        Items.CREDENTIAL: hashed("credential_id"),
        Items.ORGANIZATION: hashed("organization_id"),
        Items.PEER: hash64(f"{tier}|{segment}".lower()),
        Items.OPENING_SENTENCE: wording.opening,
        Items.CLOSING_SENTENCE: wording.closing,
    })  # fmt: skip
    return Request(
        f"{account}\x1f{event['event_id']}",
        at,
        account,
        payment,
        created_ms if created_ms > 0 else layout.NEVER_MS,
        tuple(int(sums[slot]) for slot in Sum),
        tuple(bins),
        items,
        talk or mix(hash64(account) ^ (at // layout.GROUP_SLOT_MS), 3),
        coordinates,
    )


def _label_bins(event: Json, text: str, label: int) -> list[int]:
    """Bins of what is asked for, without a text by the cell's label, and of its wording."""
    capability, intent = label, NONE
    if text:
        terms = [Terms(text)]
        capability = int(capabilities_of(terms, [looks_like_code(text)])[0])
        intent = int(intents_of(terms)[0])
    if event.get("tool_names"):
        capability = int(Capability.TOOL_USE)
    bins = [capability + int(Bins.CAPABILITY)] if capability != NONE else []
    return [*bins, intent + int(Bins.INTENT)] if intent != NONE else bins


def keyed(element: tuple[str, Request], max_length_ms: int) -> Iterator[tuple[str, Request]]:
    """A named request under its account, and under its payment fingerprint if it has one."""
    request = element[1]
    block = request.time_ms // max_length_ms
    for kind, key in ((ACCOUNT, request.account), (PAYMENT, request.payment)):
        if key:
            yield SessionKey(kind, block, key).encode(), request


class NameFn(beam.DoFn):  # type: ignore[misc]
    """Keeps a session's name and bounds before its window is left."""

    def process(
        self, element: tuple[str, CoverageSketch], bounds: Any = beam.DoFn.WindowParam
    ) -> Iterator[Session]:
        name, sketch = element
        key = SessionKey.decode(name)
        yield Session(
            key.kind,
            key.key,
            session_id(key.kind, key.key, bounds.start.micros // 1000),
            sketch.first_ms,
            sketch.last_ms,
            "on_time",
            sketch,
        )
