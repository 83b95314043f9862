"""Stable 64-bit hashes of strings: BLAKE2b of the UTF-8 bytes, the same everywhere and always."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

_ROW_SEED = 0x5EC7


@lru_cache(maxsize=1 << 16)
def hash64(value: str) -> int:
    """BLAKE2b of the UTF-8 bytes, 64 bits; the same in every process and version."""
    return int.from_bytes(blake2b(value.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def hash_texts(values: Iterable[str]) -> NDArray[np.uint64]:
    """`hash64` of n strings that are seldom seen twice, uint64 of shape (n,); nothing is kept."""
    digests = [blake2b(v.encode("utf-8", "replace"), digest_size=8).digest() for v in values]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


def hash_column(values: Sequence[str | None]) -> NDArray[np.uint64]:
    """`hash64` of n strings, uint64 of shape (n,); 0 for None and "". Each distinct value of the
    column is hashed once."""
    known = {value: hash64(value) if value else 0 for value in set(values)}
    return np.fromiter(map(known.__getitem__, values), np.uint64, len(values))


def hash_rows(values: NDArray[np.float32]) -> NDArray[np.uint64]:
    """64-bit hashes of n vectors, float32 of shape (n, d): uint64 of shape (n,), never 0.

    Multilinear hashing (Carter and Wegman, "Universal classes of hash functions", JCSS 1979) of the
    bits with fixed keys, then spread: for finding equal vectors, not against somebody who looks for
    two that collide.
    """
    words = np.ascontiguousarray(values).view(np.uint32)
    mixed = words @ _row_keys(words.shape[1])
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    return mixed | np.uint64(1)


@lru_cache(maxsize=8)
def _row_keys(dim: int) -> NDArray[np.uint64]:
    rng = np.random.default_rng([_ROW_SEED, dim])
    return rng.integers(0, 1 << 64, dim, np.uint64) | np.uint64(1)
