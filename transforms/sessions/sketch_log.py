"""Named sketches under one key of the runner, its shard: in columns, and kept as a log.

A runner serves state key by key: to read, to write and to wake up a key are requests of their own,
each of which costs more than what is done with it. So accounts share keys, and one request serves
all of them. State is a bag of pieces. What changed is added, and the newest piece that names an
account has all that counts of it; when most rows are out of date, the log is written anew, so that
a row is written two or three times, however long the shard lives. Only rows that somebody asks for
are decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from transforms.coverage.sketch import Int64
from transforms.coverage.stack import decode_stack, encode_stack
from transforms.sessions.shard_log import shard_of
from transforms.sessions.shards import Named

Flags = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_HEAD = struct.Struct("<QII")  # sequence number, bytes of names, rows
_SLACK = 256  # rows: a smaller log is not worth writing anew
_CHUNK = 500  # rows in an element of a log; if all have the most that a sketch can, 28 MB


class Rows(NamedTuple):
    """n sketches, at least one, their names, of which several may be the same, and flags."""

    named: Named
    flags: Flags

    def take(self, index: NDArray[np.intp]) -> Rows:
        """Those at `index`, at least one, in that order."""
        return Rows(self.named.take(index), self.flags[index])

    @classmethod
    def concat(cls, several: Sequence[Rows]) -> Rows:
        """All of several, at least one, in order."""
        flags = np.concatenate([one.flags for one in several])
        return cls(Named.concat([one.named for one in several]), flags)


class _Piece(NamedTuple):
    """An element of a bag; `gone` are names that have no rows any more."""

    sequence: int
    names: list[str]
    gone: list[str]
    flags: Flags
    last_ms: Int64
    sketches: memoryview

    @classmethod
    def decode(cls, data: bytes) -> _Piece:
        sequence, length, count = _HEAD.unpack_from(data)
        at = _HEAD.size + length
        names, gone = orjson.loads(data[_HEAD.size : at])
        flags = np.frombuffer(data, np.uint8, count, at)
        last_ms = np.frombuffer(data, "<i8", count, at + count)
        return cls(sequence, names, gone, flags, last_ms, memoryview(data)[at + 9 * count :])

    def rows(self, index: NDArray[np.intp] | None = None) -> Rows:
        stack = decode_stack(self.sketches, index)
        if index is None:
            return Rows(Named(self.names, stack), self.flags)
        return Rows(Named([self.names[i] for i in index], stack), self.flags[index])


def encode_rows(rows: Rows, sequence: int = 0) -> bytes:
    """An element of a bag."""
    names, stack = rows.named
    text = orjson.dumps([names, []])
    head = _HEAD.pack(sequence, len(text), len(names))
    last_ms = stack.last_ms.astype("<i8").tobytes()
    return b"".join((head, text, rows.flags.tobytes(), last_ms, encode_stack(stack)))


def last_ms_in(data: bytes) -> Int64:
    """Times of the last events of an element's rows: int64 of shape (n,)."""
    return _Piece.decode(data).last_ms


def all_rows(bag: Any) -> Rows | None:
    """All rows of a bag that is no log; None if there are none."""
    found = [_Piece.decode(data).rows() for data in bag.read()]
    return Rows.concat(found) if found else None


def rows_of(rows: Rows | None, names: Iterable[str], others: bool = False) -> Rows | None:
    """The rows of some names, or those of all others; None if there are none."""
    if rows is None:
        return None
    wanted = set(names)
    mask = np.array([(name in wanted) != others for name in rows.named.names])
    return rows.take(np.flatnonzero(mask)) if mask.any() else None


