"""Sessions and profiles made for thousands of keys at once, in columns.

For input that ends, partial sketches travel in shards: a block of sketches in columns with the name
of each one's key. When everything is there, a shard is sorted by key and time, cut where a key
pauses, and merged, without a step of Python for a single sketch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np
import orjson
from numpy.typing import NDArray

from transforms.coverage.fold import Folded, Partial
from transforms.coverage.merging import merge_groups
from transforms.coverage.sketch import CoverageSketch, Int64
from transforms.coverage.stack import SketchStack, decode_stack, encode_stack
from transforms.sessions.identity import ACCOUNT, PAYMENT, SessionKey

# A block of time has this many shards: enough to spread over workers, few enough to be large.
_SHARDS = 16
_LENGTH = struct.Struct("<I")


class Keyed(NamedTuple):
    """A session, or a part of one, and its key."""

    key: SessionKey
    sketch: CoverageSketch


class Named(NamedTuple):
    """n sketches, at least one, and the name of each one's key."""

    names: list[str]
    stack: SketchStack

    def take(self, index: NDArray[np.intp] | Int64) -> Named:
        """Those at `index`, in that order."""
        return Named([self.names[i] for i in index], self.stack.take(index))

    @classmethod
    def concat(cls, several: Sequence[Named]) -> Named:
        """All of several, at least one, in order."""
        names = [name for one in several for name in one.names]
        return cls(names, SketchStack.concat([one.stack for one in several]))


def keyed(partials: Iterable[Partial], max_length_ms: int) -> Iterator[Keyed]:
    """Each partial sketch under its account's key and under its payment fingerprint's."""
    for account, payment, sketch in partials:
        block = sketch.first_ms // max_length_ms
        for kind, key in ((ACCOUNT, account), (PAYMENT, payment)):
            if key:
                yield Keyed(SessionKey(kind, block, key), sketch)


def pack(folded: Folded, max_length_ms: int) -> Iterator[tuple[int, bytes]]:
    """Shards, by number, of partial sketches, each under its account and its payment fingerprint.

    A session's partial sketches are all in shards of one number.

    Args:
      folded: the partial sketches.
      max_length_ms: blocks of this length end a session; see `SessionKey`.
    """
    at, number, names = _under_keys(folded, max_length_ms)
    yield from _shards(folded.stack, at, number, names)


def keyed_together(folded: Folded, max_length_ms: int) -> Named:
    """`keyed` of all partial sketches, in columns: first those of accounts, under encoded
    `SessionKey`s."""
    at, _, names = _under_keys(folded, max_length_ms)
    return Named(names, folded.stack.take(at))


def _under_keys(folded: Folded, max_length_ms: int) -> tuple[NDArray[np.intp], Int64, list[str]]:
    """Which sketch each is, the number of its shard, and the name of its key."""
    block = folded.stack.first_ms // max_length_ms
    kinds = ((ACCOUNT, folded.accounts, folded.account), (PAYMENT, folded.payments, folded.payment))
    at, number, names = [], [], []
    for kind, keys, key in kinds:
        used = np.flatnonzero(np.array([bool(k) for k in keys])[key])
        at.append(used)
        number.append(block[used] * _SHARDS + _spread(keys)[key[used]])
        names += [
            SessionKey(kind, b, keys[k]).encode()
            for b, k in zip(block[used].tolist(), key[used].tolist(), strict=True)
        ]
    return np.concatenate(at), np.concatenate(number), names


def cut(shards: Iterable[bytes], gap_ms: int) -> Named:
    """Sessions of all shards of one number, each under its encoded `SessionKey`.

    Args:
      shards: what `pack` made, at least one.
      gap_ms: a pause this long ends a session.
    """
    return cut_stack(_opened(shards), gap_ms)


def cut_stack(parts: Named, gap_ms: int) -> Named:
    """Sessions of partial sketches.

    Args:
      parts: under encoded `SessionKey`s.
      gap_ms: a pause this long ends a session.
    """
    return merge_sessions(parts, gap_ms)[0]


def merge_sessions(parts: Named, gap_ms: int) -> tuple[Named, Int64]:
    """`cut_stack`, and the session of each part: int64 of shape (n,)."""
    keys, session, count = _sessions(parts.names, parts.stack, gap_ms)
    return Named(keys, merge_groups(parts.stack, session, count)), session


