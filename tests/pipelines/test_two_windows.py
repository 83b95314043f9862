"""A cluster that lives on into the next window, and has as many requests there by now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.newest import Local
from pipelines.report.read import member_rows
from pipelines.settings.tables import TablesConfig
from pipelines.tables import connect, rows
from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.upkeep import expire
from schemas.tables import TABLES
from tests.support.commit import T0, cluster
from transforms.sinks.duckdb import write_tables

NEXT = T0 + 28 * 86_400_000


def members(start_ms: int, *accounts: str) -> list[dict[str, Any]]:
    return [
        {"cluster_id": "c", "revision": 500, "account_id": a, "since": start_ms, "links": [],
         "window_start": start_ms, "request_count": 250}
        for a in accounts
    ]  # fmt: skip


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """The cluster is of a and b in its first window, and of a and z in the next."""
    path = tmp_path / "out.duckdb"
    then = {"window_start": NEXT, "window_end": NEXT + 1, "first_seen": NEXT, "last_seen": NEXT}
    write_tables(
        path,
        {
            "flagged_clusters": TABLES["flagged_clusters"].to_arrow(
                [c | {"exposure_usd": 10.0} for c in (cluster("c", 500), cluster("c", 500) | then)]
            ),
            "cluster_members": TABLES["cluster_members"].to_arrow(
                [*members(T0, "a", "b"), *members(NEXT, "a", "z")]
            ),
        },
    )
    return path


def test_each_window_has_its_own_members(tables: Path) -> None:
    assert Local(tables).read().accounts == {"c": ["a", "z"]}
    store = DuckDBStore(tables)
    case = store.case("c")
    assert case is not None
    assert [m["account_id"] for m in case.members] == ["a", "z"]
    assert sorted(store.index()[1]["account_id"].to_pylist()) == ["a", "z"]
    case = store.case("c")  # by now it is known where its rows are
    assert case is not None
    assert [m["account_id"] for m in case.members] == ["a", "z"]
    with connect(tables) as connection:
        for start_ms, other in ((T0, "b"), (NEXT, "z")):
            found = member_rows(connection, "c", start_ms, 500)
            assert [m["account_id"] for m in found] == ["a", other]
        taken = rows(connection, "SELECT account_id, exposure_usd FROM accounts_by_exposure")
        # Half of each window's, which are added up.
        assert {r["account_id"]: r["exposure_usd"] for r in taken} == {"a": 10, "b": 5, "z": 5}


def test_members_go_with_their_own_window(tables: Path) -> None:
    with duckdb.connect(str(tables)) as connection:
        connection.execute("DELETE FROM flagged_clusters WHERE epoch_ms(window_start) = ?", [T0])
        # Of an older version: it may be of any window.
        connection.execute(
            "INSERT INTO cluster_members BY NAME SELECT * REPLACE (NULL AS window_start, 'o' AS "
            "account_id) FROM cluster_members WHERE account_id = 'b'"
        )
    forever = {name: 0 for name in TablesConfig.model_fields if name != "grace"}
    settings = TablesConfig(**forever | {"keep_revisions": "1 d"})
    expire(f"duckdb:///{tables}", settings, NEXT + 30 * 86_400_000)
    with connect(tables) as connection:
        left = rows(connection, "SELECT account_id FROM cluster_members ORDER BY account_id")
    assert [row["account_id"] for row in left] == ["a", "o", "z"]
