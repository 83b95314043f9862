"""What the attacker pays."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pipelines.protocol.adaptive.costs import PRICES, Inventory, bill, per_thousand

KEPT = Inventory(
    days=9, new=10, aged=5, lost_new=0, lost_aged=0, cards=4, lost_cards=0, homes=0, pools=3,
    reworded=0, wanted_usd=50.0, cover_usd=20.0,
)  # fmt: skip


def test_what_is_kept_is_written_off_and_what_is_lost_is_paid_in_full() -> None:
    kept = bill(KEPT)
    share = 9 / PRICES.life_days
    assert kept.accounts == pytest.approx(share * (10 * PRICES.account + 5 * PRICES.aged))
    assert kept.cards == pytest.approx(share * 4 * PRICES.card)
    lost = bill(replace(KEPT, lost_new=10, lost_aged=5, lost_cards=4))
    assert lost.accounts == pytest.approx(10 * PRICES.account + 5 * PRICES.aged)
    assert lost.cards == pytest.approx(4 * PRICES.card)
    assert lost.total - kept.total == pytest.approx(
        lost.accounts + lost.cards - kept.accounts - kept.cards
    )


def test_hiding_is_everything_but_the_wanted_requests() -> None:
    whole = bill(replace(KEPT, homes=7, pools=0, reworded=2_000))
    assert whole.total == pytest.approx(whole.hiding + 50.0)
    assert whole.cover == 20.0
    assert whole.networks == pytest.approx(7 * 9 * PRICES.home_day)
    assert whole.rewording == pytest.approx(2 * PRICES.rewording)
    # Nothing is written off for longer than it lasts.
    assert bill(replace(KEPT, days=900)).accounts == 10 * PRICES.account + 5 * PRICES.aged


def test_the_price_of_nothing_is_infinite() -> None:
    assert per_thousand(5.0, 0) == math.inf
    assert per_thousand(5.0, 500) == 10.0
