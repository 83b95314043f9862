"""Moments are exact, however many blocks the rows are summed in."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.coverage import layout
from transforms.coverage.sketch import moments_of
from transforms.embedding.space import _waves, fourier_features, fourier_sum


@pytest.mark.parametrize("n", [1, 63, 64, 65, 1_024, 1_025, 3_000])
@pytest.mark.parametrize("largest", [30, 127])
def test_sums_over_blocks_are_those_of_whole_numbers(n: int, largest: int) -> None:
    rng = np.random.default_rng(n)
    rows = rng.integers(-largest, largest + 1, (n, 64)).astype(np.int8)
    if largest == 127:
        rows[:] = 127  # the largest sums that there can be
    wide = rows.astype(np.int64)
    turns = wide @ _waves().astype(np.int64)
    phase = (turns >> 4) & 4095
    turn = 2 * np.pi * np.arange(4096) / 4096
    waves = np.concatenate(
        [np.rint(np.cos(turn) * 1024)[phase], np.rint(np.sin(turn) * 1024)[phase]], axis=1
    ).astype(np.int64)
    assert (fourier_features(rows) == waves).all()
    assert (fourier_sum(rows) == waves.sum(axis=0)).all()
    moment, total, fourier = moments_of(rows)
    assert (moment == (wide.T @ wide)[layout.UPPER]).all()
    assert (total == wide.sum(axis=0)).all()
    assert (fourier == waves.sum(axis=0)).all()
