"""Hours in which alerts of some severities wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tests.support.desk import (
    CHANNELS,
    HOUR,
    Office,
    cluster,
)
from transforms.alerts.routing import QuietHours


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
