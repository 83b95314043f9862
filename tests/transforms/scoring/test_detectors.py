"""Any PyOD detector by name, one clear error otherwise, and a score that is the row's own."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.errors import DistilwatchError
from transforms.scoring.detectors import (
    DEFAULT_DETECTORS,
    DetectorSpec,
    RowByRow,
    detector_class,
    fit_ensemble,
)

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((120, 6))
STRANGE = np.concatenate([RNG.standard_normal((9, 6)), RNG.standard_normal((3, 6)) + 6])
NAMES = ("CBLOF", "COPOD", "ECOD", "GMM", "HBOS", "IForest", "KDE", "KNN", "LOF", "MCD",
         "OCSVM", "PCA", "Sampling")  # fmt: skip


def fit(*names: str, seed: int = 7, **params: object):
    return fit_ensemble(ROWS, [DetectorSpec(name, params) for name in names], seed)


@pytest.mark.parametrize("name", NAMES)
def test_any_detector_by_name_puts_what_is_strange_on_top(name: str) -> None:
    score = fit(name).score(STRANGE)
    assert score.shape == (12,)
    assert np.isfinite(score).all()
    assert score[9:].min() > score[:9].max()


@pytest.mark.parametrize("name", [*NAMES, "default"])
def test_a_row_scores_the_same_in_any_batch(name: str) -> None:
    specs = DEFAULT_DETECTORS if name == "default" else (DetectorSpec(name, {}),)
    ensemble = fit_ensemble(ROWS, specs, 7)
    together = ensemble.score(STRANGE)
    alone = np.concatenate([ensemble.score(row[None]) for row in STRANGE])
    shuffled = ensemble.score(STRANGE[::-1])[::-1]
    assert np.array_equal(together, alone)
    assert np.array_equal(together, shuffled)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_scores(name: str) -> None:
    assert np.array_equal(fit(name).score(STRANGE), fit(name).score(STRANGE))


def test_the_seed_reaches_the_detectors_and_a_given_one_wins() -> None:
    assert not np.array_equal(
        fit("IForest", seed=1).score(STRANGE), fit("IForest", seed=2).score(STRANGE)
    )
    pinned = [fit("IForest", seed=s, random_state=5).score(STRANGE) for s in (1, 2)]
    assert np.array_equal(*pinned)


@pytest.mark.parametrize(("name", "wrapped"), [("ECOD", True), ("COPOD", True), ("KNN", False)])
def test_only_detectors_that_rank_a_batch_are_asked_row_by_row(name: str, wrapped: bool) -> None:
    assert isinstance(fit(name).models[0], RowByRow) is wrapped


@pytest.mark.parametrize("name", ["knn", "KNN", "Knn", "iforest"])
def test_names_are_found_in_any_case(name: str) -> None:
    assert detector_class(name).__name__.lower() == name.lower()


@pytest.mark.parametrize(
    ("name", "hint"), [("IForrest", "iforest"), ("Magic", "see pyod.models"), ("base", "check")]
)
def test_an_unknown_name_is_one_clear_error(name: str, hint: str) -> None:
    with pytest.raises(DistilwatchError, match=hint) as caught:
        fit(name)
    assert name in str(caught.value)
    assert caught.value.where == "scoring.detectors"


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("KNN", {"neighbours": 5}),
        ("KNN", {"n_neighbors": "many"}),
        ("IForest", {"n_estimators": -1}),
        ("LOF", {"contamination": 0.9}),
        ("LSCP", {}),
        ("COF", {}),
    ],
)
def test_arguments_that_a_detector_cannot_take_are_one_clear_error(
    name: str, params: dict[str, object]
) -> None:
    with pytest.raises(DistilwatchError, match=f"detector {name}") as caught:
        fit(name, **params)
    assert caught.value.where == "scoring.detectors"
    assert caught.value.mend


def test_more_neighbours_than_keys_are_cut_to_half_of_them() -> None:
    assert np.isfinite(fit("KNN", n_neighbors=5_000).score(STRANGE)).all()


def test_a_share_of_components_is_no_number_of_them() -> None:
    rows = np.random.default_rng(1).normal(size=(200, 5))
    share, all_of_them = (
        fit_ensemble(rows, [DetectorSpec("PCA", {"n_components": n})], 7).score(rows)
        for n in (0.95, 5)
    )
    one = fit_ensemble(rows, [DetectorSpec("PCA", {"n_components": 1})], 7).score(rows)
    assert np.array_equal(share, all_of_them)  # five columns alike: it takes all of them
    assert not np.array_equal(share, one)


def test_each_detector_counts_the_same_whatever_its_units() -> None:
    knn, pca, both = fit("KNN"), fit("PCA"), fit("KNN", "PCA")
    mean = (knn.score(STRANGE) + pca.score(STRANGE)) / 2
    assert both.score(STRANGE) == pytest.approx(mean, abs=2e-6)


def test_beyond_the_ninetieth_percentile_a_score_grows_as_a_logarithm() -> None:
    ensemble = fit("KNN")
    far = np.zeros((3, 6))
    far[:, 0] = [100, 1_000, 10_000]
    steps = np.diff(ensemble.score(far))
    assert steps == pytest.approx(np.log(10), rel=0.05)
    assert np.median(ensemble.score(ROWS)) == pytest.approx(0, abs=2e-6)
    assert np.quantile(ensemble.score(ROWS), 0.9) == pytest.approx(1, abs=0.05)


def test_no_rows_give_no_scores() -> None:
    assert fit("KNN").score(np.empty((0, 6))).shape == (0,)
