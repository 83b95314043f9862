"""The queue: its order, its pages, its filters, and that it follows tables and decisions."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest

from pipelines.report.story import SEVERITIES
from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.triage.queue import Queue
from pipelines.triage.queue_page import QueueFilter, QueueRow
from pipelines.triage.states import GROUP
from tests.support.triage import client_of, writing
from transforms.alerts.dispositions import decide

ANY = QueueFilter(state="any")


def queue_of(tables: Path) -> Queue:
    queue = Queue(DuckDBStore(tables), refresh_s=0)
    queue.refresh(force=True)
    return queue


def everything(queue: Queue, wanted: QueueFilter = ANY, size: int = 37) -> list[QueueRow]:
    """All pages, one after the other."""
    rows, after = [], ""
    while True:
        page = queue.page(wanted, size, after=after)
        assert page.first == (len(rows) + 1 if page.rows else 0)
        rows += page.rows
        if not page.after:
            assert len(rows) == page.total
            return rows
        after = page.after


def order(row: QueueRow) -> tuple[object, ...]:
    grave = SEVERITIES.index(row.severity)
    return GROUP[row.state], grave, -(row.exposure_usd or 0), row.p_value, row.cluster_id


def decide_on(store: DuckDBStore, cluster: str, decision: str) -> str:
    made = decide(
        {"cluster_id": cluster}, ["a", "b"], decision, by="me", why="so", at_ms=_now(),
        until_ms=_now() + 10**9 if decision == "permitted" else None,
    )  # fmt: skip
    return store.append(made).disposition_id


def _now() -> int:
    return int(time.time() * 1000)


def test_every_cluster_is_on_one_page_in_the_stated_order(made_tables: Path) -> None:
    queue = queue_of(made_tables)
    rows = everything(queue)
    assert len({r.cluster_id for r in rows}) == len(rows) == 300
    assert [order(r) for r in rows] == sorted(order(r) for r in rows)


def test_pages_backwards_are_the_pages_forwards(made_tables: Path) -> None:
    queue = queue_of(made_tables)
    pages = [queue.page(ANY, 50)]
    while pages[-1].after:
        pages.append(queue.page(ANY, 50, after=pages[-1].after))
    for earlier, later in pairwise(pages):
        assert queue.page(ANY, 50, before=later.before).rows == earlier.rows
    assert not pages[0].before


@pytest.mark.parametrize("place", ["x", "e30", "W10", "WzEsMiwzLDQsNV0", "%%%", "W251bGxd"])
def test_a_made_up_place_is_the_first_page(made_tables: Path, place: str) -> None:
    queue = queue_of(made_tables)
    assert queue.page(ANY, 10, after=place).rows == queue.page(ANY, 10).rows


def test_filters_agree_with_the_rows(made_tables: Path) -> None:
    queue = queue_of(made_tables)
    rows = everything(queue)
    for wanted, fits in (
        (QueueFilter(), lambda r: r.state == "open"),
        (QueueFilter("resolved"), lambda r: r.state == "resolved"),
        (QueueFilter("any", severity="high"), lambda r: r.severity == "high"),
        (QueueFilter("any", tactic="hand_over"), lambda r: "hand_over" in r.tactics),
        (QueueFilter("any", text=rows[7].cluster_id[4:11]), lambda r: r == rows[7]),
    ):
        expected = [r for r in rows if fits(r)]
        assert expected
        assert everything(queue, wanted) == expected


def test_an_account_finds_its_cluster(made_tables: Path) -> None:
    with duckdb.connect(str(made_tables), read_only=True) as connection:
        account, cluster = connection.execute(
            "SELECT account_id, cluster_id FROM cluster_members ORDER BY account_id LIMIT 1"
        ).fetchone() or ("", "")
    found = everything(queue_of(made_tables), QueueFilter("any", text=account))
    assert [r.cluster_id for r in found] == [cluster]


@pytest.mark.parametrize(
    ("decision", "state"),
    [
        ("confirm", "confirmed"),
        ("dismiss", "dismissed"),
        ("permitted", "permitted"),
        ("watch", "watched"),
    ],
)
def test_a_decision_moves_a_cluster_and_undoing_moves_it_back(
    tables: Path, decision: str, state: str
) -> None:
    queue, store = queue_of(tables), DuckDBStore(tables)
    before = everything(queue)
    worst = before[0].cluster_id
    name = decide_on(store, worst, decision)
    queue.note()
    assert queue.stands(worst).state == state
    assert (worst in {r.cluster_id for r in everything(queue, QueueFilter())}) == (
        decision == "watch"
    )
    store.withdraw(name, "me", "wrong", "test")
    queue.refresh(force=True)
    assert everything(queue) == before


def test_a_queue_that_nothing_changed_is_as_new_as_the_last_look(made_tables: Path) -> None:
    queue = queue_of(made_tables)
    first = queue.page(ANY, 1).refreshed
    while time.time() <= first:
        pass
    queue.refresh(force=True)
    assert first < queue.page(ANY, 1).refreshed <= time.time()


def test_what_a_running_detect_writes_is_seen(tables: Path) -> None:
    queue = queue_of(tables)
    worst = queue.page(QueueFilter(), 1).rows[0].cluster_id
    with writing(tables) as connection:
        connection.execute(
            "INSERT INTO flagged_clusters BY NAME SELECT * REPLACE (revision + 1 AS revision, "
            "'resolved' AS status) FROM flagged_clusters WHERE cluster_id = ?", [worst]
        )  # fmt: skip
    queue.refresh(force=True)
    assert queue.stands(worst).state == "resolved"
    assert queue.page(ANY, 1).total == 300


def test_members_are_those_of_the_newest_row(tables: Path) -> None:
    """Its window is the latest; an earlier one may have a larger revision."""
    name = queue_of(tables).page(QueueFilter(), 1).rows[0].cluster_id
    with writing(tables) as connection:
        connection.execute(
            "INSERT INTO flagged_clusters BY NAME SELECT * REPLACE (3 AS revision, "
            "window_start + INTERVAL 28 DAY AS window_start) FROM flagged_clusters "
            "WHERE cluster_id = ?", [name]
        )  # fmt: skip
        connection.execute(
            "INSERT INTO cluster_members BY NAME SELECT * REPLACE (3 AS revision, "
            "window_start + INTERVAL 28 DAY AS window_start, 'newcomer' AS account_id) "
            "FROM cluster_members WHERE cluster_id = ? LIMIT 1", [name]
        )  # fmt: skip
    members = DuckDBStore(tables).index()[1].to_pylist()
    assert [m["account_id"] for m in members if m["cluster_id"] == name] == ["newcomer"]
    case = DuckDBStore(tables).case(name)
    assert case is not None
    assert [m["account_id"] for m in case.members] == ["newcomer"]


def test_similar_cases_are_decided_ones_and_those_with_the_same_accounts_come_first(
    tables: Path,
) -> None:
    queue, store = queue_of(tables), DuckDBStore(tables)
    first, second, third = (r.cluster_id for r in queue.page(QueueFilter(), 3).rows)
    for cluster in (second, third):
        decide_on(store, cluster, "confirm")
    with writing(tables) as connection:
        connection.execute(
            "INSERT OR REPLACE INTO cluster_members BY NAME SELECT * REPLACE (? AS cluster_id, "
            "(SELECT max(revision) FROM cluster_members WHERE cluster_id = ?) AS revision) "
            "FROM cluster_members WHERE cluster_id = ? LIMIT 1", [third, third, first]
        )  # fmt: skip
    queue.refresh(force=True)
    found = queue.similar(first)
    assert found[0].cluster_id == third
    assert found[0].shared_accounts == 1
    assert all(s.state not in ("open", "watched") and s.likeness >= 0.5 for s in found)
    assert [s.likeness for s in found] == sorted((s.likeness for s in found), reverse=True)


def test_a_message_about_many_alerts_leads_to_the_queue(tables: Path) -> None:
    """Its link is that of a case without a name."""
    answer = client_of(tables).get("/case/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/")
