"""The queue says of a cluster what the desk of alerts says of it, whatever was decided."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.triage.house import House
from pipelines.triage.queue import Queue
from pipelines.triage.queue_page import QueueFilter
from pipelines.triage.states import Quiet
from tests.support.triage import client_of, send_decision, writing
from transforms.alerts.allowlist import Allowed, Allowlist
from transforms.alerts.dispositions import decide
from transforms.alerts.paging import read_policies
from transforms.alerts.rules import Rules


def queue_of(tables: Path, quiet: Quiet | None = None) -> Queue:
    queue = Queue(DuckDBStore(tables), 0, lambda: quiet or Quiet())
    queue.refresh()
    return queue


def open_names(queue: Queue) -> list[str]:
    return [row.cluster_id for row in queue.page(QueueFilter(), 500).rows]


def accounts_of(tables: Path, name: str) -> list[str]:
    with duckdb.connect(str(tables), read_only=True) as connection:
        rows = connection.execute(
            "SELECT account_id FROM cluster_members WHERE cluster_id = ? ORDER BY ALL", [name]
        ).fetchall()
    return [row[0] for row in rows]


def change(tables: Path, sql: str, *values: object) -> None:
    with writing(tables) as connection:
        connection.execute(sql, list(values))


@pytest.fixture
def worst(tables: Path) -> str:
    """A cluster of several accounts."""
    rows = queue_of(tables).page(QueueFilter(), 500).rows
    return next(row.cluster_id for row in rows if row.accounts >= 4 and row.severity != "critical")


def dismiss(tables: Path, name: str) -> None:
    assert send_decision(client_of(tables), name, "dismiss", why="a load test").status_code == 303


def grow(tables: Path, name: str, accounts: int) -> None:
    """A later revision with so many accounts more."""
    newest = (
        "cluster_id = $1 AND revision = (SELECT max(revision) FROM flagged_clusters "
        "WHERE cluster_id = $1)"
    )
    later = "revision + 1 AS revision"
    change(
        tables,
        f"INSERT INTO cluster_members BY NAME SELECT * REPLACE ({later}) FROM cluster_members "
        f"WHERE {newest} UNION ALL SELECT m.* REPLACE ({later}, "
        "'new-' || (revision + 1) || '-' || n AS account_id) FROM (SELECT * FROM cluster_members "
        f"WHERE {newest} LIMIT 1) AS m, range($2) AS t(n)", name, accounts,
    )  # fmt: skip
    change(
        tables,
        f"INSERT INTO flagged_clusters BY NAME SELECT * REPLACE ({later}, 'growing' AS status) "
        f"FROM flagged_clusters WHERE {newest}", name,
    )  # fmt: skip


def test_what_outgrew_its_dismissal_is_open_again_and_says_so(tables: Path, worst: str) -> None:
    dismiss(tables, worst)
    assert worst not in open_names(queue_of(tables))
    held = len(accounts_of(tables, worst))
    grow(tables, worst, 1)
    assert worst not in open_names(queue_of(tables))
    grow(tables, worst, max(3, held))
    queue = queue_of(tables)
    assert worst in open_names(queue)
    stands = queue.stands(worst)
    assert stands.state == "open"
    assert stands.why.startswith("dismissed before, but")
    assert "accounts are new since" in stands.why
    client = client_of(tables)
    assert "Dismissed before, but" in client.get(f"/case/{worst}").text
    assert "Dismissed before, but" in client.get(f"/?text={worst}").text


def test_a_cluster_of_another_name_with_the_same_accounts_stays_quiet(
    tables: Path, worst: str
) -> None:
    dismiss(tables, worst)
    for table in ("flagged_clusters", "cluster_members"):
        change(tables, f"UPDATE {table} SET cluster_id = 'c-again' WHERE cluster_id = ?", worst)
    queue = queue_of(tables)
    assert queue.stands("c-again").state == "dismissed"
    assert "a load test" in queue.stands("c-again").why
    assert "c-again" not in open_names(queue)


def test_what_was_merged_is_looked_at_once(tables: Path, worst: str) -> None:
    other = next(name for name in open_names(queue_of(tables)) if name != worst)
    assert send_decision(client_of(tables), worst, "merge", other=other).status_code == 303
    queue = queue_of(tables)
    assert queue.stands(other).state == "merged"
    assert queue.stands(worst).state == "open"
    assert other not in open_names(queue)
    assert [r.cluster_id for r in queue.page(QueueFilter("merged"), 9).rows] == [other]
    assert f"Told with {worst}" in client_of(tables).get(f"/case/{other}").text
    # What it is told with is told no more, so it is looked at by itself.
    dismiss(tables, worst)
    stands = queue_of(tables).stands(other)
    assert (stands.state, stands.why) == (
        "open",
        f"merged with {worst} before, but nobody is told of that one now",
    )


def test_what_the_allowlist_permits_is_not_waiting_until_its_day(tables: Path, worst: str) -> None:
    accounts = accounts_of(tables, worst)
    common = accounts[0].rsplit("-", 1)[0]

    def house(days: int) -> House:
        entry = Allowed(
            name="nile-contract", kind="contract", owner="legal", reason="contract 17",
            expires=datetime.now(UTC) + timedelta(days=days), accounts=(f"{common}-*",),
        )  # fmt: skip
        return House(Rules(read_policies(None), allowlist=Allowlist(allow=(entry,))))

    queue = queue_of(tables, house(1).quiet())
    assert queue.stands(worst).state == "permitted"
    assert "nile-contract by legal" in queue.stands(worst).why
    assert worst not in open_names(queue)
    assert worst in open_names(queue_of(tables, house(-1).quiet()))
    assert "nile-contract" in client_of(tables, house=house(1)).get(f"/case/{worst}").text


def test_accounts_that_were_split_off_take_no_decision_along(tables: Path, worst: str) -> None:
    accounts = accounts_of(tables, worst)
    store, now = DuckDBStore(tables), int(time.time() * 1000)
    row = {"cluster_id": worst}
    store.append(decide(row, accounts, "dismiss", by="me", why="a test", at_ms=now))
    store.append(
        decide(row, accounts, "split", by="me", why="others", at_ms=now + 1,
               split_accounts=accounts[:-1])
    )  # fmt: skip
    for table in ("flagged_clusters", "cluster_members"):
        change(tables, f"UPDATE {table} SET cluster_id = 'c-apart' WHERE cluster_id = ?", worst)
    change(tables, "DELETE FROM cluster_members WHERE account_id = ?", accounts[-1])
    assert queue_of(tables).stands("c-apart").state == "open"


def test_what_is_over_stays_over_though_it_outgrew_a_decision(tables: Path, worst: str) -> None:
    dismiss(tables, worst)
    grow(tables, worst, 40)
    change(
        tables,
        "UPDATE flagged_clusters SET status = 'resolved' WHERE cluster_id = ?", worst,
    )  # fmt: skip
    assert queue_of(tables).stands(worst).state == "resolved"
