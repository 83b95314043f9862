"""What every detector keeps, those of the defaults and of our own."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from transforms.scoring.detectors import (
    _OWN,
    DEFAULT_DETECTORS,
    DetectorSpec,
    detector_class,
    fit_ensemble,
)

EVERY = {
    **{spec.name: spec for spec in DEFAULT_DETECTORS},
    **{detector_class(name).__name__: DetectorSpec(name, {}) for name in _OWN},
    # Some that people are likely to choose; ECOD compares the rows of a batch.
    "LOF": DetectorSpec("LOF", {}),
    "IForest": DetectorSpec("IForest", {}),
    "ECOD": DetectorSpec("ECOD", {}),
}


@pytest.mark.parametrize("name", EVERY)
def test_a_detector_keeps_its_word(name: str) -> None:
    rng = np.random.default_rng(5)
    history = rng.standard_normal((200, 4))
    rows = np.vstack([rng.standard_normal((12, 4)), np.full((1, 4), 6.0)])
    ensemble = fit_ensemble(history, [EVERY[name]], seed=1)
    scores = ensemble.score(rows)
    assert scores.dtype == np.float64
    assert scores.shape == (13,)
    assert np.isfinite(scores).all()
    assert scores.argmax() == 12
    alone = np.concatenate([ensemble.score(rows[i : i + 1]) for i in range(len(rows))])
    np.testing.assert_allclose(alone, scores, rtol=1e-9, err_msg="it depends on its neighbours")
    again = pickle.loads(pickle.dumps(ensemble))
    np.testing.assert_allclose(again.score(rows), scores, rtol=1e-9)
    same = fit_ensemble(history, [EVERY[name]], seed=1)
    np.testing.assert_allclose(same.score(rows), scores, rtol=1e-9, err_msg="it is not seeded")
