"""What is kept of parsed events, by column: keys and texts as hashes, numbers within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transforms.embedding.space import AXES, NO_CELL
from transforms.ingest.batch import Events
from transforms.ingest.capabilities import NONE, Capability, capabilities_of
from transforms.ingest.events import RequestEvent
from transforms.ingest.hashing import hash_column, hash_rows, hash_texts
from transforms.ingest.intents import intents_of
from transforms.ingest.known import KnownTexts
from transforms.ingest.pseudonyms import Pseudonymiser
from transforms.ingest.scaffold import ScaffoldColumns, looks_like_code, scaffold_columns
from transforms.ingest.terms import Terms
from transforms.ingest.vectors import Vectors

_PLAIN = (None, "", "text")  # values of `response_format` that ask for nothing special
_MOST_32 = int(np.iinfo(np.int32).max)
# Of one event, so that sums over millions stay below 2^63: 10^12 tokens, and a million dollars.
_MOST_COUNTED, _MOST_USD = 1 << 40, 1e6


def columns_of(
    events: list[RequestEvent],
    times: NDArray[np.int64],
    created: NDArray[np.int64],
    texts: list[str | None],
    vectors: Vectors,
    pseudonymise: Pseudonymiser,
    known: KnownTexts,
) -> Events:
    """Columns of n events that were accepted.

    Args:
      events: as parsed.
      times, created: event times and opening of the accounts, int64 of shape (n,), milliseconds.
      texts: prompts as they are embedded, of length n; None where there is none.
      vectors: that were brought, for n events.
      pseudonymise: for payment fingerprints.
      known: collections that the texts are looked up in.
    """
    n = len(events)
    wording = _wording(texts)
    prompt = wording.prompt
    if vectors.values is not None:
        silent = np.flatnonzero((prompt == 0) & vectors.present)
        prompt[silent] = hash_rows(vectors.values[silent])
    tools = np.array([len(e.tool_names or ()) for e in events], np.int32)
    payments = [e.payment_fingerprint for e in events]
    pseudonyms = {payment: pseudonymise(payment) for payment in set(payments)}
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
        client=hash_column([e.client_fingerprint for e in events]),
        model=hash_column([e.model for e in events]),
        conversation=hash_column([e.conversation_id for e in events]),
        turn=_whole([e.turn_index for e in events], -1, -1, _MOST_32).astype(np.int32),
        system_prompt=hash_column([e.system_prompt_hash for e in events]),
        prefix_scaffold=wording.scaffolds.prefix,
        suffix_scaffold=wording.scaffolds.suffix,
        opening=wording.scaffolds.opening,
        closing=wording.scaffolds.closing,
        prompt=prompt,
        peer=_strings([groups[peer] for peer in peers]),
        account_created_ms=created,
        input_tokens=_whole([e.input_tokens for e in events]),
        output_tokens=_whole([e.output_tokens for e in events]),
        reasoning_tokens=_whole([e.reasoning_tokens for e in events]),
        max_output_tokens=_whole([e.max_output_tokens for e in events]),
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
        known=known.labels(texts),
    )


class _Wording(NamedTuple):
    """What is kept of n prompts' texts; zeros where there is none, and no label."""

    prompt: NDArray[np.uint64]
    scaffolds: ScaffoldColumns
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

    scaffolds = (spread(column, np.uint64) for column in scaffold_columns(distinct))
    code = [looks_like_code(text) for text in distinct]
    terms = [Terms(text) for text in distinct]
    return _Wording(
        spread(hash_texts(distinct), np.uint64),
        ScaffoldColumns(*scaffolds),
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
    values: Sequence[int | None], missing: int = 0, least: int = 0, most: int = _MOST_COUNTED
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
    """Costs in millionths of a dollar, a million dollars at most; what is negative or not finite
    counts as 0."""
    cost = _numbers(costs, 0.0)
    cost[~np.isfinite(cost)] = 0
    return np.rint(np.clip(cost, 0, _MOST_USD) * 1e6).astype(np.int64)
