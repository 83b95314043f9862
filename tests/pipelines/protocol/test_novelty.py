"""Distance from a reference, computed from additive state alone."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.protocol.novelty import (
    COORDINATES,
    STATISTICS,
    Blocks,
    blocks_of,
    fit_combination,
    fit_reference,
    plain_shift,
)
from tests.support.sketches import population
from transforms.coverage.sketch import merge

UPPER = np.triu_indices(64)


def blocks(rows: np.ndarray, keys: int, size_bin: int = 5) -> Blocks:
    """`keys` equal parts of rows (n, 64)."""
    parts = rows.reshape(keys, -1, 64)
    n = parts.shape[1]
    sizes, scaffolds = np.zeros((keys, 24)), np.zeros((keys, 257))
    sizes[:, size_bin] = n
    scaffolds[:, 256] = n
    moment = np.einsum("kni,knj->kij", parts, parts)[:, UPPER[0], UPPER[1]]
    return Blocks(
        np.full(keys, float(n)), parts.sum(axis=1), moment, sizes, scaffolds, scaffolds.copy()
    )


def traffic(rng: np.random.Generator, n: int, centre: float = 0.0) -> np.ndarray:
    """Gaussian rows of about unit length, with unequal axes and a mean along the first."""
    rows = rng.standard_normal((n, 64)) * np.linspace(0.04, 0.2, 64)
    rows[:, 0] += centre
    return rows


def test_own_traffic_is_near_zero_and_a_foreign_share_is_not() -> None:
    rng = np.random.default_rng(3)
    others = blocks(traffic(rng, 4_000, 0.3), 20)
    reference = fit_reference(blocks(traffic(rng, 6_000), 1), others)
    null = reference.statistics(blocks(traffic(rng, 60_000), 60))
    # Standardised sums of squares: mean 0 and spread 1 under the Gaussian null.
    for name in ("mean_shift", "moment_shift"):
        column = null[:, STATISTICS.index(name)]
        assert abs(column.mean()) < 0.6
        assert 0.6 < column.std() < 1.6
    foreign = np.concatenate([traffic(rng, 950), traffic(rng, 50, 0.35)])
    found = reference.statistics(blocks(foreign, 1))[0]
    rule = fit_combination(null)
    assert rule.score(found[None])[0] > rule.score(null).max()
    assert found[STATISTICS.index("mean_toward_others")] > 5


def test_a_size_that_was_never_seen_is_novel_to_a_bounded_degree() -> None:
    rng = np.random.default_rng(4)
    own, none = blocks(traffic(rng, 2_000), 1), blocks(np.zeros((0, 64)), 1)
    reference = fit_reference(own, none)
    same, other = blocks(traffic(rng, 100), 1), blocks(traffic(rng, 100), 1, size_bin=12)
    column = STATISTICS.index("size_novelty")
    assert abs(reference.statistics(same)[0, column]) < 1e-6
    mixed = reference.statistics(same + other)[0, column]
    assert 0 < mixed < reference.statistics(other)[0, column] < 1e6


def test_state_of_sketches_is_additive() -> None:
    parts = list(population(8).values())
    whole = blocks_of([merge(parts)])
    summed = blocks_of(parts).merged()
    for name in ("vectors", "total", "moment", "sizes", "prefixes", "suffixes"):
        np.testing.assert_allclose(getattr(whole, name), getattr(summed, name), atol=1e-9)
    assert whole.prefixes.sum() == sum(sketch.events for sketch in parts)


def test_too_little_is_not_judged() -> None:
    rng = np.random.default_rng(5)
    own = blocks(traffic(rng, 300), 1)
    reference = fit_reference(own, blocks(np.zeros((0, 64)), 1))
    assert np.isnan(reference.statistics(blocks(traffic(rng, 3), 1))).all()
    with pytest.raises(ValueError, match="3 vectors"):
        fit_reference(blocks(traffic(rng, 3), 1), own)


def test_only_named_statistics_count() -> None:
    benign = np.random.default_rng(6).standard_normal((500, len(STATISTICS)))
    rule = fit_combination(benign, range(len(COORDINATES)))
    far = np.zeros((1, len(STATISTICS)))
    far[0, -1] = 100.0
    assert rule.score(far)[0] < 1.0


def test_one_that_stands_out_is_not_drowned_by_a_long_tail() -> None:
    rng = np.random.default_rng(7)
    benign = np.column_stack([rng.standard_normal(2_000), *(rng.standard_cauchy((8, 2_000)))])
    rule = fit_combination(benign)
    far = np.median(benign, axis=0, keepdims=True)
    far[0, 0] = 40.0
    assert rule.score(far)[0] > np.quantile(rule.score(benign), 0.98)
    assert rule.score(np.full((1, 9), np.nan))[0] == 0.0


def test_plain_shift_has_its_null_mean_and_finds_a_planted_share() -> None:
    rng = np.random.default_rng(8)
    own, n = traffic(rng, 5_000), 400
    rows = traffic(rng, 100 * n).reshape(100, n, 64)
    null = plain_shift(rows.sum(axis=1), np.full(100, float(n)), own.sum(axis=0), 5_000.0)
    assert null.mean() == pytest.approx(np.trace(np.cov(own.T)), rel=0.1)
    mixed = np.concatenate([traffic(rng, 360), traffic(rng, 40, 0.8)]).sum(axis=0)
    found = plain_shift(mixed[None], np.array([400.0]), own.sum(axis=0), 5_000.0)
    assert found[0] > null.max()
