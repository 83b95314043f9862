"""Stable 64-bit hashes of strings: BLAKE2b of the UTF-8 bytes, the same everywhere and always."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


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
