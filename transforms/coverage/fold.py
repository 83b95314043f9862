"""Folds a batch of events into partial sketches, each of one account and payment fingerprint.

A partial sketch is of an aligned slice of time where input has no end, because nobody knows what
comes yet, or of a stretch without a pause, of which there are fewer, where it has one. The whole
batch is sorted a few times in numpy; Python runs once per partial sketch, not per event,
and then only takes that sketch's part of the columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transforms.coverage import layout
from transforms.coverage.layout import Bins, Items, Sum
from transforms.coverage.merging import sort_coordinates
from transforms.coverage.sketch import CoverageSketch, Int64
from transforms.coverage.stack import SketchStack
from transforms.embedding.space import AXES, NO_CELL
from transforms.ingest.batch import Events
from transforms.ingest.hashing import hash64

_MONDAY_MS = 4 * layout.DAY_MS  # 1970-01-05, the first Monday after the epoch
_NO_BIN = -1
_EMPTY = np.empty(0, np.int64)


class Partial(NamedTuple):
    """Events of one account and payment fingerprint, all of one session."""

    account: str
    payment: str
    sketch: CoverageSketch


class Folded(NamedTuple):
    """Partial sketches in columns.

    Attributes:
      accounts, payments: distinct names.
      account, payment: int64 of shape (n,), the place of each sketch's name among them.
      stack: n sketches, at least one.
    """

    accounts: list[str]
    payments: list[str]
    account: Int64
    payment: Int64
    stack: SketchStack

    def partials(self) -> Iterator[Partial]:
        """The partial sketches, one by one."""
        names = zip(self.account.tolist(), self.payment.tolist(), strict=True)
        for (a, p), sketch in zip(names, self.stack.sketches(), strict=True):
            yield Partial(self.accounts[a], self.payments[p], sketch)


def fold(events: Events, slice_ms: int) -> Iterator[Partial]:
    """Yields the partial sketches of a batch; see `fold_together`."""
    if len(events):
        yield from fold_together(events, slice_ms).partials()


def fold_together(events: Events, slice_ms: int) -> Folded:
    """The partial sketches of a batch, in slices.

    Args:
      events: n events, at least one, with coordinates, cells and nearness filled in.
      slice_ms: length of the aligned time slices; at most the session gap, so that the events of a
        slice belong to one session whatever happens around them.
    """
    who = _who(events)
    _, number = np.unique(events.time_ms // slice_ms, return_inverse=True)
    return _folded(events, who, who.pair * (int(number.max()) + 1) + number)


def fold_stretches(events: Events, gap_ms: int, max_length_ms: int) -> Folded:
    """The partial sketches of a batch, in stretches: what the batch has of a session in one piece.

    Args:
      events: as in `fold_together`.
      gap_ms: a pause this long ends a stretch, as it ends a session.
      max_length_ms: aligned blocks of this length do, too.
    """
    who = _who(events)
    order = np.lexsort((events.time_ms, who.pair))
    pair, time = who.pair[order], events.time_ms[order]
    fresh = np.zeros(len(order), np.int64)
    fresh[1:] = (
        (np.diff(pair) > 0) | (np.diff(time) >= gap_ms) | (np.diff(time // max_length_ms) > 0)
    )
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(fresh)
    return _folded(events, who, number)


class _Who(NamedTuple):
    """Distinct names, and the place of each event's among them, int64 of shape (n,)."""

    accounts: list[str]
    payments: list[str]
    account: Int64
    payment: Int64

    @property
    def pair(self) -> Int64:
        """A number for each account with a payment fingerprint."""
        return self.account * len(self.payments) + self.payment


def _who(events: Events) -> _Who:
    accounts, account = _factorise(events.account)
    payments, payment = _factorise(events.payment)
    return _Who(accounts, payments, account, payment)


def _folded(events: Events, who: _Who, number: Int64) -> Folded:
    """One sketch for each number; no two accounts or payment fingerprints have one together."""
    numbers, group = np.unique(number, return_inverse=True)
    count = len(numbers)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(count))

    sums = np.add.reduceat(_sums(events)[order], starts, axis=0)
    time = events.time_ms[order]
    first, last = np.minimum.reduceat(time, starts), np.maximum.reduceat(time, starts)
    created = np.where(events.account_created_ms > 0, events.account_created_ms, layout.NEVER_MS)
    created = np.minimum.reduceat(created[order], starts)
    bins = _bins(events, group, count)
    account_hash = np.array([hash64(a) for a in who.accounts], np.uint64)[who.account]
    payment_hash = np.array([hash64(p) if p else 0 for p in who.payments], np.uint64)[who.payment]
    items = _items(events, payment_hash, group, count)
    groups = _groups(events, account_hash, group, count)
    placed = np.flatnonzero(events.cells != NO_CELL)
    coordinates = sort_coordinates(events.coordinates[placed], group[placed], sums[:, Sum.VECTORS])
    stack = SketchStack(
        sums,
        first,
        last,
        created,
        np.diff(bins.bounds),
        bins.keys,
        bins.counts,
        np.diff(items.bounds),
        items.keys,
        items.counts,
        np.diff(groups.bounds),
        groups.keys,
        groups.counts,
        groups.sums,
        coordinates.row_size,
        coordinates.rows,
        coordinates.dense,
        coordinates.moment,
        coordinates.vector_sum,
        coordinates.fourier_sum,
    )
    one = order[starts]
    return Folded(who.accounts, who.payments, who.account[one], who.payment[one], stack)


