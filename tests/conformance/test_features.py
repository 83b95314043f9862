"""What every feature keeps; a new one is taken in by being in the table."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.report.meanings import meaning_of
from tests.support.sketches import population
from transforms.coverage.features import FEATURES, SketchBlock, stacked
from transforms.coverage.features.table import Feature, Suspicious
from transforms.coverage.sketch import CoverageSketch, empty, merge

SKETCHES = [*population(6, seed=3).values(), empty()]


def values(feature: Feature, sketches: list[CoverageSketch]) -> np.ndarray:
    return feature.compute(SketchBlock(stacked(sketches)))


@pytest.mark.parametrize("feature", FEATURES, ids=lambda f: f.name)
def test_a_feature_keeps_its_word(feature: Feature) -> None:
    found = values(feature, SKETCHES)
    assert found.dtype == np.float64
    assert found.shape == (len(SKETCHES),)
    assert (np.isfinite(found) | np.isnan(found)).all()
    alone = [values(feature, [sketch])[0] for sketch in SKETCHES]
    np.testing.assert_array_equal(alone, found, err_msg="it depends on its neighbours")
    one, other = merge(SKETCHES[:3]), merge(SKETCHES[2::-1])
    np.testing.assert_array_equal(values(feature, [one]), values(feature, [other]))
    assert feature.words
    assert meaning_of(feature.name), "pipelines/report/meanings.py"
    assert isinstance(feature.suspicious, Suspicious)
    assert [f.name for f in FEATURES].count(feature.name) == 1
