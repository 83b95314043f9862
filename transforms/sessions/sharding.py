"""How elements of many names come under the keys of their shards, in Beam."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from transforms.sessions.shard_log import Name, pack, shard_of

Shard = tuple[int, bytes]


class IntoShardsFn(beam.DoFn):  # type: ignore[misc]
    """Gathers what a bundle brings of each shard and window into one element of entries.

    Its time is the earliest of theirs. Whoever derives calls `add` for each, and yields what
    `when_full` has.
    """

    _FULL = 4 << 20  # bytes

    def __init__(self, shards: int) -> None:
        self._shards = shards

    def start_bundle(self) -> None:
        self._waiting: dict[tuple[Any, int], list[tuple[Name, bytes]]] = {}
        self._earliest: dict[tuple[Any, int], int] = {}
        self._size = 0

    def add(self, window: Any, micros: int, name: Name, data: bytes) -> None:
        """Adds an entry at a time in a window."""
        at = window, shard_of(name, self._shards)
        self._waiting.setdefault(at, []).append((name, data))
        self._earliest[at] = min(micros, self._earliest.get(at, micros))
        self._size += len(data)

    def when_full(self) -> Iterator[WindowedValue]:
        """What was gathered, if that is much."""
        if self._size >= self._FULL:
            yield from self._gathered()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from self._gathered()

    def _gathered(self) -> Iterator[WindowedValue]:
        waiting, earliest = self._waiting, self._earliest
        self._waiting, self._earliest, self._size = {}, {}, 0
        for at, entries in waiting.items():
            window, shard = at
            for piece in pack(entries):
                yield WindowedValue((shard, piece), Timestamp(micros=earliest[at]), (window,))
