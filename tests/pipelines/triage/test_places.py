"""A case is the same whether its rows are searched, or where they are is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.report.read import sessions_of
from pipelines.tables import connect
from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.triage.places import Places
from pipelines.triage.sessions import sessions_in
from tests.support.triage import writing

_MIX = """
    CREATE TEMP TABLE mixed AS SELECT * FROM {table};
    DELETE FROM {table};
    INSERT INTO {table} SELECT * FROM mixed ORDER BY hash({key});
    DROP TABLE mixed"""


def _names(tables: Path) -> list[str]:
    with connect(tables) as connection:
        found = connection.execute("SELECT DISTINCT cluster_id FROM flagged_clusters").fetchall()
    return sorted(row[0] for row in found)


def test_all_cases_are_the_same_in_any_order_of_rows_and_with_older_revisions(tables: Path) -> None:
    names = _names(tables)
    with writing(tables) as connection:
        connection.execute(
            "INSERT INTO flagged_clusters BY NAME SELECT * REPLACE (revision - 1 AS revision, "
            "first_alert - INTERVAL 2 DAY AS first_alert) FROM flagged_clusters"
        )
        connection.execute(
            "INSERT INTO cluster_members BY NAME SELECT * REPLACE (revision - 1 AS revision, "
            "account_id || '-gone' AS account_id) FROM cluster_members"
        )
        connection.execute(
            "INSERT INTO session_scores BY NAME SELECT * REPLACE (revision + 1 AS revision, "
            "request_count + 7 AS request_count) FROM session_scores WHERE hash(session_id) % 3 = 0"
        )
        keys = {"session_scores": "session_id, revision", "flagged_clusters": "cluster_id",
                "cluster_members": "account_id"}  # fmt: skip
        for table, key in keys.items():
            connection.execute(_MIX.format(table=table, key=key))
    searched, known = DuckDBStore(tables), DuckDBStore(tables)
    known.index()
    assert known._places.of(names[0], known.version()) is not None
    for name in names:
        one, other = searched.case(name), known.case(name)
        assert one is not None
        assert one.members
        assert one.sessions
        assert one == other
    assert searched._places.version == ""  # it did search


def test_places_of_a_file_that_has_changed_are_not_believed(tables: Path) -> None:
    store = DuckDBStore(tables)
    store.index()
    names = _names(tables)
    before = store.case(names[0])
    with writing(tables) as connection:  # every row moves
        connection.execute(_MIX.format(table="flagged_clusters", key="revision, cluster_id"))
        connection.execute("DELETE FROM flagged_clusters WHERE cluster_id = ?", [names[1]])
    assert store.case(names[0]) == before
    assert store.case(names[1]) is None


def test_an_empty_file_has_no_places() -> None:
    assert Places().of("c-1", "") is None


def _session(number: int, start: int, length: int, revision: int) -> dict[str, Any]:
    return {
        "session_id": f"s{number}", "key": f"a{number % 2}", "session_start": 1000 * start,
        "session_end": 1000 * (start + length), "revision": revision, "request_count": number,
        "output_tokens": revision,
    }  # fmt: skip


@given(
    st.lists(
        st.builds(
            _session, st.integers(0, 7), st.integers(0, 6), st.integers(0, 6), st.integers(1, 4)
        ),
        max_size=14,
        unique_by=lambda row: (row["session_id"], row["revision"]),
    )
)
def test_sessions_are_those_that_the_query_for_them_finds(rows: list[dict[str, Any]]) -> None:
    schema = pa.schema(
        [("session_id", pa.string()), ("key", pa.string()), ("session_start", pa.int64()),
         ("session_end", pa.int64()), ("revision", pa.int64()), ("request_count", pa.int64()),
         ("output_tokens", pa.int64())]
    )  # fmt: skip
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("given", pa.Table.from_pylist(rows, schema))
        connection.execute(
            "CREATE TABLE session_scores AS SELECT * REPLACE (make_timestamptz(session_start*1000) "
            "AS session_start, make_timestamptz(session_end * 1000) AS session_end), "
            "'session_account' AS level, 'account' AS key_kind FROM given"
        )
        wanted = sessions_of(connection, ["a0", "a1"])
    found = sessions_in(rows)
    assert found.keys() == wanted.keys()
    for key, own in wanted.items():  # those that begin together have no order
        assert sorted(map(repr, found[key])) == sorted(map(repr, own))
        assert [s.start_ms for s in found[key]] == [s.start_ms for s in own]
