"""Accounts with a past and new ones are ranked apart."""

from __future__ import annotations

from bench.pasts import table
from pipelines.judge import Account


def account(name: str, attack: bool, p_value: float) -> Account:
    return Account(
        name, attack, "bulk" if attack else "person", "", p_value, 0.0, p_value, 9, False
    )


def test_each_kind_of_account_is_ranked_by_itself() -> None:
    known = [account("a", True, 0.01), account("b", False, 0.2), account("c", False, 0.3)]
    new = [account("d", True, 0.9), account("e", False, 0.4)]
    lines = table([*known, *new], frozenset("abc"))[2:]
    assert lines == [
        "| all | 3 | 2 | 0.500 | 50.0% |",
        "| in the history | 2 | 1 | 1.000 | 100.0% |",
        "| new | 1 | 1 | 0.000 | 0.0% |",
    ]
    assert table(known[1:], frozenset())[-1] == "| new | 2 | 0 | – | – |"
