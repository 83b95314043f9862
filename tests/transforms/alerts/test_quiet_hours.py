"""Hours in which alerts of some severities wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tests.support.desk import (
    ACCOUNTS,
    CHANNELS,
    HOUR,
    NOON,
    Office,
    Script,
    cluster,
    sender,
)
from transforms.alerts.channels import TryLater
from transforms.alerts.dispositions import decide
from transforms.alerts.routing import QuietHours

QUIET = CHANNELS.model_copy(
    update={
        "quiet_hours": (QuietHours(severity=("low", "medium"), begin="08:00", end="20:00"),),
    }
)


def test_what_is_over_before_quiet_hours_end_is_never_told(office: Callable[..., Office]) -> None:
    quiet = QuietHours(severity=("low", "medium"), begin="08:00", end="20:00")
    desk = office(channels=CHANNELS.model_copy(update={"quiet_hours": (quiet,)}))
    desk.look(cluster(), cluster("c-2", severity="high"))
    assert desk.waiting() == [("hook", "opened"), ("pager", "opened")]  # c-2's
    assert desk.look(cluster(revision=20, status="resolved")) == ["resolved c-1"]
    desk.now += 9 * HOUR
    assert desk.waiting() == [("hook", "opened"), ("pager", "opened")]
    assert desk.book.outbox.counts() == {"pending": 2, "dropped": 1}


def test_quiet_hours_go_over_midnight_and_know_the_zone() -> None:
    hours = QuietHours(severity=("low",), begin="22:00", end="07:00", zone="Europe/Berlin")

    def utc(text: str) -> int:
        return round(datetime.fromisoformat(text + "+00:00").timestamp() * 1000)

    ends = {
        "2026-06-01T19:59": "2026-06-01T19:59",  # 21:59 in Berlin
        "2026-06-01T20:00": "2026-06-02T05:00",
        "2026-06-02T04:59": "2026-06-02T05:00",
        "2026-06-02T05:00": "2026-06-02T05:00",
        "2026-12-01T21:30": "2026-12-02T06:00",
        "2026-10-24T23:00": "2026-10-25T06:00",  # the clocks go back in this night
    }
    assert {at: hours.over_at("low", utc(at)) for at in ends} == {
        at: utc(end) for at, end in ends.items()
    }
    assert hours.over_at("high", utc("2026-06-02T00:00")) == utc("2026-06-02T00:00")


def test_what_became_graver_does_not_wait_behind_what_waits(office: Callable[..., Office]) -> None:
    desk = office(channels=QUIET)
    desk.look(cluster(severity="low"))
    assert desk.waiting() == []
    desk.look(cluster(revision=20, severity="critical"))
    assert desk.waiting() == [("hook", "raised"), ("pager", "raised")]
    first = desk.book.outbox.due(desk.now)[0].notice
    assert first["title"].startswith("Now critical: 4 accounts may be copying the model")
    assert first["reason"] == "low before, critical now"
    assert sender(desk, Script())[0].send_due().sent == 2
    desk.now += 9 * HOUR
    assert desk.waiting() == []
    # Who heard of it hears of its end.
    desk.look(cluster(revision=30, status="resolved"))
    assert desk.waiting() == [("hook", "resolved"), ("pager", "resolved")]


def test_what_is_behind_what_waits_is_overtaken_with_it(office: Callable[..., Office]) -> None:
    desk = office(channels=QUIET)
    desk.look(cluster())
    watched = decide(
        cluster(), ACCOUNTS["c-1"], "watch", by="ann", why="hm", at_ms=NOON, until_ms=NOON + HOUR
    )
    desk.look(said=[watched])
    desk.look(cluster(revision=20, severity="high"), said=[watched])
    assert desk.waiting() == [("hook", "raised"), ("pager", "raised")]
    assert desk.book.outbox.counts() == {"pending": 2, "dropped": 2}


def test_what_was_tried_goes_out_before_what_is_graver(office: Callable[..., Office]) -> None:
    desk = office(channels=QUIET)
    desk.now -= 5 * HOUR  # before the quiet hours
    desk.look(cluster())
    sending, _ = sender(desk, Script(TryLater("down")))
    sending.send_due()  # it may have arrived, so it is tried again under the same key
    desk.look(cluster(revision=20, severity="high"))
    [waiting] = desk.book.outbox.messages(["pending"])[1:2]
    assert waiting.notice["step"] == "raised"
    assert desk.book.outbox.counts() == {"pending": 3}


def test_a_storm_that_became_graver_does_not_wait(office: Callable[..., Office]) -> None:
    desk = office(channels=QUIET)
    desk.look(*(cluster(f"c-{i}") for i in range(7)))
    assert desk.waiting() == []
    desk.look(cluster("c-5", 20, "high"))
    assert [m.notice["title"] for m in desk.book.outbox.due(desk.now)] == [
        "Now high: a storm of 3 more alerts by policy campaign, told together"
    ] * 2


def test_what_was_in_hand_and_over_in_one_night_is_never_told(
    office: Callable[..., Office],
) -> None:
    desk = office(channels=QUIET)
    desk.look(cluster())
    said = [
        decide(cluster(), ACCOUNTS["c-1"], decision, by="ann", why="hm", at_ms=NOON + later)
        for later, decision in enumerate(("watch", "dismiss"))
    ]
    assert desk.look(said=said[:1]) == ["acknowledged c-1"]
    assert desk.look(said=said[1:]) == ["resolved c-1"]
    assert desk.book.outbox.counts() == {"dropped": 2}


def test_a_storm_that_is_over_before_quiet_hours_end_is_never_told(
    office: Callable[..., Office],
) -> None:
    desk = office(channels=QUIET)
    names = [f"c-{i}" for i in range(7)]
    desk.look(*(cluster(name) for name in names))
    over = desk.look(*(cluster(name, 20, status="resolved") for name in names))
    assert len(over) == 8  # the storm's end is a step, which the table has
    desk.now += 9 * HOUR
    assert desk.waiting() == []
    assert desk.book.outbox.counts() == {"dropped": 5}


def test_the_end_is_told_where_the_beginning_may_have_been_heard(
    office: Callable[..., Office],
) -> None:
    desk = office(channels=QUIET)
    desk.now -= 5 * HOUR  # before the quiet hours
    desk.look(cluster())
    sending, _ = sender(desk, Script(TryLater("no answer in time")), limit=1)
    assert sending.send_due().dead == 1
    desk.now += 5 * HOUR
    desk.look(cluster(revision=20, account_count=9))  # waits
    desk.look(cluster(revision=30, status="resolved"))
    assert desk.waiting() == [("hook", "resolved")]