def _factorise(values: NDArray[np.object_]) -> tuple[list[str], NDArray[np.int64]]:
    """Distinct strings in order of appearance, and the index of each value among them."""
    codes: dict[str, int] = {}
    index = np.fromiter(
        (codes.setdefault(value, len(codes)) for value in values), np.int64, len(values)
    )
    return list(codes), index


def _sums(events: Events) -> Int64:
    out = np.zeros((len(events), len(Sum)), np.int64)
    out[:, Sum.EVENTS] = 1
    out[:, Sum.VECTORS] = events.cells != NO_CELL
    out[:, Sum.INPUT_TOKENS] = events.input_tokens
    out[:, Sum.OUTPUT_TOKENS] = events.output_tokens
    out[:, Sum.REASONING_TOKENS] = events.reasoning_tokens
    limit = events.max_output_tokens
    out[:, Sum.SATURATED] = (limit > 0) & (events.output_tokens >= limit)
    out[:, Sum.COST_MICROUSD] = events.cost_microusd
    blocked = (events.status == 403) | (events.status == 429)
    out[:, Sum.BLOCKED] = blocked
    out[:, Sum.TOOL_REQUESTS] = events.tools > 0
    out[:, Sum.STRUCTURED] = events.structured
    out[:, Sum.CODE] = events.code
    out[:, Sum.CONTINUED] = (events.turn > 0) & (events.conversation > 0)
    out[:, Sum.PROMPT_CHARS] = events.prompt_chars
    out[:, Sum.WITH_OUTPUT] = events.output_tokens > 0
    out[:, Sum.WITH_CONVERSATION] = events.conversation > 0
    out[:, Sum.NEARNESS] = events.nearness
    return out


class _Bins(NamedTuple):
    keys: NDArray[np.uint16]
    counts: Int64
    bounds: NDArray[np.intp]


def _bucket(hashes: NDArray[np.uint64], start: Bins, size: int) -> Int64:
    bucket = (hashes >> np.uint64(40)).astype(np.int64) % size + int(start)
    return np.where(hashes > 0, bucket, _NO_BIN)


def _octave(tokens: Int64, start: Bins) -> Int64:
    octave = np.minimum(np.log2(np.maximum(tokens, 1)).astype(np.int64), 23) + int(start)
    return np.where(tokens > 0, octave, _NO_BIN)


def _trail(events: Events) -> Int64:
    day = events.time_ms // layout.DAY_MS % layout.TRAIL_DAYS
    topics = layout.TRAIL_TOPICS
    topic = np.where(events.cells != NO_CELL, events.cells % (topics - 1), topics - 1)
    return day * topics + topic + int(Bins.TRAIL)


def _label(labels: NDArray[np.int8], start: Bins) -> Int64:
    return np.where(labels >= 0, labels.astype(np.int64) + int(start), _NO_BIN)


def _bins(events: Events, group: NDArray[np.intp], count: int) -> _Bins:
    hour = ((events.time_ms - _MONDAY_MS) // layout.HOUR_MS) % 168 + int(Bins.HOUR_OF_WEEK)
    columns = np.stack(
        [
            np.where(events.cells != NO_CELL, events.cells.astype(np.int64), _NO_BIN),
            hour,
            _bucket(events.prefix_scaffold, Bins.PREFIX_SCAFFOLD, 256),
            _bucket(events.suffix_scaffold, Bins.SUFFIX_SCAFFOLD, 256),
            _octave(events.input_tokens, Bins.INPUT_SIZE),
            _trail(events),
            _label(events.capability, Bins.CAPABILITY),
            _label(events.intent, Bins.INTENT),
            _label(events.known, Bins.KNOWN),
        ]
    )
    packed = (columns + group * int(Bins.END))[columns != _NO_BIN]
    keys, counts = np.unique(packed, return_counts=True)
    bounds = np.searchsorted(keys, np.arange(count + 1) * int(Bins.END))
    return _Bins(
        (keys % int(Bins.END)).astype(np.uint16),
        counts.astype(np.int64),
        bounds,
    )


class _Items(NamedTuple):
    keys: NDArray[np.uint64]
    counts: Int64
    bounds: NDArray[np.intp]


def _mix(values: NDArray[np.int64], salt: int) -> NDArray[np.uint64]:
    """Spreads integers over 64 bits (Steele et al., "SplitMix", OOPSLA 2014); never zero."""
    with np.errstate(over="ignore"):
        mixed = values.astype(np.uint64) + np.uint64(salt) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)


