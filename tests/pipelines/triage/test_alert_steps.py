"""Alerts on the pages: who was told of a cluster, and how right the policies were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.triage.queue import Queue
from pipelines.triage.queue_page import QueueFilter
from schemas.tables import TABLES
from tests.support.triage import client_of, send_decision, writing
from transforms.sinks.duckdb import write_tables

MONDAY, WEEK = 1_780_272_000_000, 7 * 86_400_000  # 2026-06-01


def step(cluster: str, revision: int, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "alert_id": f"a-{cluster}", "revision": revision, "cluster_id": cluster, "step": kind,
        "state": "open", "severity": "high", "changed_at": MONDAY + revision,
        "policy": "coordinated-campaign", "reason": "flagged", "channels": ["pager", "room"],
    } | more  # fmt: skip


def add(tables: Path, *rows: dict[str, Any]) -> None:
    write_tables(tables, {"alerts": TABLES["alerts"].to_arrow(rows)}, patience_s=120)


@pytest.fixture
def names(tables: Path) -> list[str]:
    queue = Queue(DuckDBStore(tables), 0)
    queue.refresh()
    return [row.cluster_id for row in queue.page(QueueFilter(), 4).rows]


def test_a_case_says_who_was_told_of_it_and_nothing_of_drills(
    tables: Path, names: list[str]
) -> None:
    name = names[0]
    assert "Alert:" not in client_of(tables).get(f"/case/{name}").text
    add(
        tables,
        step(name, 1, "opened"),
        step(name, 2, "raised", reason="<b>high</b> before, critical now", severity="critical"),
        step(name, 9, "opened", alert_id="a-drill", namespace="drill", reason="made up"),
        step(names[1], 1, "opened", channels=[], storm_id="s-1"),
        step(names[2], 1, "opened", channels=[]),
    )
    client = client_of(tables)
    page = client.get(f"/case/{name}").text
    assert "made up" not in page
    assert "<b>high" not in page
    assert "Alert:</strong> raised" in page
    assert "&lt;b&gt;high&lt;/b&gt; before, critical now); for pager, room" in page
    assert page.index("Raised <span") < page.index("Opened <span")
    assert "in a storm" in client.get(f"/case/{names[1]}").text
    assert "nobody was told: no channel" in client.get(f"/case/{names[2]}").text
    assert "Alert:</strong> raised" in client.get(f"/case/{name}/file").text


def test_precision_by_policy_is_told_week_by_week(tables: Path, names: list[str]) -> None:
    add(
        tables,
        *(step(name, 1, "opened", changed_at=MONDAY + 3) for name in names[:3]),
        step(names[3], 1, "opened", changed_at=MONDAY + WEEK, policy="lone-harvester"),
    )
    client = client_of(tables)
    for name, decision in zip(names, ("confirm", "confirm", "dismiss", "watch"), strict=True):
        assert send_decision(client, name, decision).status_code == 303
    page = client.get("/policies").text
    own, other, *rest = page.split('<h2 id="')[1:]
    assert own.startswith("coordinated-campaign")
    assert "2026-06-01" in own
    assert "67%" in own
    assert "(21% to 94%)" in own  # Wilson's interval of 2 in 3
    assert other.startswith("lone-harvester")
    assert "2026-06-08" in other
    assert "%)" not in other  # watched is no verdict
    assert len(rest) == 3  # the other policies that come with distilwatch
    assert all("has opened no alert" in one for one in rest)


def test_tables_of_an_older_version_have_cases_and_say_what_is_missing(
    tables: Path, names: list[str]
) -> None:
    with writing(tables) as connection:
        connection.execute("DROP VIEW precision_over_time")
        connection.execute("DROP VIEW precision_by_policy")
        connection.execute("DROP VIEW current_alerts")
        connection.execute("DROP TABLE alerts")
    client = client_of(tables)
    assert client.get(f"/case/{names[0]}").status_code == 200
    assert "older version" in client.get("/policies").text


def test_without_alerts_the_page_says_so(tables: Path) -> None:
    assert client_of(tables).get("/policies").text.count("It has opened no alert") == 5
