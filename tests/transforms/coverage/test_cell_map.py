"""The map that people look at: every cell has a tile of its own, and nothing is invented."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.sketches import TOPICS, person, sketch_of
from transforms.coverage.cell_map import cell_tiles, coverage_records
from transforms.coverage.layout import Bins


def _codebook(cells: int) -> np.ndarray:
    return np.random.default_rng(cells).integers(-60, 60, (cells, 64)).astype(np.int8)


@pytest.mark.parametrize("cells", [1, 2, 3, 16, 97, 1_024])
def test_tiles_are_distinct_and_fill_a_square(cells: int) -> None:
    tiles = cell_tiles(_codebook(cells))
    assert len({tuple(tile) for tile in tiles.tolist()}) == cells
    assert tiles.min() == 0
    assert tiles.max() < np.ceil(np.sqrt(cells))
    np.testing.assert_array_equal(tiles, cell_tiles(_codebook(cells)))


def test_an_empty_codebook_has_no_tiles() -> None:
    assert cell_tiles(np.zeros((0, 64), np.int8)).shape == (0, 2)


def test_alike_cells_are_near() -> None:
    """Two bundles of directions, far apart: no tile of the one lies among the other's."""
    rng = np.random.default_rng(5)
    left, right = np.zeros((2, 50, 64))
    left[:, 0], right[:, 0] = 100, -100
    noise = rng.integers(-9, 9, (100, 64))
    columns = cell_tiles((np.concatenate([left, right]) + noise).astype(np.int8))[:, 0]
    apart = sorted([columns[:50].max(), columns[50:].max()])
    assert min(columns[:50].max(), columns[50:].max()) <= max(
        columns[:50].min(), columns[50:].min()
    )
    assert apart[0] < apart[1]


def test_records_hold_all_visits_and_expect_as_many_requests() -> None:
    sketch = sketch_of(person("a", 1, 300))
    usual = np.arange(TOPICS) / np.arange(TOPICS).sum()
    records = coverage_records(sketch, usual, cell_tiles(_codebook(TOPICS)))
    visits = sketch.histogram(Bins.CELL, Bins.CELL + TOPICS)
    assert sum(r["requests"] for r in records) == visits.sum() > 0
    assert {r["cell"]: r["requests"] for r in records if r["requests"]} == {
        int(c): int(visits[c]) for c in np.flatnonzero(visits)
    }
    for r in records:
        assert r["expected"] == pytest.approx(usual[r["cell"]] * visits.sum())
        assert r["requests"] or r["expected"] >= 0.5


def test_where_nothing_is_known_nothing_is_expected() -> None:
    sketch = sketch_of(person("a", 1, 40))
    records = coverage_records(sketch, np.zeros(0), cell_tiles(_codebook(TOPICS)))
    assert records
    assert {r["expected"] for r in records} == {None}
