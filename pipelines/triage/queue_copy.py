"""The copy in memory of what the queue shows: one row for each cluster, and who is in it."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from pipelines.report.story import SEVERITIES
from pipelines.triage.states import GROUP, Stands


def copy_of(clusters: pa.Table, members: pa.Table) -> duckdb.DuckDBPyConnection:
    """Tables in memory, in which every cluster is open until `restate` says otherwise.

    Args:
      clusters, members: of schemas `store.INDEX` and `store.MEMBERS`.
    """
    fresh = duckdb.connect(":memory:")
    fresh.execute("SET threads = 2")
    fresh.register("incoming", clusters)
    masks = ", ".join(_mask(fresh, column) for column in ("tactics", "links"))
    fresh.execute(
        f"""CREATE TABLE queue AS
            SELECT *, {masks}, 'open' AS state, '' AS why, 0 AS grp,
              -coalesce(exposure_usd, 0.0) AS cheap,
              coalesce(list_position({list(SEVERITIES)!r}, severity), 9) AS grave
            FROM incoming ORDER BY grave, cheap, p_value, cluster_id"""
    )
    fresh.unregister("incoming")
    fresh.register("incoming", members)
    fresh.execute("CREATE TABLE members AS SELECT * FROM incoming ORDER BY cluster_id")
    fresh.execute("CREATE INDEX of_account ON members (account_id)")
    fresh.unregister("incoming")
    fresh.execute("CREATE TABLE stands (cluster_id VARCHAR, state VARCHAR, why VARCHAR)")
    return fresh


def restate(tables: duckdb.DuckDBPyConnection, found: Sequence[Stands]) -> dict[str, int]:
    """Writes down where clusters stand; those that are not named are as their status says.

    Args:
      tables: that `copy_of` made.
      found: by id.

    Returns:
      How many need somebody, by severity.
    """
    cursor = tables.cursor()
    cursor.execute("BEGIN")
    cursor.execute("DELETE FROM stands")
    if found:
        cursor.register("incoming", pa.Table.from_pylist([s._asdict() for s in found]))
        cursor.execute("INSERT INTO stands BY NAME SELECT * FROM incoming")
        cursor.unregister("incoming")
    groups = " ".join(f"WHEN '{s}' THEN {g}" for s, g in GROUP.items())
    # What is over and has outgrown what was said of it is over all the same.
    cursor.execute(
        f"""UPDATE queue SET state = now.state, why = now.why,
              grp = CASE now.state {groups} ELSE 0 END
            FROM (SELECT q.cluster_id, coalesce(s.why, '') AS why,
                    coalesce(nullif(s.state, 'open'), CASE WHEN q.status IN
                    ('resolved', 'dismissed') THEN q.status ELSE 'open' END) AS state
                  FROM queue AS q LEFT JOIN stands AS s USING (cluster_id)) AS now
            WHERE queue.cluster_id = now.cluster_id
              AND (queue.state <> now.state OR queue.why <> now.why)"""
    )
    cursor.execute("COMMIT")
    counted = cursor.execute(
        "SELECT severity, count(*) FROM queue WHERE grp <= 1 GROUP BY severity"
    )
    return dict.fromkeys(SEVERITIES, 0) | dict(counted.fetchall())


def tactics_in(tables: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Names of all tactics, sorted."""
    found = tables.cursor().execute("SELECT DISTINCT unnest(tactics) AS t FROM queue ORDER BY t")
    return tuple(row[0] for row in found.fetchall())


def _mask(tables: duckdb.DuckDBPyConnection, column: str) -> str:
    """An expression for a set of names as bits of one number, which compares fast.

    Should there ever be more than 62 names, some share a bit and look alike.
    """
    found = tables.execute(f"SELECT DISTINCT unnest({column}) AS name FROM incoming ORDER BY name")
    names = ", ".join("'" + row[0].replace("'", "''") + "'" for row in found.fetchall())
    bit = f"1::BIGINT << ((list_position([{names}]::VARCHAR[], name) - 1) % 62)"
    ored = (
        f"list_reduce(list_transform({column}, lambda name: {bit}), lambda a, b: a | b, 0::BIGINT)"
    )
    return f"coalesce({ored}, 0) AS {column}_mask"
