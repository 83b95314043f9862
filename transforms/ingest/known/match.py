"""How much of a text stands in a collection, and which collection it is from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DistilwatchError
from transforms.ingest.known.bloom import BloomFilter
from transforms.ingest.known.file import About, open_collection
from transforms.ingest.known.shingles import (
    BEGINS,
    ENDS,
    SHINGLE_BYTES,
    Places,
    Shingles,
    Stream,
    chunks,
    mix,
)

Float = NDArray[np.float64]

CONTAINED = 0.8
"""Share of shingles from which a text counts as known.

A changed word spoils the five shingles or so that hold it, so this forgives one in about 25. By
chance a text of m shingles gets there with a probability below the filter's false positives f: at
m ≤ 4 all m must be wrong, fᵐ ≤ f, and at m = 5 four of five, 5 f⁴."""

_FORGIVEN = 4  # shingles of a window that are in for each that is not: CONTAINED
# Bytes, some seven words; a shorter window must be half of the text, because texts so short are
# instructions that many prompts begin with, whatever comes after.
_LEAST_WINDOW = 32
_MOST_CHARS = 20_000


def containment(texts: Sequence[str], bloom: BloomFilter) -> Float:
    """How much of each text is in a filter: float64 of shape (n,).

    That is the share of its shingles, or, where that is below `CONTAINED`, of those in a window
    that begins and ends as a known text does, if it is at least `CONTAINED` there: what stands
    before and after a known text, such as a template, does not hide it.

    Args:
      texts: n texts, of which the first 20,000 characters count.
      bloom: of a collection.
    """
    return _look(texts, [bloom]).contained[:, 0]


@dataclass(frozen=True)
class KnownTexts:
    """Collections in files, in order; opened where they are asked, once in a process.

    Attributes:
      paths: of the files.
      digests: hex SHA-256 of each, as it was when the run was planned.
    """

    paths: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()

    @classmethod
    def open(cls, paths: Sequence[str]) -> KnownTexts:
        """Verifies files.

        Raises:
          DistilwatchError: when one cannot be used.
        """
        return cls(tuple(paths), tuple(open_collection(path).digest for path in paths))

    @property
    def collections(self) -> tuple[About, ...]:
        """What each is."""
        return tuple(open_collection(path).about for path in self.paths)

    def labels(self, texts: Sequence[str | None]) -> NDArray[np.int8]:
        """Which collection each text is from: int8 of shape (n,), −1 for none.

        Where several hold at least `CONTAINED` of it or of a window, the one that holds most of the
        whole text counts, and the first of those that hold the same.

        Raises:
          DistilwatchError: when a file is not what it was when the run was planned.
        """
        if not self.paths or not any(texts):
            return np.full(len(texts), -1, np.int8)
        distinct = list(dict.fromkeys(text for text in texts if text))
        found = _look(distinct, _filters(self))
        known = found.contained >= CONTAINED
        best = np.where(known.any(axis=1), np.where(known, found.whole, -1).argmax(axis=1), -1)
        label: dict[str | None, int] = dict(zip(distinct, best.tolist(), strict=True))
        return np.array([label[text] if text else -1 for text in texts], np.int8)


@lru_cache(maxsize=2)
def _filters(known: KnownTexts) -> list[BloomFilter]:
    """Opened once: what becomes of the files later does not matter to a long run."""
    found = []
    for path, digest in zip(known.paths, known.digests, strict=True):
        collection = open_collection(path)
        if collection.digest != digest:
            raise DistilwatchError(
                "the file of known texts was replaced while it was in use", path, "start again"
            )
        found.append(collection.bloom)
    return found


class _Found(NamedTuple):
    """What filters hold of texts, two arrays of float64 of shape (texts, filters): of the whole
    text, and what `containment` says."""

    whole: Float
    contained: Float


def _look(texts: Sequence[str], filters: Sequence[BloomFilter]) -> _Found:
    parts = [np.empty((2, 0, len(filters)))]
    for chunk in chunks([text[:_MOST_CHARS] for text in texts]):
        stream = Stream(chunk)
        shingles = stream.shingles()
        found = [_look_into(bloom, stream, shingles) for bloom in filters]
        parts.append(np.stack(found, axis=2))
    return _Found(*np.concatenate(parts, axis=1))


def _look_into(bloom: BloomFilter, stream: Stream, shingles: Shingles) -> Float:
    """What one filter holds of n texts: float64 of shape (2, n)."""
    n = len(stream.size)
    within = bloom.has(shingles.hashes)
    count = np.bincount(shingles.owner, minlength=n)
    whole = np.bincount(shingles.owner[within], minlength=n) / np.maximum(count, 1)
    at = np.flatnonzero(within & (whole[shingles.owner] < CONTAINED))
    begins = at[bloom.has(mix(shingles.hashes[at] ^ BEGINS))]
    if not len(begins):
        return np.stack([whole, whole])
    window = _best_window(stream, shingles, within, begins, bloom)
    return np.stack([whole, np.maximum(whole, window)])


def _best_window(
    stream: Stream,
    shingles: Shingles,
    within: NDArray[np.bool_],
    begins: Places,
    bloom: BloomFilter,
) -> Float:
    """Largest share of shingles in a window that counts, for each text; 0 where none does.

    Each shingle that is in adds 1 and each other takes 4, so a window holds enough when its sum is
    not negative. Of the windows that end at one place the longest counts: that begins where the
    running sum first was as low as at its end.

    Args:
      within: bool of shape (s,), whether each shingle is in the filter.
      begins: indices of shingles that begin a known text, ascending.
    """
    n = len(stream.size)
    some = np.zeros(n, bool)
    some[shingles.owner[begins]] = True
    owner, stop = stream.word_ends(some)
    stop_at = stop - SHINGLE_BYTES
    inside = stop_at >= stream.start[owner]
    owner, stop, stop_at = owner[inside], stop[inside], stop_at[inside]
    known = bloom.has(mix(stream.hashes(stop_at) ^ ENDS))
    owner, stop, stop_at = owner[known], stop[known], stop_at[known]

    running = np.concatenate([[0], np.cumsum(np.where(within, 1, -_FORGIVEN))])
    found = np.concatenate([[0], np.cumsum(within)])
    wide = 2 * (_FORGIVEN * len(within) + 1)  # keeps the texts apart in one ascending order
    begin_owner = shingles.owner[begins]
    lowest = np.minimum.accumulate(running[begins] - begin_owner * wide) + begin_owner * wide
    after = np.searchsorted(shingles.place, stop_at, side="right")
    first = np.searchsorted(begin_owner * wide - lowest, owner * wide - running[after])
    there = first < len(begins)
    first = np.minimum(first, len(begins) - 1)
    there &= begin_owner[first] == owner
    begin = begins[first]
    size = stop - shingles.place[begin]
    there &= size >= SHINGLE_BYTES
    there &= (size >= _LEAST_WINDOW) | (2 * size >= stream.size[owner])
    held = after[there] - begin[there]
    share = (found[after[there]] - found[begin[there]]) / held
    best = np.zeros(n)
    np.maximum.at(best, owner[there], share)
    return best
