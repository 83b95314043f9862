"""Makes a collection of known texts from texts, in any order and with any repeats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transforms.ingest.known.bloom import bloom_filter
from transforms.ingest.known.file import About, Collection, Kind
from transforms.ingest.known.shingles import BEGINS, ENDS, LEAST_BYTES, Hashes, Stream, chunks, mix

_WAITING = 1 << 22  # hashes that are gathered before repeats are thrown out


class Builder:
    """Gathers the shingles of texts; the same texts make the same collection.

    Attributes:
      too_short: texts that say too little to be known by, repeats counted.
    """

    def __init__(self) -> None:
        self.too_short = 0
        self._shingles = _Distinct()
        self._texts = _Distinct()

    def add(self, texts: Sequence[str]) -> None:
        """Adds texts."""
        for chunk in chunks(texts):
            stream = Stream(chunk)
            self.too_short += int((stream.size < LEAST_BYTES).sum())
            shingles = stream.shingles()
            if not len(shingles.owner):
                continue
            first = np.flatnonzero(np.diff(shingles.owner, prepend=-1))
            last = np.append(first[1:], len(shingles.owner)) - 1
            hashes = shingles.hashes
            self._shingles.add(hashes)
            self._shingles.add(mix(hashes[first] ^ BEGINS))
            self._shingles.add(mix(hashes[last] ^ ENDS))
            with np.errstate(over="ignore"):
                self._texts.add(np.add.reduceat(mix(hashes), first))

    def finish(self, name: str, kind: Kind, false_positives: float) -> Collection:
        """The collection of all texts.

        Args:
          name: for people.
          kind: what it is a collection of.
          false_positives: share of shingles of other texts that are taken for known, in (0, 1).

        Raises:
          ValueError: when it would need more than half a gigabyte.
        """
        entries = self._shingles.values()
        bloom = bloom_filter(entries, false_positives)
        about = About(
            name=name,
            kind=kind,
            texts=len(self._texts.values()),
            entries=len(entries),
            false_positives=false_positives,
            bits=bloom.size,
            probes=bloom.probes,
        )
        return Collection(about, bloom)


class _Distinct:
    """Distinct hashes of any number, without keeping all repeats."""

    def __init__(self) -> None:
        self._kept: Hashes = np.empty(0, np.uint64)
        self._waiting: list[Hashes] = []
        self._count = 0

    def add(self, hashes: Hashes) -> None:
        self._waiting.append(hashes)
        self._count += len(hashes)
        if self._count > max(_WAITING, len(self._kept)):
            self.values()

    def values(self) -> Hashes:
        """Ascending."""
        if self._waiting:
            self._kept = np.unique(np.concatenate([self._kept, *self._waiting]))
            self._waiting, self._count = [], 0
        return self._kept
