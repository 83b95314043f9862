"""Past cases that were alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

_LEAST = 0.5


@dataclass(frozen=True, slots=True)
class Similar:
    """A case that was alike."""

    cluster_id: str
    state: str
    severity: str
    likeness: float
    shared_accounts: int


@dataclass(frozen=True, slots=True)
class Past:
    """Cases on which somebody decided, or that were resolved; the newest first, then by id.

    Attributes:
      cluster_id, state, severity: str, of shape (n,).
      tactics, links: int64 of shape (n,), sets of names as bits.
    """

    cluster_id: NDArray[Any]
    state: NDArray[Any]
    severity: NDArray[Any]
    tactics: NDArray[np.int64]
    links: NDArray[np.int64]

    @classmethod
    def read(cls, tables: duckdb.DuckDBPyConnection) -> Past:
        """Of tables that `queue_copy` made, as they are now."""
        found = tables.cursor().execute(
            """SELECT cluster_id, state, severity, tactics_mask, links_mask FROM queue
               WHERE state NOT IN ('open', 'watched') ORDER BY last_seen DESC, cluster_id"""
        ).fetchnumpy()  # fmt: skip
        return cls(*(np.ma.getdata(column) for column in found.values()))

    def similar(
        self, tables: duckdb.DuckDBPyConnection, cluster_id: str, most: int = 5
    ) -> list[Similar]:
        """Those that are like a cluster.

        Likeness is the mean of how much of their tactics and of their kinds of links two clusters
        have in common (Jaccard); with any account in common it is 1.

        Args:
          tables: that this was read from.
          cluster_id: that others are compared with.
          most: of them at most.
        """
        cursor = tables.cursor()
        own = cursor.execute(
            "SELECT tactics_mask, links_mask FROM queue WHERE cluster_id = ?", [cluster_id]
        ).fetchone()
        if own is None:
            return []
        shared = _in_common(cursor, cluster_id)
        likeness = (_jaccard(self.tactics, own[0]) + _jaccard(self.links, own[1])) / 2
        kin = np.zeros(len(likeness), np.int64)
        for name, count in shared.items():
            kin[self.cluster_id == name] = count
        likeness[kin > 0] = 1.0
        fits = np.flatnonzero((likeness >= _LEAST) & (self.cluster_id != cluster_id))
        best = fits[np.lexsort((-kin[fits], -likeness[fits]))[:most]]  # stable: the newest first
        return [
            Similar(
                str(self.cluster_id[i]), str(self.state[i]), str(self.severity[i]),
                float(likeness[i]), int(kin[i]),
            )
            for i in best
        ]  # fmt: skip


def _jaccard(masks: NDArray[np.int64], own: int) -> NDArray[np.float64]:
    either = np.bitwise_count(masks | own)
    both = np.bitwise_count(masks & own).astype(np.float64)
    found: NDArray[np.float64] = np.divide(both, either, out=np.zeros(len(masks)), where=either > 0)
    return found


def _in_common(cursor: duckdb.DuckDBPyConnection, cluster_id: str) -> dict[str, int]:
    """Clusters that have accounts of a cluster, and how many. The accounts are named one by one,
    since DuckDB uses the index on them for that, and not for a join."""
    mine = cursor.execute(
        "SELECT account_id FROM members WHERE cluster_id = ?", [cluster_id]
    ).fetchall()
    if not mine:
        return {}
    found = cursor.execute(  # with any other condition DuckDB would not use it
        f"""SELECT cluster_id, count(*) FROM members
            WHERE account_id IN ({", ".join("?" * len(mine))}) GROUP BY cluster_id""",
        [row[0] for row in mine],
    ).fetchall()
    return {name: count for name, count in found if name != cluster_id}
