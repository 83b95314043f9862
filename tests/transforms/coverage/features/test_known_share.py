from __future__ import annotations

import math

import numpy as np
import pytest

from tests.support.features import value_of
from tests.support.sketches import harvester, sketch_of
from transforms.clusters.feature_table import CLUSTER_FEATURES
from transforms.coverage import features as f
from transforms.coverage.sketch import merge
from transforms.scoring.evidence import ACCOUNT_LINES, CLUSTER_LINES


def test_known_share_is_that_of_all_requests_whatever_the_collection() -> None:
    labels = np.repeat(np.array([0, 7, 15, -1], np.int8), [3, 2, 1, 14])
    assert value_of(f.known_share, sketch_of(harvester("h", 1, 20, known=labels))) == 6 / 20
    assert value_of(f.known_share, sketch_of(harvester("h", 1, 20))) == 0


def test_known_share_of_few_requests_is_unknown() -> None:
    assert math.isnan(value_of(f.known_share, sketch_of(harvester("h", 1, 3, known=1))))


def test_known_share_of_merged_sketches_weighs_by_requests() -> None:
    parts = [sketch_of(harvester("a", 1, 30, known=0)), sketch_of(harvester("b", 2, 10))]
    assert value_of(f.known_share, merge(parts)) == pytest.approx(0.75)


def test_it_is_shown_and_not_scored() -> None:
    """Which collections a deployment has must not decide who is flagged."""
    assert "known_share" in f.column_index()
    assert "pooled_known_share" in {feature.name for feature in CLUSTER_FEATURES}
    scored = {name for line in (*ACCOUNT_LINES, *CLUSTER_LINES) for name in line.features}
    assert not [name for name in scored if "known" in name]
