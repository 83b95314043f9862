"""What the detectors see: features put together, turned, scaled, and cut off where harmless."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.clusters.feature_table import CLUSTER_FEATURES
from transforms.coverage.features import COLUMNS
from transforms.scoring.detectors import EvidenceSum
from transforms.scoring.evidence import ACCOUNT_LINES, CLUSTER_LINES, Line, fit_evidence

NAMES = ("up", "down", "either", "unused")
SIDES = np.array([1, -1, 0, 1])


def training(n: int = 2_001) -> np.ndarray:
    """Standard scores whose every column runs evenly from −3 to 3, in an order of its own."""
    rng = np.random.default_rng(0)
    return np.stack([rng.permutation(np.linspace(-3, 3, n)) for _ in NAMES], axis=1)


def lines_of(z: list[float], *lines: Line) -> list[float]:
    found = fit_evidence(training(), NAMES, SIDES, lines).lines(np.array([z]))[0]
    return [round(float(value), 6) for value in found]


def test_a_line_is_scaled_to_the_training_keys_and_weighed() -> None:
    # The 84th percentile of −3 … 3 is 2.04: that is one standard deviation of the line.
    assert lines_of([2.04, 0, 0, 9], Line("a", ("up",), 1.0)) == [1.0]
    assert lines_of([4.08, 0, 0, 9], Line("a", ("up",), 0.5)) == [1.0]


def test_up_is_suspicious_whatever_the_side_of_the_feature() -> None:
    assert lines_of([0, -2.04, 0, 0], Line("a", ("down",), 1.0)) == [1.0]
    assert lines_of([0, 0, 2.04, 0], Line("a", ("either",), 1.0)) == [1.0]
    assert lines_of([0, 0, -2.04, 0], Line("a", (), 1.0, low=("either",))) == [1.0]


def test_features_of_a_line_are_averaged() -> None:
    both = Line("a", ("up", "down"), 1.0)
    assert lines_of([3, 3, 0, 0], both) == pytest.approx([0.0], abs=0.05)  # for it, and against
    evidence = fit_evidence(training(), NAMES, SIDES, [both])
    assert evidence.mixing[:, 0].tolist() == [0.5, -0.5, 0, 0]
    assert evidence.used.tolist() == [0, 1]


def test_the_harmless_side_is_cut_off() -> None:
    line = Line("a", ("up",), 2.0)
    assert lines_of([-1.02, 0, 0, 0], line) == [-1.0]
    assert lines_of([-3, 0, 0, 0], line) == [-1.0]


def test_a_line_of_which_the_history_knew_nothing_stays_at_nothing() -> None:
    z = training()
    z[:, 0] = 0.0
    found = fit_evidence(z, NAMES, SIDES, [Line("a", ("up",), 1.0)])
    assert found.lines(np.zeros((1, 4))).tolist() == [[0.0]]


def test_a_feature_that_there_is_not_is_an_error() -> None:
    with pytest.raises(KeyError):
        fit_evidence(training(), NAMES, SIDES, [Line("a", ("sideways",), 1.0)])


@pytest.mark.parametrize(
    ("lines", "features"), [(ACCOUNT_LINES, COLUMNS), (CLUSTER_LINES, CLUSTER_FEATURES)]
)
def test_our_lines_name_features_and_say_the_side_of_two_sided_ones(
    lines: tuple[Line, ...], features: tuple
) -> None:
    sides = {feature.name: feature.suspicious.value for feature in features}
    named = [name for line in lines for name in (*line.features, *line.low)]
    assert len(named) == len(set(named))
    assert all(sides[name] for line in lines for name in line.features)
    assert not any(sides[name] for line in lines for name in line.low)


def test_the_sum_of_the_lines_is_a_pyod_model() -> None:
    rows = np.random.default_rng(1).standard_normal((100, 3))
    model = EvidenceSum(contamination=0.2).fit(rows)
    assert np.allclose(model.decision_function(rows[:5]), rows[:5].sum(axis=1))
    assert model.predict(rows).sum() == 20
