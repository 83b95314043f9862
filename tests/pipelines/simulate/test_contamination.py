"""A history in which some of the attackers are at work already."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pipelines.simulate.compose import Simulation, early_starts
from pipelines.simulate.scenario import Campaign, Scenario

CLEAN = Scenario(
    seed=5,
    days=8,
    history_days=5,
    accounts=20,
    campaigns=(
        Campaign("hydra-disjoint", members=20, rate=30.0),
        Campaign("bulk", members=1, rate=200.0),
        Campaign("replacement", members=10, rate=40.0),
    ),
)


def attackers(scenario: Scenario) -> tuple[set[str], set[str], int]:
    """Accounts that extract in the history, accounts that extract at all, and benign events."""
    early, ever, benign = set(), set(), 0
    for record in Simulation(scenario).records():
        if record.attack:
            name = str(record.event["account_id"])
            ever.add(name)
            if record.time_ms < scenario.live_ms:
                early.add(name)
        benign += not record.campaign
    return early, ever, benign


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_so_many_accounts_attack_in_the_history(share: float) -> None:
    early, ever, _ = attackers(replace(CLEAN, contaminate=share))
    assert len(early) == math.ceil(share * 31)
    assert early <= ever


def test_a_spoilt_history_differs_in_nothing_else() -> None:
    early, ever, benign = attackers(CLEAN)
    spoilt_early, spoilt_ever, spoilt_benign = attackers(replace(CLEAN, contaminate=0.2))
    assert not early
    assert spoilt_early
    assert (spoilt_ever, spoilt_benign) == (ever, benign)


def test_starts_lie_in_the_first_half_of_the_history() -> None:
    starts = [s for own in early_starts(replace(CLEAN, contaminate=0.3)) for s in own]
    early = [s for s in starts if s < CLEAN.live_ms]
    assert len(early) == math.ceil(0.3 * 31)
    assert all(CLEAN.start_ms <= s <= (CLEAN.start_ms + CLEAN.live_ms) / 2 for s in early)
    assert set(starts) - set(early) == {CLEAN.end_ms}
    assert early_starts(replace(CLEAN, campaigns=())) == []
    assert {s for own in early_starts(CLEAN) for s in own} == {CLEAN.end_ms}


def test_nobody_asks_before_the_account_was_opened() -> None:
    for record in Simulation(replace(CLEAN, contaminate=1.0)).records():
        if record.attack:
            # Some leave it out; both are written alike, so their order as texts is that of time.
            assert str(record.event.get("account_created_at", "")) <= str(
                record.event["event_time"]
            )
