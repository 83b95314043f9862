"""What would have fired, with decisions and allowlists as they held at the time of each row."""

from __future__ import annotations

import weakref
from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines import policy_trial
from pipelines.policy_trial import Trial, replay
from tests.support.desk import ACCOUNTS, DAY, NOON, POLICY, cluster
from transforms.alerts.allowlist import Allowed, Allowlist
from transforms.alerts.dispositions import Disposition, decide
from transforms.alerts.paging import Policies
from transforms.alerts.standing import GrowthRule, Standings

POLICIES = Policies(policies=(POLICY,))


def fired(said: list[Disposition], allowlist: Allowlist | None = None) -> list[tuple[int, int]]:
    """Day and number of messages of each alert, of a cluster that is flagged anew each day."""
    rows = [cluster(revision=n, last_seen=NOON + n * DAY) for n in range(6)]
    held = {("c-1", rows[n]["window_start"], n): ACCOUNTS["c-1"] for n in range(6)}
    found = replay(rows, held, POLICIES, said, allowlist or Allowlist(), GrowthRule())
    return [((alert.at_ms - NOON) // DAY, alert.told) for alert in found]


def dismissed(day: int, until: int) -> Disposition:
    return decide(
        cluster(), ACCOUNTS["c-1"], "dismiss", by="ann", why="a test", at_ms=NOON + day * DAY,
        until_ms=NOON + until * DAY,
    )  # fmt: skip


def test_a_decision_holds_from_the_moment_it_was_made_until_it_ran_out() -> None:
    assert fired([]) == [(0, 1)]
    assert fired([dismissed(1, 3)]) == [(0, 1), (3, 1)]
    assert fired([dismissed(0, 4)]) == [(4, 1)]
    assert fired([dismissed(0, 9)]) == []


def test_what_was_taken_back_held_until_then() -> None:
    made = dismissed(0, 9)
    back = made.withdrawn("bob", "no", NOON + 2 * DAY)
    assert fired([made, back]) == fired([back, made]) == [(2, 1)]


def test_an_entry_of_the_allowlist_holds_until_its_day() -> None:
    entry = Allowed(
        name="nile-contract", kind="contract", owner="legal", reason="contract 17",
        expires=datetime.fromtimestamp((NOON + 2 * DAY) / 1000, UTC), accounts=("a*",),
    )  # fmt: skip
    assert fired([], Allowlist(allow=(entry,))) == [(2, 1)]


def test_what_people_decided_counts_when_it_has_run_out_too() -> None:
    rows = [cluster(f"c-{n}", last_seen=NOON) for n in range(4)]
    said = [
        decide(row, ["a"], decision, by="ann", why="x", at_ms=NOON + n * DAY,
               until_ms=None if decision == "confirm" else NOON + 9 * DAY)
        for row in rows[:3]
        for n, decision in (
            (1, "confirm"), (2, "watch"), (3, "confirm" if row is rows[0] else "dismiss"),
        )
    ]  # fmt: skip
    said.append(said[-1].withdrawn("bob", "no", NOON + 4 * DAY))
    found = replay(rows, {}, POLICIES, said, Allowlist(), GrowthRule())
    assert {alert.cluster_id: alert.verdict for alert in found} == {
        "c-0": "confirm", "c-1": "dismiss", "c-2": "watch", "c-3": "",
    }  # fmt: skip
    lines = Trial(30, 4, found, found, POLICY).lines()
    assert "Of those that people decided about, 1 of 3 were right." in lines


def test_no_more_than_a_few_states_of_what_was_said_are_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each knows all decisions of its time, so one a decision would grow with the square."""
    made: weakref.WeakSet[Standings] = weakref.WeakSet()
    most = 0

    class Counted(Standings):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            nonlocal most
            made.add(self)
            most = max(most, len(made))

    monkeypatch.setattr(policy_trial, "Standings", Counted)
    said = [
        decide(cluster(cluster_id=f"c-{n}"), [f"x{n}"], "dismiss", by="ann", why="ours",
               at_ms=NOON + n * DAY)
        for n in range(200)
    ]  # fmt: skip
    rows = [cluster(cluster_id=f"d-{n}", last_seen=NOON + n * DAY) for n in range(200)]
    found = replay(rows, {}, POLICIES, said, Allowlist(), GrowthRule())
    assert len(found) == 200
    assert 2 <= most <= 17
