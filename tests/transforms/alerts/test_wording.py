"""How sure, and what it costs, in words."""

from __future__ import annotations

import pytest

from tests.support.desk import DAY, HOUR, NOON
from transforms.alerts.wording import costs, dollars, how_sure


@pytest.mark.parametrize(
    ("p", "q", "accounts", "words"),
    [
        (1 / 1_400, 0.091, 4, "among 1,400 harmless groups of accounts about 1 looks this unusual "
         "by chance; of 100 alerts like this up to 9 may be false."),
        (0.0028, None, 1, "among 360 harmless accounts about 1 looks this unusual by chance."),
        (1 / 4_724, 0.004, 2, "among 4,700 harmless groups of accounts about 1 looks this unusual "
         "by chance; of 100 alerts like this fewer than 1 may be false."),
        (0.0, None, 2, "among 1,000,000,000 harmless groups of accounts about 1 looks this "
         "unusual by chance."),
        (0.9, None, 2, "most harmless groups of accounts look this unusual by chance."),
        (None, 0.2, 2, "of 100 alerts like this up to 20 may be false."),
        (None, None, 2, ""),
    ],
)  # fmt: skip
def test_how_sure(p: float | None, q: float | None, accounts: int, words: str) -> None:
    assert how_sure(p, q, accounts) == words


@pytest.mark.parametrize(
    ("usd", "took", "over", "words"),
    [
        (70.0, 7 * DAY, False, "answers worth $70 at list price so far, about $10 for each day "
         "that it goes on."),
        (3.0, 12 * HOUR, False, "answers worth $3.00 at list price so far, about $6.00 for each "
         "day that it goes on."),
        (70.0, 7 * DAY, True, "answers worth $70 at list price."),
        (70.0, HOUR - 1, False, "answers worth $70 at list price so far."),
        (70.0, None, False, "answers worth $70 at list price so far."),
        (0.0, DAY, False, "not known, since the requests came without prices."),
        (None, DAY, False, "not known, since the requests came without prices."),
    ],
)  # fmt: skip
def test_what_it_costs(usd: float | None, took: int | None, over: bool, words: str) -> None:
    assert costs(usd, NOON, None if took is None else NOON + took, over) == words


def test_cents_only_where_they_matter() -> None:
    assert [dollars(usd) for usd in (0.5, 9.99, 13.42, 1_234.5)] == [
        "$0.50", "$9.99", "$13", "$1,234"
    ]  # fmt: skip
