"""The life of an alert: the same whatever comes late, twice, or after a restart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.alerts.life import (
    NOTHING_SAID,
    Alert,
    Observation,
    Standing,
    Step,
    advance,
    pack,
    unpack,
)
from transforms.alerts.paging import Growth
from transforms.alerts.policy import SEVERITIES

GROWTH = Growth()
DISMISSED = Standing(quiet=True, why="dismissed by ann: a test", disposition_id="d-1")
CONFIRMED = Standing(seen=True, why="confirmed by ann: yes", disposition_id="d-2")
WATCHED = Standing(seen=True, patient=True, why="watched by ann: hm", disposition_id="d-3")


def seen(revision: int = 1, severity: str = "medium", **more: Any) -> Observation:
    more = {"flagged": True, "policy": "campaign", "account_count": 4, **more}
    return Observation("c-1", 0, revision, severity=severity, **more)


def live(
    *news: tuple[Observation, Standing], alert: Alert | None = None
) -> tuple[Alert, list[Step]]:
    steps: list[Step] = []
    for now_ms, (observation, said) in enumerate(news):
        alert, made = advance(alert, observation, said, GROWTH, now_ms)
        steps += made
    assert alert is not None
    return alert, steps


def kinds(*news: tuple[Observation, Standing]) -> list[str]:
    return [step.kind for step in live(*news)[1]]


N = NOTHING_SAID
LIVES: list[tuple[list[tuple[Observation, Standing]], list[str]]] = [
    ([(seen(), N)], ["opened"]),
    ([(seen(), N), (seen(2), N), (seen(2), N)], ["opened"]),
    ([(seen(), N), (seen(2, "high"), N), (seen(3, "low"), N), (seen(4, "high"), N)],
     ["opened", "raised"]),
    ([(seen(), N), (seen(2, account_count=7), N), (seen(3, account_count=8), N)],
     ["opened", "updated"]),
    ([(seen(), N), (seen(2, exposure_usd=3.1), N)], ["opened", "updated"]),
    ([(seen(), N), (seen(2, flagged=False), N), (seen(3), N)], ["opened", "resolved", "opened"]),
    ([(seen(flagged=False), N)], []),
    ([(seen(policy=""), N)], []),
    ([(seen(2, flagged=False), N), (seen(1), N)], []),
    ([(seen(), DISMISSED)], []),
    ([(seen(), N), (seen(), DISMISSED), (seen(2), DISMISSED)], ["opened", "resolved"]),
    ([(seen(), N), (seen(), DISMISSED), (seen(), N)], ["opened", "resolved", "opened"]),
    ([(seen(), N), (seen(), CONFIRMED), (seen(2), CONFIRMED)], ["opened", "acknowledged"]),
    ([(seen(), CONFIRMED)], ["opened"]),
    ([(seen(), N), (seen(), CONFIRMED), (seen(), N)], ["opened", "acknowledged", "updated"]),
    ([(seen(), N), (seen(), WATCHED), (seen(2, account_count=40), WATCHED)],
     ["opened", "acknowledged"]),
    ([(seen(), N), (seen(), WATCHED), (seen(2, "high"), WATCHED), (seen(3, "high"), WATCHED)],
     ["opened", "acknowledged", "raised"]),
    ([(seen(), N), (seen(2, account_count=9), CONFIRMED), (seen(2, account_count=9), CONFIRMED)],
     ["opened", "acknowledged"]),
    ([(seen(), N), (seen(), WATCHED), (seen(2), CONFIRMED)],
     ["opened", "acknowledged", "acknowledged"]),
]  # fmt: skip


@pytest.mark.parametrize(("news", "wanted"), LIVES)
def test_lives(news: list[tuple[Observation, Standing]], wanted: list[str]) -> None:
    assert kinds(*news) == wanted


def test_a_cluster_that_comes_back_gets_another_alert() -> None:
    first, _ = live((seen(), N))
    again, _ = live((seen(), N), (seen(2, flagged=False), N), (seen(3), N))
    assert first.name() != again.name()
    assert first.name("drill") != first.name()
    assert (again.episode, again.revision) == (2, 1)


def test_growth_is_told_as_what_has_grown() -> None:
    def why(**more: Any) -> str:
        return live((seen(exposure_usd=12.0), N), (seen(2, **more), N))[1][-1].reason

    assert why(exposure_usd=40.0) == "grown from $12 to $40"
    assert why(account_count=9, exposure_usd=12.0) == "grown from 4 accounts to 9"
    assert why(account_count=9, exposure_usd=40.0) == "grown from 4 accounts to 9"


def test_an_end_says_why() -> None:
    assert live((seen(), N), (seen(), DISMISSED))[1][-1].reason == "dismissed by ann: a test"
    gone = seen(2, flagged=False, merged_into="c-2")
    assert live((seen(), N), (gone, N))[1][-1].reason == "its accounts are in c-2 now"


_OBSERVATIONS = st.lists(
    st.builds(
        lambda severity, accounts, flagged, policy: (severity, accounts, flagged, policy),
        st.sampled_from(SEVERITIES),
        st.integers(1, 60),
        st.booleans() | st.just(True),
        st.sampled_from(["campaign", "lone", ""]) | st.just("campaign"),
    ),
    min_size=1,
    max_size=8,
).map(
    lambda rows: [
        seen(i + 1, severity, account_count=accounts, flagged=flagged, policy=policy)
        for i, (severity, accounts, flagged, policy) in enumerate(rows)
    ]
)
_SAID = st.sampled_from([N, DISMISSED, CONFIRMED, WATCHED])


def _sane(steps: list[Step]) -> None:
    """What holds of every life: it opens once, ends once, and severities only rise in between."""
    by_alert: dict[str, list[Step]] = {}
    for step in steps:
        by_alert.setdefault(step.alert.name(), []).append(step)
    for own in by_alert.values():
        assert [step.alert.revision for step in own] == list(range(1, len(own) + 1))
        assert [step.kind for step in own].count("opened") == 1
        assert own[0].kind == "opened"
        assert all(step.kind != "resolved" for step in own[:-1])
        peaks = [SEVERITIES.index(step.alert.peak) for step in own]
        assert peaks == sorted(peaks)
        raised = [step.alert.peak for step in own if step.kind in ("opened", "raised")]
        assert len(set(raised)) == len(raised)


@settings(max_examples=500, deadline=None)
@given(_OBSERVATIONS, st.lists(_SAID, min_size=8, max_size=8), st.randoms())
def test_repeats_and_older_rows_tell_nobody_anything(
    rows: list[Observation], said: list[Standing], random: Any
) -> None:
    alert, steps = live(*zip(rows, said, strict=False))
    _sane(steps)
    last = said[len(rows) - 1]
    again = rows * 2
    random.shuffle(again)
    after, more = live(*((row, last) for row in again), alert=alert)
    assert more == []
    assert after == alert


@settings(max_examples=500, deadline=None)
@given(_OBSERVATIONS, _SAID, st.randoms())
def test_the_order_of_rows_does_not_decide_where_an_alert_stands(
    rows: list[Observation], said: Standing, random: Any
) -> None:
    mixed = [*rows, *random.sample(rows, k=len(rows) // 2)]
    random.shuffle(mixed)
    one, steps = live(*((row, said) for row in rows))
    other, other_steps = live(*((row, said) for row in mixed))
    _sane(steps)
    _sane(other_steps)
    assert one.observation == other.observation == rows[-1]
    standing = {"none": "over", "resolved": "over", "open": "live", "acknowledged": "live"}
    assert standing[one.state] == standing[other.state]


@settings(max_examples=200, deadline=None)
@given(_OBSERVATIONS, st.lists(_SAID, min_size=8, max_size=8))
def test_a_restart_after_any_row_changes_nothing(
    rows: list[Observation], said: list[Standing]
) -> None:
    whole, steps = live(*zip(rows, said, strict=False))
    alert: Alert | None = None
    made: list[Step] = []
    for now_ms, (row, standing) in enumerate(zip(rows, said, strict=False)):
        stored = None if alert is None else unpack(orjson.loads(orjson.dumps(pack(alert))))
        alert, more = advance(stored, row, standing, GROWTH, now_ms)
        made += more
    assert (alert, made) == (whole, steps)


def test_a_row_that_is_judged_again_counts_as_it_was_judged_last() -> None:
    taken_back = replace(seen(), flagged=False)
    assert kinds((seen(), N), (taken_back, N)) == ["opened", "resolved"]
