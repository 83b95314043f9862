"""What a stream keeps of many names under one key of the runner.

A runner serves state key by key: to read, to write and to wake up a key are requests of their own,
each of which costs more than what is done with it. So names share keys, their shards, and one
request serves all of them. The state of a shard is a log in a bag: what changed is added, and of
several entries of a name the newest counts. When more than half of the log is out of date, it is
written anew, so that an entry is written two or three times, however long the shard lives.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from zlib import crc32

import numpy as np
import orjson

SHARDS = 32

Name = str | int
Entry = tuple[Name, bytes]

_HEAD = struct.Struct("<QI")  # sequence number, bytes of names
_CHUNK = 1 << 20  # bytes of entries in one element of a bag
_OVERHEAD = 7  # bytes of an entry beside its name and its data, when many are in a piece
_SLACK = 1 << 16  # bytes: a smaller log is not worth writing anew


def shard_of(name: Name, shards: int) -> int:
    """The shard of a name, of so many; the same on every machine."""
    return crc32(str(name).encode()) % shards


def pack(entries: Iterable[Entry], sequence: int = 0) -> Iterator[bytes]:
    """Entries in pieces of about a megabyte."""
    some: list[Entry] = []
    size = 0
    for entry in entries:
        some.append(entry)
        size += len(entry[1])
        if size >= _CHUNK:
            yield _packed(some, sequence)
            some, size = [], 0
    if some:
        yield _packed(some, sequence)


def _packed(entries: list[Entry], sequence: int) -> bytes:
    names = orjson.dumps([name for name, _ in entries])
    sizes = np.array([len(data) for _, data in entries], "<u4").tobytes()
    head = _HEAD.pack(sequence, len(names))
    return b"".join((head, names, sizes, *(data for _, data in entries)))


def unpack(piece: bytes) -> Iterator[Entry]:
    """What `pack` made a piece of, in order."""
    _, found = _opened(piece)
    for name, start, stop in found:
        yield name, piece[start:stop]


def _opened(piece: bytes) -> tuple[int, Iterator[tuple[Name, int, int]]]:
    """The sequence number, and of each entry its name and where it starts and stops."""
    sequence, length = _HEAD.unpack_from(piece)
    at = _HEAD.size + length
    names = orjson.loads(piece[_HEAD.size : at])
    sizes = np.frombuffer(piece, "<u4", len(names), at).astype(np.int64)
    stops = at + 4 * len(names) + np.cumsum(sizes)
    return sequence, zip(names, (stops - sizes).tolist(), stops.tolist(), strict=True)


class ShardLog:
    """The newest entry of each name of a shard."""

    def __init__(self, bag: Any) -> None:
        """Reads the log from a bag of state."""
        self._bag = bag
        self._at: dict[Name, tuple[bytes, int, int]] = {}
        self._size = 0
        self._next = 0
        # A bag has no order.
        pieces = [(*_opened(piece), piece) for piece in bag.read()]
        for sequence, found, piece in sorted(pieces, key=lambda opened: opened[0]):
            self._size += len(piece)
            self._next = sequence + 1
            for name, start, stop in found:
                self._put(name, piece, start, stop)

    def _put(self, name: Name, piece: bytes, start: int, stop: int) -> None:
        if start < stop:
            self._at[name] = piece, start, stop
        else:
            self._at.pop(name, None)

    def __iter__(self) -> Iterator[Name]:
        return iter(self._at)

    def get(self, name: Name) -> bytes:
        """The entry of a name; empty if it has none."""
        piece, start, stop = self._at.get(name, (b"", 0, 0))
        return piece[start:stop]

    def update(self, changed: Mapping[Name, bytes]) -> None:
        """Writes entries anew; an empty one removes its name."""
        if not changed:
            return
        for name, data in changed.items():
            self._put(name, data, 0, len(data))
        written = [*pack(changed.items(), self._next)]
        live = sum(
            len(str(n)) + _OVERHEAD + stop - start for n, (_, start, stop) in self._at.items()
        )
        if not live or self._size + sum(map(len, written)) > 2 * live + _SLACK:
            self._bag.clear()
            written = [*pack(((name, self.get(name)) for name in self._at), self._next)]
            self._size = 0
        for piece in written:
            self._bag.add(piece)
            self._size += len(piece)
        self._next += 1
