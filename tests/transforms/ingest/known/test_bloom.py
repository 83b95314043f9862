from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.ingest.known.bloom import BloomFilter, bloom_filter

HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=200).map(lambda h: np.array(h, np.uint64))


def random_hashes(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, n, np.uint64)


@given(HASHES, st.sampled_from([0.5, 0.01, 1e-6]))
def test_what_is_in_is_found(hashes: np.ndarray, false_positives: float) -> None:
    assert bloom_filter(hashes, false_positives).has(hashes).all()


@pytest.mark.parametrize("false_positives", [0.1, 0.01, 1e-3])
def test_false_positives_are_as_few_as_wanted(false_positives: float) -> None:
    """Within four standard errors of a binomial, and a tenth for probes being whole numbers."""
    bloom = bloom_filter(random_hashes(20_000, 1), false_positives)
    asked = 400_000
    found = bloom.has(random_hashes(asked, 2)).sum()
    allowed = asked * false_positives * 1.1
    assert found < allowed + 4 * math.sqrt(allowed)
    assert found > asked * false_positives / 2


def test_false_positives_of_small_filters_are_as_few_as_wanted() -> None:
    """Where steps are simple fractions of so few bits, steps of one length find ten times more."""
    asked, filters, wanted = random_hashes(100_000, 3), 50, 1e-4
    small = [bloom_filter(random_hashes(9, 100 + i), wanted) for i in range(filters)]
    assert small[0].size == 192
    found = sum(int(bloom.has(asked).sum()) for bloom in small)
    assert found < 2 * wanted * len(asked) * filters


def test_size_is_that_of_theory() -> None:
    bloom = bloom_filter(random_hashes(10_000, 3), 0.01)
    assert 9.58 <= bloom.size / 10_000 < 9.6
    assert bloom.probes == 7


def test_an_empty_filter_has_nothing() -> None:
    assert not bloom_filter(np.empty(0, np.uint64), 0.01).has(random_hashes(100, 4)).any()


def test_a_full_filter_has_everything() -> None:
    assert BloomFilter(np.full(8, 255, np.uint8), 5).has(random_hashes(100, 5)).all()


def test_a_filter_that_would_be_too_large_is_refused() -> None:
    too_many = np.broadcast_to(np.uint64(1), (300_000_000,))
    with pytest.raises(ValueError, match="bits"):
        bloom_filter(too_many, 1e-4)
