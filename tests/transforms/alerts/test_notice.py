"""What somebody who is woken reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.desk import DAY, HOUR, NOON
from transforms.alerts.life import Observation, advance
from transforms.alerts.life import Standing as Said
from transforms.alerts.notice import about, body, notice
from transforms.alerts.paging import Growth, read_policies

POLICY = read_policies(None).named("coordinated-campaign")
ROW: dict[str, Any] = {
    "tactics": [], "first_seen": NOON - 2 * DAY, "last_seen": NOON - HOUR,
    "capabilities": [{"name": "code", "taken": True}, {"name": "tool_use", "taken": True}],
    "links": [{"kind": "payment", "shared": 2}, {"kind": "network", "shared": 1}],
    "reasons": [{"words": "different topics it asks about: 164; normal is 26 to 124"},
                {"words": "networks that it comes from: 21; normal is 1 to 3"}, {"words": "third"}],
}  # fmt: skip


def message(accounts: int = 4, case_url: str = "https://t.example/case/{cluster_id}",
            over: bool = False, **row: Any) -> dict[str, Any]:  # fmt: skip
    seen = Observation(
        "c-1", 0, 1, True, "coordinated-campaign", "v", "high", "high", accounts, 5_210, 1_234.5,
        1 / 1_400, 0.091,
    )  # fmt: skip
    alert, steps = advance(None, seen, Said(), Growth(), NOON)
    if over:
        gone = replace(seen, revision=2, flagged=False)
        alert, steps = advance(alert, gone, Said(), Growth(), NOON)
    return notice(steps[-1], "a-1", about(ROW | row), POLICY, NOON, case_url=case_url)


def test_the_first_minute() -> None:
    """What is feared, what was done, how sure, what it costs, what is normal, what to check."""
    told = message()
    assert told["title"] == (
        "High: 4 accounts may be copying the model; they share a payment method and a network"
    )
    lines = body(told)
    assert lines[:3] == [
        "5,210 requests, above all for code and tool use, from 30 May 12:00 to 1 Jun 11:00 UTC.",
        "How sure: among 1,400 harmless groups of accounts about 1 looks this unusual by chance; "
        "of 100 alerts like this up to 9 may be false.",
        "Cost: answers worth $1,234 at list price so far, about $630 for each day that it goes on.",
    ]
    assert lines[3:6] == [
        "What is unusual:", "- different topics it asks about: 164; normal is 26 to 124",
        "- networks that it comes from: 21; normal is 1 to 3",
    ]  # fmt: skip
    assert POLICY is not None
    assert lines[6:7] + lines[7 : 7 + len(POLICY.check)] == [
        "Check first:", *(f"- {line}" for line in POLICY.check)
    ]  # fmt: skip
    (can,) = (line for line in lines if line.startswith("You can: "))
    assert "on the case page" in can
    assert "Nothing is blocked by itself." in can
    assert lines[-1] == "Case: https://t.example/case/c-1"
    assert sum(map(len, lines)) < 1_200  # a minute


def test_without_pages_it_says_the_command() -> None:
    (can,) = (line for line in body(message(case_url="")) if line.startswith("You can: "))
    assert "distilwatch alerts decide c-1 --as" in can


def test_what_is_over_asks_nothing() -> None:
    told = message(over=True)
    assert (
        told["title"]
        == "Over: the alert about 4 accounts that share a payment method and a network"
    )
    assert not any(
        line.startswith(("Check first", "You can", "What is unusual", "How sure"))
        for line in body(told)
    )


@pytest.mark.parametrize(
    ("tactic", "accounts", "words"),
    [
        ("replay", 1, "1 account asks the prompts of a known extraction again"),
        ("replay", 3, "3 accounts ask the prompts of a known extraction again; they share"),
        (
            "benchmark_evaluation",
            2,
            "2 accounts ask the questions of public benchmarks; they share",
        ),
        ("drip", 1, "1 account may be copying the model"),
    ],
)
def test_the_title_fits_the_policy(tactic: str, accounts: int, words: str) -> None:
    assert message(accounts, tactics=[tactic])["title"].startswith(f"High: {words}")


def test_what_is_over_costs_no_more() -> None:
    assert "Cost: answers worth $1,234 at list price." in body(message(over=True))


def test_messages_of_an_older_version_are_still_told() -> None:
    old = {k: v for k, v in message().items() if k not in ("what", "unusual")}
    assert any(line.startswith("How sure: ") for line in body(old))
