"""What a stream pays for a report and for an event, from what was used in phases."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from bench.reports import Phase, Used, costs, requests, table

PHASES = [Phase(0, 1), Phase(500, 1), Phase(500, 4), Phase(2_000, 1)]


def used(idle: float, report_ms: float, event_ms: float) -> list[Used]:
    found = []
    for phase in PHASES:
        reports = phase.accounts / 20
        events = reports * phase.each
        found.append(
            Used(phase, reports, events, idle + (reports * report_ms + events * event_ms) / 1000)
        )
    return found


def test_the_costs_that_made_the_figures_are_found_again() -> None:
    assert costs(used(0.2, 6.0, 0.4)) == pytest.approx((0.2, 6.0, 0.4))
    lines = table(used(0.2, 6.0, 0.4))
    assert lines[-1] == "0.20 cores where nothing comes, 6.0 ms a report, 0.40 ms an event."
    assert "| 500 | 4 | 25 | 100 | 0.39 |" in lines


def test_every_account_asks_as_often_as_its_phase_says() -> None:
    phase = Phase(30, 4)
    made = list(itertools.islice(requests(phase), 30 * 4))
    assert set(Counter(one["account_id"] for one in made).values()) == {4}
    assert len({one["payment_fingerprint"] for one in made}) == 30
    more = list(itertools.islice(requests(phase), 30 * 4 * 2))
    assert len({one["event_id"] for one in more}) == 30 * 4 * 2
