"""Shingles of texts: what is hashed, of a whole batch at once.

A text is normalised (Unicode NFKC, case folded) to its letters, digits and combining marks; blanks
and punctuation only end words. A shingle is the next `SHINGLE_BYTES` of UTF-8 from the beginning of
a word on, whatever words they are in: about five words of English. A character of a script that
does not separate words counts as a word, so a shingle of Chinese is eight characters. The last
bytes of a text are a shingle, too, and a shorter text is one shingle. Containment of shingles is
Broder's ("On the resemblance and containment of documents", 1997).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple
from unicodedata import category, normalize

import numpy as np
from numpy.typing import NDArray

SHINGLE_BYTES = 24  # three words of 64 bits, so that hashing one needs no loop over its bytes
LEAST_BYTES = 12  # what is shorter, everybody asks: "continue", "thank you"
NORMAL_FORM = "NFKC, case folded, letters, digits and combining marks"

BEGINS, ENDS = np.uint64(0x5851F42D4C957F2D), np.uint64(0x14057B7EF767814F)
"""Marks: a text's first and last shingle are kept a second time under these."""

_CHUNK_CHARS = 1 << 17  # keeps the arrays of a chunk inside the cache
_ASSIGNED = 0x40000  # beyond lie no letters and no digits
_KEPT, _ALONE = 1, 2
_NO_BLANKS = (  # scripts that do not separate words: Thai to Myanmar, Khmer, Chinese and Japanese
    (0x0E00, 0x109F), (0x1780, 0x17FF), (0x2E80, 0xA4CF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


class Shingles(NamedTuple):
    """Shingles of n texts, in order of place; a text's place in the stream ascends with it.

    Attributes:
      owner: int64 of shape (s,), the text of each.
      place: int64 of shape (s,), its first byte in the stream.
      hashes: uint64 of shape (s,).
    """

    owner: Places
    place: Places
    hashes: Hashes


class Stream:
    """n normalised texts end to end in UTF-8, zeros after each.

    Attributes:
      start: int64 of shape (n,), where each begins.
      size: int64 of shape (n,), its bytes without the zeros.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        chars = [_normal(text) for text in texts]
        joined = "".join(text + "\0" for text in chars)
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")
        owner = np.repeat(np.arange(len(texts)), [len(text) + 1 for text in chars])
        kinds = _kinds().take(codes, mode="clip")
        kept = (kinds & _KEPT) != 0
        begins = kept & ((kinds & _ALONE) != 0)
        begins[1:] |= kept[1:] & (~kept[:-1] | ((kinds[:-1] & _ALONE) != 0))
        begins[:1] |= kept[:1]

        shown, owner, begins = codes[kept], owner[kept], begins[kept]
        length = 1 + (shown > 0x7F) + (shown > 0x7FF) + (shown > 0xFFFF).astype(np.int64)
        self.size = np.bincount(owner, weights=length, minlength=len(texts)).astype(np.int64)
        taken = self.size + SHINGLE_BYTES
        self.start = np.cumsum(taken) - taken
        place = np.cumsum(length) - length + owner * SHINGLE_BYTES
        raw = np.frombuffer(shown.tobytes().decode("utf-32-le").encode(), np.uint8)
        room = int(taken.sum())
        self._bytes = np.zeros(room, np.uint8)
        self._bytes[np.arange(len(raw)) + np.repeat(owner, length) * SHINGLE_BYTES] = raw
        # A view of the 64 bits from each byte on; reading them needs no alignment.
        self._words = np.ndarray((max(room - 7, 0),), "<u8", self._bytes, strides=(1,))
        self._word, self._word_owner = place[begins], owner[begins]

    @property
    def last(self) -> Places:
        """Where the last shingle of each text begins, int64 of shape (n,)."""
        return self.start + np.maximum(self.size - SHINGLE_BYTES, 0)

    def shingles(self) -> Shingles:
        """All shingles; none of texts that are too short to say anything."""
        inner = self._word <= self.last[self._word_owner]
        texts = np.arange(len(self.start))
        place = np.concatenate([self._word[inner], self.last])
        owner = np.concatenate([self._word_owner[inner], texts])
        says = self.size[owner] >= LEAST_BYTES
        place, first = np.unique(place[says], return_index=True)
        return Shingles(owner[says][first], place, self.hashes(place))

    def hashes(self, places: Places) -> Hashes:
        """Hashes of the shingles that begin at some places: uint64 of their shape."""
        hashed = mix(self._words[places])
        for word in (8, 16):
            hashed = mix(hashed ^ self._words[places + word])
        return hashed

    def word_ends(self, texts: NDArray[np.bool_]) -> tuple[Places, Places]:
        """Owner and place of the last byte but one of each word, of some texts.

        Args:
          texts: bool of shape (n,).
        """
        some = np.flatnonzero(texts)
        chosen = texts[self._word_owner] & (self._word > self.start[self._word_owner])
        owner = np.concatenate([self._word_owner[chosen], some])
        place = np.concatenate([self._word[chosen], self.start[some] + self.size[some]])
        return owner, place


def mix(values: Hashes) -> Hashes:
    """Spreads 64 bits, one to one (Steele et al., "SplitMix", OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        mixed = values + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cuts a list of texts where it grows too large for the cache."""
    first, size = 0, 0
    for at, text in enumerate(texts, 1):
        size += len(text)
        if size >= _CHUNK_CHARS or at == len(texts):
            yield texts[first:at]
            first, size = at, 0


def _normal(text: str) -> str:
    if text.isascii():
        return text.lower()
    return normalize("NFKC", normalize("NFKC", text).casefold())


@lru_cache(maxsize=1)
def _kinds() -> NDArray[np.uint8]:
    """What each code point is: uint8 flags of shape (262144,), the last of what lies beyond."""
    kinds = np.zeros(_ASSIGNED, np.uint8)
    kinds[[code for code in range(_ASSIGNED) if _is_kept(chr(code))]] = _KEPT
    for low, high in _NO_BLANKS:
        kinds[low : high + 1] |= _ALONE
    return kinds


def _is_kept(char: str) -> bool:
    return char.isalnum() or category(char)[0] == "M"
