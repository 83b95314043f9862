"""What the attacker pays, in US dollars.

Prices are of two kinds, and `PRICES` says which: published ones, and assumptions of this project
(of a likely order of magnitude, nothing more). Requests, wanted and cover alike, are paid at the
list price that their events carry.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in USD.

    Attributes:
      account: a new account with a verified phone.
      aged: an account that was opened long ago.
      card: a payment instrument.
      home_day: one residential exit for a day.
      pool_day: one range of a data centre for a day.
      rewording: rewording a thousand prompts.
      life_days: days over which an account or a card that is not caught is written off.
    """

    account: float = 1.0
    aged: float = 10.0
    card: float = 4.0
    home_day: float = 0.10
    pool_day: float = 0.50
    rewording: float = 0.25
    life_days: float = 90.0


SOURCES: dict[str, tuple[str, str]] = {
    "account": (
        "new account with a verified phone",
        "assumption: four times the code alone, for mail, captcha and failures; codes were sold at "
        "$0.08 (Russia), $0.25 (USA) to $4.93 (Japan) (Cambridge Online Trust and Safety Index, "
        "2025, as reported by the press)",
    ),
    "aged": ("account opened long ago", "assumption: ten times a new one"),
    "card": ("payment instrument (virtual card)", "assumption"),
    "home_day": (
        "residential exit, a day",
        "assumption: a static address at about $3 a month; by volume they were offered at $0.89 to "
        "$5 a GB (list of one provider, June 2026)",
    ),
    "pool_day": ("range of a data centre, a day", "assumption"),
    "rewording": (
        "rewording 1,000 prompts",
        "assumption: 200 tokens in and 150 out at the list price of a small model ($0.25 and "
        "$1.25 a million)",
    ),
    "life_days": ("days over which what is not caught is written off", "assumption"),
}
"""What each price is of, and where it is from."""
assert set(SOURCES) == {field.name for field in fields(Prices)}

PRICES = Prices()


@dataclass(frozen=True, slots=True)
class Inventory:
    """What was used in a period, and what of it was lost.

    Attributes:
      days: length of the period.
      new, aged: accounts in use, by what was paid for them.
      lost_new, lost_aged: of these, taken away at its end.
      cards, lost_cards: payment instruments.
      homes: residential exits.
      pools: ranges of data centres.
      reworded: prompts that were reworded.
      wanted_usd, cover_usd: list price of the requests.
    """

    days: float
    new: int
    aged: int
    lost_new: int
    lost_aged: int
    cards: int
    lost_cards: int
    homes: int
    pools: int
    reworded: int
    wanted_usd: float
    cover_usd: float


@dataclass(frozen=True, slots=True)
class Bill:
    """A period's costs in USD, by what they are for."""

    requests: float
    cover: float
    accounts: float
    cards: float
    networks: float
    rewording: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.requests + self.hiding

    @property
    def hiding(self) -> float:
        """All but the list price of the wanted requests."""
        return self.cover + self.accounts + self.cards + self.networks + self.rewording


def bill(used: Inventory, prices: Prices = PRICES) -> Bill:
    """What a period costs.

    What is lost is paid in full in the period in which it is lost; what is kept is written off day
    by day. So buying much at the start does not make the first period dear.
    """
    share = min(used.days / prices.life_days, 1.0)

    def worn(count: int, lost: int, price: float) -> float:
        return price * (lost + share * (count - lost))

    return Bill(
        used.wanted_usd,
        used.cover_usd,
        worn(used.new, used.lost_new, prices.account)
        + worn(used.aged, used.lost_aged, prices.aged),
        worn(used.cards, used.lost_cards, prices.card),
        used.days * (used.homes * prices.home_day + used.pools * prices.pool_day),
        used.reworded / 1000 * prices.rewording,
    )


def per_thousand(total: float, through: int) -> float:
    """USD for a thousand requests that got through; infinite when none did."""
    return 1000 * total / through if through else inf
