"""Past cases that were alike."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb


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
    found = tables.cursor().execute(
        """WITH own AS (SELECT * FROM queue WHERE cluster_id = ?),
             mine AS (SELECT account_id FROM members WHERE cluster_id = ?),
             common AS (SELECT m.cluster_id, count(*) AS n FROM members AS m
               SEMI JOIN mine USING (account_id) GROUP BY m.cluster_id),
             measured AS (
               SELECT q.cluster_id, q.state, q.severity, q.last_seen,
                 coalesce(c.n, 0) AS shared,
                 (coalesce(bit_count(q.tactics_mask & own.tactics_mask)
                    / nullif(bit_count(q.tactics_mask | own.tactics_mask), 0), 0)
                  + coalesce(bit_count(q.links_mask & own.links_mask)
                    / nullif(bit_count(q.links_mask | own.links_mask), 0), 0)) / 2 AS alike
               FROM queue AS q CROSS JOIN own LEFT JOIN common AS c
                 ON c.cluster_id = q.cluster_id
               WHERE q.cluster_id <> own.cluster_id AND q.state NOT IN ('open', 'watched'))
           SELECT cluster_id, state, severity,
             CASE WHEN shared > 0 THEN 1.0 ELSE alike END AS likeness, shared
           FROM measured WHERE likeness >= 0.5
           ORDER BY likeness DESC, shared DESC, last_seen DESC, cluster_id LIMIT ?""",
        [cluster_id, cluster_id, most],
    ).fetchall()  # fmt: skip
    return [Similar(*row) for row in found]
