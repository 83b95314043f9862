"""Sessions of input that ends, cut for thousands of keys at once.

Partial sketches travel in shards: a block of sketches in columns with the name of each one's
session key. When everything is there, a shard is sorted by key and time, cut where a key pauses,
and merged, without a step of Python for a single sketch.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np
import orjson
from numpy.typing import NDArray

from transforms.coverage.fold import Partial
from transforms.coverage.sketch import CoverageSketch
from transforms.coverage.stack import SketchStack, decode_stack, encode_stack, merge_groups
from transforms.sessions.identity import ACCOUNT, PAYMENT, SessionKey

# A block of time has this many shards: enough to spread over workers, few enough to be large.
_SHARDS = 16
_LENGTH = struct.Struct("<I")


class Keyed(NamedTuple):
    """A session, or a part of one, and its key."""

    key: SessionKey
    sketch: CoverageSketch


def keyed(partials: Iterable[Partial], max_length_ms: int) -> Iterator[Keyed]:
    """Each partial sketch under its account's key and under its payment fingerprint's."""
    for account, payment, sketch in partials:
        block = sketch.first_ms // max_length_ms
        for kind, key in ((ACCOUNT, account), (PAYMENT, payment)):
            if key:
                yield Keyed(SessionKey(kind, block, key), sketch)


def pack(partials: Iterable[Partial], max_length_ms: int) -> Iterator[tuple[int, bytes]]:
    """Shards, by number, of partial sketches, each under its account and its payment fingerprint.

    A session's partial sketches are all in shards of one number.

    Args:
      partials: any.
      max_length_ms: blocks of this length end a session; see `SessionKey`.
    """
    names: dict[int, list[str]] = defaultdict(list)
    sketches: dict[int, list[CoverageSketch]] = defaultdict(list)
    for key, sketch in keyed(partials, max_length_ms):
        number = key.block * _SHARDS + crc32(key.key.encode("utf-8", "replace")) % _SHARDS
        names[number].append(key.encode())
        sketches[number].append(sketch)
    for number, several in names.items():
        text = orjson.dumps(several)
        stack = encode_stack(SketchStack.of(sketches[number]))
        yield number, _LENGTH.pack(len(text)) + text + stack


def cut(shards: Iterable[bytes], gap_ms: int) -> Iterator[Keyed]:
    """Sessions of all shards of one number.

    Args:
      shards: what `pack` made.
      gap_ms: a pause this long ends a session.
    """
    names: list[str] = []
    stacks: list[SketchStack] = []
    for data in shards:
        (size,) = _LENGTH.unpack_from(data)
        stop = _LENGTH.size + size
        names += orjson.loads(data[_LENGTH.size : stop])
        stacks.append(decode_stack(data[stop:]))
    return cut_stack(names, SketchStack.concat(stacks), gap_ms)


def cut_stack(names: Sequence[str], stack: SketchStack, gap_ms: int) -> Iterator[Keyed]:
    """Sessions of partial sketches.

    Args:
      names: encoded `SessionKey` of each sketch.
      stack: the sketches, at least one.
      gap_ms: a pause this long ends a session.
    """
    keys, session, count = _sessions(names, stack, gap_ms)
    merged = merge_groups(stack, session, count)
    for name, sketch in zip(keys, merged.sketches(), strict=True):
        yield Keyed(SessionKey.decode(name), sketch)


def _sessions(
    names: Sequence[str], stack: SketchStack, gap_ms: int
) -> tuple[list[str], NDArray[np.int64], int]:
    """The key of each session, the session of each sketch, and how many sessions there are."""
    codes: dict[str, int] = {}
    code = np.fromiter((codes.setdefault(n, len(codes)) for n in names), np.int64, len(names))
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
    listed = list(codes)
    return [listed[i] for i in code[fresh]], session, int(fresh.sum())
