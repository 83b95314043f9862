"""What the drill allows an attacker on membership, and that it would see too little noise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pipelines.sharing_drill import attacks
from tests.transforms.sharing.test_stix import an_indicator
from transforms.sharing.coverage import UNIT, noisy_coverage
from transforms.sharing.indicators import Kind, indicator_id

CHANCE = 1e-4


@pytest.mark.parametrize(("epsilon", "delta"), [(0.5, 0.0), (1.0, 1e-6), (1.0, 0.05), (4.0, 1e-3)])
def test_what_is_allowed_is_the_area_under_the_two_lines(epsilon: float, delta: float) -> None:
    false = np.linspace(0, 1, 1_000_001)
    true = np.minimum(math.exp(epsilon) * false + delta, 1)
    true = np.minimum(true, 1 - (1 - delta - false) * math.exp(-epsilon))
    true = np.minimum(true, 1)
    assert attacks.auc_allowed(epsilon, delta) == pytest.approx(np.trapezoid(true, false), abs=1e-6)
    most = attacks.advantage_allowed(epsilon, delta)
    assert most == pytest.approx((true - false).max(), abs=1e-5)


def test_a_promise_of_nothing_allows_everything_and_of_all_nothing() -> None:
    assert attacks.auc_allowed(50, 0) == pytest.approx(1)
    assert attacks.auc_allowed(0, 0) == pytest.approx(0.5)
    assert attacks.advantage_allowed(0, 0) == pytest.approx(0)


def test_what_chance_adds_is_not_exceeded_more_often_than_it_says() -> None:
    rng, rounds, chance = np.random.default_rng(2), 60, 0.05
    by_chance = attacks.chance_of_auc(rounds, chance), attacks.chance_of_advantage(rounds, chance)
    over = np.zeros(2)
    for _ in range(1_000):
        out, inside = rng.normal(size=(2, rounds // 2)).tolist()
        measured = attacks._auc(out, inside) - 0.5, attacks._advantage(out, inside)
        over += np.array(measured) > by_chance
    assert (over / 1_000 <= chance).all()
    assert by_chance[0] < 0.25  # and it says something


def accounts(count: int = 60) -> np.ndarray:
    """Contributions of accounts that ask of thirty things each, many of which others ask, too."""
    rng = np.random.default_rng(4)
    rows = np.zeros((count, 1024), np.int64)
    for row in rows:
        row[rng.choice(200, 30, replace=False)] = int(UNIT / math.sqrt(30)) - 1
    return rows


def test_the_noise_that_was_promised_keeps_membership_within_what_is_allowed() -> None:
    found = attacks.membership_inference(accounts(), 20, 1.0, 1e-6, rounds=200)
    by_chance = attacks.chance_of_auc(200, CHANCE)
    for who in ("auc_who_knows_all_others", "auc_who_knows_the_account"):
        assert found[who] <= found["auc_of_the_noise"] + by_chance
        assert found[who] <= found["auc_allowed"] + by_chance
    assert found["auc_of_the_noise"] < found["auc_allowed"]


def test_noise_that_is_too_little_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of it: the promise would be one of ε = 20 then."""

    def too_little(total, space, model, epsilon, delta):  # type: ignore[no-untyped-def]
        return noisy_coverage(total, space, model, 20.0, 1e-3)

    monkeypatch.setattr(attacks, "noisy_coverage", too_little)
    found = attacks.membership_inference(accounts(), 20, 1.0, 1e-6, rounds=200)
    by_chance = attacks.chance_of_auc(200, CHANCE)
    assert found["auc_who_knows_all_others"] > found["auc_of_the_noise"] + by_chance
    assert found["advantage"] > found["advantage_allowed"]


def test_the_network_behind_a_hash_is_found() -> None:
    """Which is why no hash of a network leaves."""
    network = "198.51.100.0/24"
    [(kind, value)] = attacks.things_of({"ip_prefix": network})
    name = indicator_id("lab-b", Kind(kind), value)
    one = replace(an_indicator(Kind(kind)), indicator_id=name, value=value)
    found = attacks.invert_networks([one], 1e-4, [network, "192.0.2.0/24"])
    assert (found["network_hashes"], found["inverted"]) == (1, 1)
    assert 0 < found["seconds_for_all_networks"] < 3_600
