"""Storms: what is more than people can take is told in one message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.support.desk import (
    HOUR,
    MINUTE,
    POLICY,
    Office,
    cluster,
)
from transforms.alerts.notice import body
from transforms.alerts.paging import Budget, Policies
from transforms.alerts.restore import restored


def test_a_storm_is_one_message_that_is_told_again_when_it_doubles(
    office: Callable[..., Office],
) -> None:
    desk = office()
    steps = desk.look(*(cluster(f"c-{i:02}") for i in range(12)))
    assert len(steps) == 13  # twelve alerts, and the storm
    titles = [
        m.notice["title"] for m in desk.book.outbox.messages() if "storm" in m.notice["title"]
    ]
    assert titles == ["Medium: a storm of 8 more alerts by policy campaign, told together"]
    assert len(desk.book.outbox.messages()) == 5
    assert len(desk.look(cluster("c-20"))) == 1  # the alert lives, and nobody is told
    grown = desk.look(*(cluster(f"c-{i:02}") for i in range(30, 40)))
    assert len(grown) == 11
    told = desk.book.outbox.messages()[0].notice
    assert told["title"].startswith(
        "Growing (medium): a storm of 19 more alerts by policy campaign"
    )
    assert body(told)[:4] == [
        "More than 4 in 60 minutes.",
        "So many at once are more often our fault than an attack. Look first whether something "
        "changed at our end: a new bundle, settings, a new region.",
        "Cost: answers worth $228 at list price, as they were opened.",
        "Check first:",
    ]
    assert any(line.startswith("You can: begin at the top of the queue") for line in body(told))
    # What becomes critical leaves the storm; what is over is not told one by one.
    assert desk.look(cluster("c-35", 20, "critical")) == ["raised c-35"]
    assert desk.book.outbox.messages()[0].notice["cluster_id"] == "c-35"
    rest = [n for n in desk.book.known() if n != "c-35"]
    over = desk.look(*(cluster(n, 50, status="resolved") for n in rest))
    assert sum(step.startswith("resolved") for step in over) == len(rest) + 1
    assert (
        desk.book.outbox.messages()[0].notice["title"]
        == "Over: the storm of 19 alerts by policy campaign"
    )
    desk.now += 2 * HOUR
    assert desk.look(cluster("c-50")) == ["opened c-50"]
    assert desk.book.outbox.messages()[0].notice["cluster_id"] == "c-50"


def test_what_is_beyond_the_budget_of_a_day_is_one_storm(office: Callable[..., Office]) -> None:
    policy = POLICY.model_copy(update={"budget": Budget(alerts_per_day=2)})
    desk = office()
    desk.rules = replace(desk.rules, policies=Policies(policies=(policy,)))
    for i in range(9):  # further apart than storm_minutes
        desk.look(cluster(f"c-{i:02}"))
        desk.now += HOUR + MINUTE
    titles = [m.notice["title"] for m in reversed(desk.book.outbox.messages())]
    assert [title for title in titles if "storm" in title] == [
        "Medium: a storm of 1 more alerts by policy campaign, told together",
        "Growing (medium): a storm of 2 more alerts by policy campaign, told together",
        "Growing (medium): a storm of 4 more alerts by policy campaign, told together",
    ]
    # When the day has room again, alerts are told by themselves.
    desk.now += 16 * HOUR
    desk.look(cluster("c-20"))
    assert desk.book.outbox.messages()[0].notice["cluster_id"] == "c-20"


def test_the_storm_of_the_morning_takes_in_nothing_of_the_evening(
    office: Callable[..., Office],
) -> None:
    """Between them the day's budget was used up."""
    policy = POLICY.model_copy(update={"budget": Budget(alerts_per_day=6, storm_alerts=4)})
    desk = office()
    desk.rules = replace(desk.rules, policies=Policies(policies=(policy,)))
    desk.look(*(cluster(f"c-{i:02}") for i in range(12)))  # four, and a storm of eight
    desk.now += 2 * HOUR
    for i in range(20, 22):
        desk.look(cluster(f"c-{i:02}"))
    desk.now += 7 * HOUR
    desk.look(cluster("c-30"))
    told = desk.book.outbox.messages()[0].notice["title"]
    assert told == "Medium: a storm of 1 more alerts by policy campaign, told together"


def test_a_storm_of_yesterdays_budget_takes_in_nothing_of_a_burst_today(
    office: Callable[..., Office],
) -> None:
    policy = POLICY.model_copy(update={"budget": Budget(alerts_per_day=6, storm_alerts=4)})
    desk = office()
    desk.rules = replace(desk.rules, policies=Policies(policies=(policy,)))
    for i in range(6):
        desk.look(cluster(f"c-{i:02}"))
        desk.now += 61 * MINUTE
    desk.look(cluster("c-06"))  # beyond the day's budget
    desk.now += 23 * HOUR
    desk.look(*(cluster(f"c-{i:02}") for i in range(30, 36)))
    titles = [m.notice["title"] for m in desk.book.outbox.messages()]
    assert "Medium: a storm of 2 more alerts by policy campaign, told together" in titles


def test_the_gravest_are_told_by_themselves(office: Callable[..., Office]) -> None:
    desk = office()
    grave = ("low", "critical", "medium", "low", "high", "low", "medium", "low")
    desk.look(*(cluster(f"c-{i}", severity=severity) for i, severity in enumerate(grave)))
    alone = {
        m.notice["severity"] for m in desk.book.outbox.messages() if m.alert_id.startswith("a-")
    }
    assert alone == {"critical", "high", "medium"}


def test_a_storm_of_a_book_that_was_lost_does_not_stop_the_desk(
    office: Callable[..., Office], tmp_path: Path
) -> None:
    desk = office()
    names = [f"c-{i:02}" for i in range(6)]
    desk.look(*(cluster(name) for name in names))
    rows = [row for row in desk.book.unexported() if row["storm_id"] != row["alert_id"]]
    assert any(row["storm_id"] for row in rows)
    other = Office(tmp_path / "other")
    with other.book.writing():
        for name, known in restored(rows).items():
            other.book.keep(name, known)
    over = other.look(*(cluster(name, 20, status="resolved") for name in names))
    assert sorted(over) == [f"resolved {name}" for name in names]
    other.book.__exit__()