def _minute_hashes(minutes: NDArray[np.int64]) -> NDArray[np.uint64]:
    return _mix(minutes, 1)


def minute_items(minutes: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Minutes since 1970 as `CoverageSketch.items` has them, uint64 of the same shape."""
    return _minute_hashes(minutes) >> np.uint64(8)


def _hash_strings(values: NDArray[np.object_]) -> NDArray[np.uint64]:
    names, index = _factorise(values)
    return np.array([hash64(name) if name else 0 for name in names], np.uint64)[index]


def _items(
    events: Events,
    payment: NDArray[np.uint64],
    group: NDArray[np.intp],
    count: int,
) -> _Items:
    columns = {
        Items.PAYMENT: payment,
        Items.NETWORK: events.network,
        Items.CLIENT: events.client,
        Items.PREFIX_SCAFFOLD: events.prefix_scaffold,
        Items.SUFFIX_SCAFFOLD: events.suffix_scaffold,
        Items.SYSTEM_PROMPT: events.system_prompt,
        Items.PROMPT: events.prompt,
        Items.MINUTE: _minute_hashes(events.time_ms // layout.MINUTE_MS),
        Items.HOUR: _mix(events.time_ms // layout.HOUR_MS, 2),
        Items.MODEL: events.model,
        Items.CREDENTIAL: events.credential,
        Items.ORGANIZATION: events.organization,
        Items.PEER: _hash_strings(events.peer),
        Items.OPENING_SENTENCE: events.opening,
        Items.CLOSING_SENTENCE: events.closing,
    }
    present = [(kind, hashes, np.flatnonzero(hashes)) for kind, hashes in columns.items()]
    keys = np.concatenate(
        [(hashes[at] >> np.uint64(8)) | np.uint64(int(kind) << 56) for kind, hashes, at in present]
    )
    owner = np.concatenate([group[at] for _, _, at in present])
    order = np.lexsort((keys, owner))
    keys, owner = keys[order], owner[order]
    fresh = np.concatenate([[True], (keys[1:] != keys[:-1]) | (owner[1:] != owner[:-1])])
    starts = np.flatnonzero(fresh)
    counts = np.diff(np.append(starts, len(keys)))
    keys, owner = keys[starts], owner[starts]

    # Rank of each key within its (group, set); both sorts above leave these runs contiguous.
    run = owner * len(Items) + (keys >> layout.HASH_BITS).astype(np.int64)
    edge = np.flatnonzero(np.concatenate([[True], run[1:] != run[:-1]]))
    rank = np.arange(len(run)) - np.repeat(edge, np.diff(np.append(edge, len(run))))
    kept = rank < layout.CAPACITY[run % len(Items)]
    keys, owner, counts = keys[kept], owner[kept], counts[kept]
    bounds = np.searchsorted(owner, np.arange(count + 1))
    return _Items(keys, counts.astype(np.int64), bounds)


class _Groups(NamedTuple):
    keys: NDArray[np.uint64]
    counts: Int64
    sums: Int64
    bounds: NDArray[np.intp]


def _groups(
    events: Events, account: NDArray[np.uint64], group: NDArray[np.intp], count: int
) -> _Groups:
    """Sums of coordinates per conversation, or per account and ten minutes where none is named."""
    at = np.flatnonzero(events.cells != NO_CELL)
    if not len(at):
        none = np.zeros(count + 1, np.intp)
        return _Groups(np.empty(0, np.uint64), _EMPTY, np.empty((0, AXES), np.int64), none)
    slot = events.time_ms[at] // layout.GROUP_SLOT_MS
    stand_in = _mix((account[at] ^ slot.astype(np.uint64)).view(np.int64), 3)
    keys = np.where(events.conversation[at] > 0, events.conversation[at], stand_in)
    owner = group[at]
    order = np.lexsort((keys, owner))
    keys, owner = keys[order], owner[order]
    fresh = np.concatenate([[True], (keys[1:] != keys[:-1]) | (owner[1:] != owner[:-1])])
    starts = np.flatnonzero(fresh)
    counts = np.diff(np.append(starts, len(keys)))
    sums = np.add.reduceat(events.coordinates[at[order]].astype(np.int64), starts, axis=0)
    keys, owner = keys[starts], owner[starts]
    edge = np.searchsorted(owner, np.arange(count + 1))
    kept = np.arange(len(owner)) - edge[owner] < layout.GROUPS
    keys, owner, counts, sums = keys[kept], owner[kept], counts[kept], sums[kept]
    bounds = np.searchsorted(owner, np.arange(count + 1))
    return _Groups(keys, counts.astype(np.int64), sums, bounds)
