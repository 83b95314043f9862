"""The built-in embedder: hashed words and character n-grams, deterministic, no download.

A text becomes the signed sum of its features, each of which is hashed to one of `DIM` axes (the
hashing trick: Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009).
Features are words, five-byte word stems (so that inflections stay near each other), and, for
scripts that do not separate words, pairs of characters. All texts of a batch are hashed at once in
numpy with one polynomial prefix hash, so a text costs array time and not Python time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DIM = 384
NAME = "distilwatch-hashing-v1"

_BASE = np.uint64(0x9E3779B97F4A7C15 | 1)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_CHUNK_BYTES = 1 << 18
_STEM_BYTES = 5
_STEM_WEIGHT = 0.6
_PAIR_BYTES = 6  # two characters of a three-byte script such as Chinese
# Short words are mostly function words (Zipf's law of abbreviation): weight by length, so that no
# list of stop words per language is needed.
_WORD_WEIGHT = np.minimum(1.0, np.arange(64) / 6.0).astype(np.float32) ** 1.5


def _byte_classes() -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    word = np.zeros(256, bool)
    word[0x80:] = True
    for low, high in (("0", "9"), ("a", "z"), ("A", "Z")):
        word[ord(low) : ord(high) + 1] = True
    lower = np.arange(256, dtype=np.uint8)
    lower[ord("A") : ord("Z") + 1] += 32
    return word, lower


_IS_WORD, _LOWER = _byte_classes()


@lru_cache(maxsize=1)
def _powers(size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    inverse = np.uint64(pow(int(_BASE), -1, 1 << 64))
    steps = np.full(size, _BASE, np.uint64)
    steps[0] = 1
    back = np.full(size, inverse, np.uint64)
    back[0] = 1
    with np.errstate(over="ignore"):
        return np.cumprod(steps, dtype=np.uint64), np.cumprod(back, dtype=np.uint64)


class HashingEmbedder:
    """Texts in, unit vectors out.

    Attributes:
      name: the identifier written to `embedding_model`.
      dim: length of a vector.
      max_chars: only the first `max_chars` characters of a text are read.
    """

    name = NAME
    dim = DIM

    def __init__(self, max_chars: int = 4_000) -> None:
        self.max_chars = max_chars

    def embed(self, texts: Sequence[str | None]) -> NDArray[np.float32]:
        """Embeds texts.

        Args:
          texts: n texts; None and texts without any word give a zero vector.

        Returns:
          float32 of shape (n, 384); rows have unit length or are zero.
        """
        encoded = [
            text[: self.max_chars].encode("utf-8", "replace") if text else b"" for text in texts
        ]
        out = np.zeros((len(encoded), DIM), np.float32)
        start = 0
        while start < len(encoded):
            size, stop = 0, start
            while stop < len(encoded) and (
                stop == start or size + len(encoded[stop]) < _CHUNK_BYTES
            ):
                size += len(encoded[stop]) + 1
                stop += 1
            out[start:stop] = _embed_chunk(encoded[start:stop])
            start = stop
        norms = np.sqrt(np.einsum("ij,ij->i", out, out))
        np.divide(out, norms[:, None], out=out, where=norms[:, None] > 0)
        return out


def _embed_chunk(encoded: list[bytes]) -> NDArray[np.float64]:
    """Sums the signed features of a few texts: float64 of shape (n, 384), not normalised."""
    row, hashed, weight, _ = hashed_features(encoded)
    axis = (hashed >> np.uint64(8)) % np.uint64(DIM)
    sign = 1.0 - 2.0 * (hashed & np.uint64(1)).astype(np.float64)
    cell = row * DIM + axis.astype(np.int64)
    summed = np.bincount(cell, weights=weight * sign, minlength=len(encoded) * DIM)
    return summed.astype(np.float64, copy=False).reshape(len(encoded), DIM)


def hashed_features(
    encoded: Sequence[bytes],
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
    """Words, stems and pairs of characters of a few texts; fastest up to some 256 KiB at once.

    Args:
      encoded: n texts in UTF-8.

    Returns:
      Of each of m features, as often as it comes and kind by kind in the order of the texts: row of
      its text, int64 (m,); hash without regard to ASCII case, uint64 (m,); weight in the embedding,
      float32 (m,); 0 for a word, 1 for a stem, 2 for a pair of characters, int64 (m,).
    """
    blob = _LOWER[np.frombuffer(b" ".join(encoded) + b" ", np.uint8)]
    ends = np.cumsum([len(text) + 1 for text in encoded])
    size = 1 << int(len(blob) + 1).bit_length()
    powers, inverses = _powers(max(size, _CHUNK_BYTES * 2))
    with np.errstate(over="ignore"):
        prefix = np.zeros(len(blob) + 1, np.uint64)
        np.cumsum((blob.astype(np.uint64) + np.uint64(1)) * powers[: len(blob)], out=prefix[1:])

    is_word = _IS_WORD[blob]
    edges = np.flatnonzero(is_word[1:] != is_word[:-1]) + 1
    if is_word[0]:
        edges = np.concatenate([[0], edges])
    begin, end = edges[0::2], edges[1::2]  # the blob ends with a blank, so every word is closed
    length = end - begin
    # In scripts without blanks a "word" is a whole clause and never comes twice: use pairs instead.
    spaced = (blob[begin] < 0xE0) | (length <= _PAIR_BYTES) if len(begin) else length > 0
    begin, end, length = begin[spaced], end[spaced], length[spaced]

    starts, stops, weights = [begin], [end], [_WORD_WEIGHT[np.minimum(length, 63)]]
    long = length > _STEM_BYTES
    starts.append(begin[long])
    stops.append(begin[long] + _STEM_BYTES)
    weights.append(np.full(int(long.sum()), _STEM_WEIGHT, np.float32))
    lead = np.flatnonzero(blob >= 0xE0)
    lead = lead[lead + _PAIR_BYTES <= len(blob)]
    lead = lead[blob[np.minimum(lead + 3, len(blob) - 1)] >= 0xE0]
    starts.append(lead)
    stops.append(lead + _PAIR_BYTES)
    weights.append(np.full(len(lead), 1.0, np.float32))

    first, last = np.concatenate(starts), np.concatenate(stops)
    with np.errstate(over="ignore"):
        hashed = (prefix[last] - prefix[first]) * inverses[first]
        hashed ^= hashed >> np.uint64(31)
        hashed *= _MIX
        hashed ^= hashed >> np.uint64(29)
    row = np.searchsorted(ends, first, side="right")
    kind = np.repeat(np.arange(len(starts)), [len(part) for part in starts])
    return row, hashed, np.concatenate(weights), kind
