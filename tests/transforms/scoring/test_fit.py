"""What a history is too small for."""

from __future__ import annotations

import pytest

from schemas.errors import DistilwatchError
from tests.support.sketches import FAST_DETECTORS, PEERS, SPACE, population
from transforms.scoring.fit import (
    PAYMENT_SESSION,
    PROFILE,
    BundleOptions,
    KeyedSketch,
    fit_bundle,
)
from transforms.scoring.model import FitOptions

OPTIONS = BundleOptions(FitOptions(FAST_DETECTORS), null_groups=60)


def test_sessions_of_one_card_alone_are_no_level_and_no_failure() -> None:
    """All are on one side of what is learnt from and what calibrates."""
    people = population(120, 1)
    keys = [KeyedSketch(name, sketch) for name, sketch in people.items()]
    of_one = [KeyedSketch("card", sketch) for sketch in list(people.values())[:75]]
    bundle = fit_bundle(SPACE, PEERS, {PROFILE: keys, PAYMENT_SESSION: of_one}, {}, OPTIONS)
    assert PROFILE in bundle.models
    assert PAYMENT_SESSION not in bundle.models


def test_one_account_in_many_windows_is_one_account() -> None:
    keys = [KeyedSketch("a", sketch) for sketch in population(80, 1).values()]
    with pytest.raises(DistilwatchError, match="too few accounts"):
        fit_bundle(SPACE, PEERS, {PROFILE: keys}, {}, OPTIONS)
