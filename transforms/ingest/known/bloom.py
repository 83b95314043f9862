"""A Bloom filter in numpy: whether each of many hashes was put in, no false "no".

Bloom, "Space/time trade-offs in hash coding with allowable errors" (CACM 1970). The probes of a
hash are steps from one beginning, which serve as well as independent ones (Kirsch and Mitzenmacher,
"Less hashing, same performance", ESA 2006). Steps of one length would meet the same bits over and
over where the length is near a simple fraction of a small filter, so each is longer than the one
before (enhanced double hashing: Dillinger and Manolios, "Bloom filters in probabilistic
verification", FMCAD 2004). A batch is asked probe by probe, and what is found missing is asked no
more: a hash that is not in costs about two probes, not all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transforms.ingest.known.shingles import mix

MOST_BITS = 1 << 32  # half a gigabyte
MOST_PROBES = 64
_LONGER = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ over the golden ratio: multiples of it spread evenly


@dataclass(frozen=True, slots=True, eq=False)
class BloomFilter:
    """Bits and how they are asked.

    Attributes:
      bits: uint8 of shape (size / 8,), the lowest bit of a byte first.
      probes: bits of a hash.
    """

    bits: NDArray[np.uint8]
    probes: int

    @property
    def size(self) -> int:
        """How many bits there are."""
        return 8 * len(self.bits)

    def has(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether hashes, uint64 of shape (n,), are in: bool of shape (n,)."""
        found = np.zeros(len(hashes), bool)
        left, at, step = np.arange(len(hashes)), hashes, _steps(hashes)
        for _ in range(self.probes):
            place = _places(at, self.size)
            there = np.flatnonzero(self.bits[place >> 3] >> (place & 7).astype(np.uint8) & 1)
            left, step = left[there], step[there]
            at = at[there] + step
            step = step + _LONGER
        found[left] = True
        return found


def bloom_filter(hashes: NDArray[np.uint64], false_positives: float) -> BloomFilter:
    """A filter of distinct hashes, sized for a wanted share of false positives.

    Args:
      hashes: uint64 of shape (n,), random in all their bits.
      false_positives: share of other hashes that the filter is to say yes to, in (0, 1).

    Raises:
      ValueError: when it would need more than `MOST_BITS`.
    """
    size, probes = _shape(len(hashes), false_positives)
    if size > MOST_BITS:
        raise ValueError(f"{size} bits")
    bits = np.zeros(size // 8, np.uint8)
    at, step = hashes, _steps(hashes)
    for _ in range(probes):
        place = _places(at, size)
        np.bitwise_or.at(bits, place >> 3, np.uint8(1) << (place & 7).astype(np.uint8))
        at = at + step
        step = step + _LONGER
    return BloomFilter(bits, probes)


def _shape(count: int, false_positives: float) -> tuple[int, int]:
    """Bits, a multiple of 64, and probes that need the fewest bits."""
    wanted = -max(count, 1) * math.log(false_positives) / math.log(2) ** 2
    size = 64 * math.ceil(wanted / 64)
    probes = round(-math.log2(false_positives))
    return size, min(max(probes, 1), MOST_PROBES)


def _steps(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return mix(hashes) | np.uint64(1)


def _places(at: NDArray[np.uint64], size: int) -> NDArray[np.int64]:
    """Maps the upper 32 bits to [0, size) by a product instead of a division."""
    return ((at >> np.uint64(32)) * np.uint64(size) >> np.uint64(32)).astype(np.int64)
