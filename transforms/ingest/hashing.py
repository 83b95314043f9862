"""Stable 64-bit hashes of strings."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=1 << 16)
def hash64(value: str) -> int:
    """BLAKE2b of the UTF-8 bytes, 64 bits; the same in every process and version."""
    return int.from_bytes(blake2b(value.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def hash_column(values: Iterable[str | None]) -> NDArray[np.uint64]:
    """Hashes of n strings, uint64 of shape (n,); 0 for None and "". Repeated values cost a
    look-up."""
    return np.array([hash64(value) if value else 0 for value in values], np.uint64)