class SketchLog:
    """The rows of a shard that count."""

    def __init__(self, bag: Any) -> None:
        """Reads the log from a bag of state."""
        self._bag = bag
        # A bag has no order.
        self._pieces = sorted(map(_Piece.decode, bag.read()), key=lambda piece: piece.sequence)
        self._newest: dict[str, int] = {}
        for piece in self._pieces:
            self._newest |= dict.fromkeys((*piece.names, *piece.gone), piece.sequence)

    def names_where(self, wanted: Callable[[Flags, Int64], Mask]) -> list[str]:
        """Names of rows whose flags and time of the last event are as wanted."""
        found: list[str] = []
        for piece in self._pieces:
            index = np.flatnonzero(wanted(piece.flags, piece.last_ms))
            found += [name for name in map(piece.names.__getitem__, index) if self._in(piece, name)]
        return list(dict.fromkeys(found))

    def _in(self, piece: _Piece, name: str) -> bool:
        return self._newest[name] == piece.sequence

    def take(self, names: Collection[str]) -> Rows | None:
        """All rows of some names; None if there are none."""
        found = [*self._rows(names)]
        return Rows.concat(found) if found else None

    def _rows(self, names: Collection[str] | None) -> Iterator[Rows]:
        for piece in self._pieces:
            yield from self._rows_in(piece, names)

    def _rows_in(self, piece: _Piece, names: Collection[str] | None) -> Iterator[Rows]:
        index = [
            i
            for i, name in enumerate(piece.names)
            if (names is None or name in names) and self._in(piece, name)
        ]
        if index:
            yield piece.rows(np.array(index))

    def update(self, names: Sequence[str], rows: Rows | None) -> None:
        """Says anew what there is of some names, and writes it.

        Args:
          names: all that have changed.
          rows: all that there is of these; None: nothing.
        """
        sequence = self._pieces[-1].sequence + 1 if self._pieces else 0
        there = set() if rows is None else set(rows.named.names)
        gone = [name for name in names if name not in there and name in self._newest]
        self._newest |= dict.fromkeys((*there, *gone), sequence)
        live = sum(self._in(p, name) for p in self._pieces for name in p.names)
        before = sum(len(p.names) + len(p.gone) for p in self._pieces)
        live += len(there)
        changed = [] if rows is None else [rows]
        if live and before + len(there) + len(gone) <= 2 * live + _SLACK:
            self._add(encode_rows(some, sequence) for some in _chunks(changed))
            if gone:
                self._add([_encode_gone(sequence, gone)])
            return
        kept, self._pieces = [*self._pieces], []
        self._bag.clear()
        # What is kept is read as it is written, and before that from the pieces that were there.
        old = (some for piece in kept for some in self._rows_in(piece, None))
        self._add(encode_rows(some, sequence) for some in _chunks(chain(old, changed)))
        self._newest = {name: piece.sequence for piece in self._pieces for name in piece.names}

    def _add(self, elements: Iterable[bytes]) -> None:
        for data in elements:
            self._bag.add(data)
            self._pieces.append(_Piece.decode(data))


def _chunks(several: Iterable[Rows]) -> Iterator[Rows]:
    """All rows again, a chunk of them at a time: decoded, they are several times as large."""
    waiting: list[Rows] = []
    count = 0
    for rows in several:
        for first in range(0, len(rows.flags), _CHUNK):
            waiting.append(rows.take(np.arange(first, min(first + _CHUNK, len(rows.flags)))))
            count += len(waiting[-1].flags)
            if count >= _CHUNK:
                yield Rows.concat(waiting)
                waiting, count = [], 0
    if waiting:
        yield Rows.concat(waiting)


def _encode_gone(sequence: int, gone: Sequence[str]) -> bytes:
    text = orjson.dumps([[], list(gone)])
    return _HEAD.pack(sequence, len(text), 0) + text


def by_shard(named: Named, number: Int64, shards: int) -> Iterator[tuple[int, int, Rows]]:
    """New rows, by a number that they have, and by shard: number, shard, rows.

    Args:
      named: n sketches.
      number: int64 of shape (n,).
      shards: how many there are.
    """
    shard = np.array([shard_of(name, shards) for name in named.names], np.int64)
    both = number * shards + shard
    order = np.argsort(both, kind="stable")
    for index in np.split(order, np.flatnonzero(np.diff(both[order])) + 1):
        first = index[0]
        rows = Rows(named.take(index), np.zeros(len(index), np.uint8))
        yield int(number[first]), int(shard[first]), rows
