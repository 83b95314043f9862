"""Past cases that were alike."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

# Of a mask and a parameter, which comes twice.
_JACCARD = "coalesce(bit_count({0} & ?) / nullif(bit_count({0} | ?), 0), 0)"


@dataclass(frozen=True, slots=True)
class Similar:
    """A case that was alike."""

    cluster_id: str
    state: str
    severity: str
    likeness: float
    shared_accounts: int


def similar_to(tables: duckdb.DuckDBPyConnection, cluster_id: str, most: int = 5) -> list[Similar]:
    """Cases on which somebody decided, or that were resolved, and that were alike.

    Likeness is the mean of how much of their tactics and of their kinds of links two clusters
    have in common (Jaccard); with any account in common it is 1.

    Args:
      tables: with `queue` and `members`; see `queue_copy`.
      cluster_id: that others are compared with.
      most: of them at most.
    """
    cursor = tables.cursor()
    own = cursor.execute(
        "SELECT tactics_mask, links_mask FROM queue WHERE cluster_id = ?", [cluster_id]
    ).fetchone()
    if own is None:
        return []
    names, counts = _in_common(cursor, cluster_id)
    found = cursor.execute(
        f"""WITH common AS (SELECT unnest(?::VARCHAR[]) AS cluster_id, unnest(?::BIGINT[]) AS n),
             measured AS (
               SELECT cluster_id, state, severity, last_seen, coalesce(n, 0) AS shared,
                 ({_JACCARD.format("tactics_mask")} + {_JACCARD.format("links_mask")}) / 2 AS alike
               FROM queue LEFT JOIN common USING (cluster_id)
               WHERE cluster_id <> ? AND state NOT IN ('open', 'watched'))
           SELECT cluster_id, state, severity,
             CASE WHEN shared > 0 THEN 1.0 ELSE alike END AS likeness, shared
           FROM measured WHERE likeness >= 0.5
           ORDER BY likeness DESC, shared DESC, last_seen DESC, cluster_id LIMIT ?""",
        [names, counts, own[0], own[0], own[1], own[1], cluster_id, most],
    ).fetchall()
    return [Similar(*row) for row in found]


def _in_common(cursor: duckdb.DuckDBPyConnection, cluster_id: str) -> tuple[list[str], list[int]]:
    """Clusters that have accounts of a cluster, and how many. The accounts are named one by one,
    since DuckDB uses the index on them for that, and not for a join."""
    mine = cursor.execute(
        "SELECT account_id FROM members WHERE cluster_id = ?", [cluster_id]
    ).fetchall()
    if not mine:
        return [], []
    found = cursor.execute(
        f"""SELECT cluster_id, count(*) FROM members
            WHERE account_id IN ({", ".join("?" * len(mine))}) GROUP BY cluster_id""",
        [row[0] for row in mine],
    ).fetchall()
    return [row[0] for row in found], [row[1] for row in found]