def pack_accounts(sessions: Named, window_ms: int) -> Iterator[tuple[int, bytes]]:
    """Shards, by number, of what each account did in an aligned window.

    Sessions that meet here are merged before they travel. All of a window's sketches of an account
    are in shards of one number, and `window_of` says which window a number is of.

    Args:
      sessions: under encoded `SessionKey`s; those of payment fingerprints do not count.
      window_ms: length of the windows, a multiple of the blocks that end a session.
    """
    keys = [SessionKey.decode(name) for name in sessions.names]
    at = np.flatnonzero([key.kind == ACCOUNT for key in keys])
    if not len(at):
        return
    accounts, account = codes([keys[i].key for i in at.tolist()])
    merged, window = by_account_and_window(accounts, account, sessions.stack.take(at), window_ms)
    number = window * _SHARDS + _spread(merged.names)
    yield from _shards(merged.stack, np.arange(len(number)), number, merged.names)


def by_account_and_window(
    accounts: Sequence[str], account: Int64, stack: SketchStack, window_ms: int
) -> tuple[Named, Int64]:
    """What each account did in each aligned window, and the number of the window, counted from
    1970: int64.

    Args:
      accounts: distinct names.
      account: int64 of shape (n,), the place of each sketch's name among them.
      stack: n sketches, each within one window.
      window_ms: length of the windows.
    """
    pairs = np.stack([stack.first_ms // window_ms, account], axis=1)
    both, group = np.unique(pairs, axis=0, return_inverse=True)
    merged = merge_groups(stack, group.reshape(-1), len(both))
    return Named([accounts[i] for i in both[:, 1].tolist()], merged), both[:, 0]


def window_of(number: int) -> int:
    """The window, counted from 1970, that a number of `pack_accounts` belongs to."""
    return number // _SHARDS


def merge_accounts(shards: Iterable[bytes]) -> Named:
    """What each account did, of all shards of one number, at least one; each account once."""
    parts = _opened(shards)
    names, code = codes(parts.names)
    return Named(names, merge_groups(parts.stack, code, len(names)))


def _spread(keys: Sequence[str]) -> Int64:
    return np.array([crc32(key.encode("utf-8", "replace")) % _SHARDS for key in keys], np.int64)


def _shards(
    stack: SketchStack, at: NDArray[np.intp], number: Int64, names: Sequence[str]
) -> Iterator[tuple[int, bytes]]:
    """The sketches at `at`, with their names, as one shard for each number."""
    order = np.argsort(number, kind="stable")
    bounds = np.flatnonzero(np.diff(number[order])) + 1
    for some in np.split(order, bounds):
        text = orjson.dumps([names[i] for i in some])
        data = encode_stack(stack.take(at[some]))
        yield int(number[some[0]]), _LENGTH.pack(len(text)) + text + data


def _opened(shards: Iterable[bytes]) -> Named:
    found = []
    for data in shards:
        (size,) = _LENGTH.unpack_from(data)
        stop = _LENGTH.size + size
        found.append(Named(orjson.loads(data[_LENGTH.size : stop]), decode_stack(data[stop:])))
    return Named.concat(found)


def codes(names: Sequence[str]) -> tuple[list[str], Int64]:
    """Distinct names in order of appearance, and the place of each name among them."""
    codes: dict[str, int] = {}
    code = np.fromiter((codes.setdefault(n, len(codes)) for n in names), np.int64, len(names))
    return list(codes), code


def _sessions(
    names: Sequence[str], stack: SketchStack, gap_ms: int
) -> tuple[list[str], NDArray[np.int64], int]:
    """The key of each session, the session of each sketch, and how many sessions there are."""
    listed, code = codes(names)
    order = np.lexsort((stack.first_ms, code))
    code, first = code[order], stack.first_ms[order]
    # Latest end so far of each key: adding more than the whole span for each key keeps them apart.
    base = int(first.min())
    last = stack.last_ms[order] - base
    lift = code * (int(last.max()) + 1)
    latest = np.maximum.accumulate(last + lift) - lift
    fresh = np.ones(len(code), bool)
    fresh[1:] = (code[1:] != code[:-1]) | (first[1:] - base >= latest[:-1] + gap_ms)
    session = np.empty(len(code), np.int64)
    session[order] = np.cumsum(fresh) - 1
    return [listed[i] for i in code[fresh]], session, int(fresh.sum())
