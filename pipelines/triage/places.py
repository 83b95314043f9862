"""Where the rows of a case are in a DuckDB file, so that a case does not search whole tables.

Rows lie in the order in which runs wrote them, and DuckDB has no index that helps: the sessions of
six accounts among millions cost a look at every one. So whenever the queue is read anew, row
numbers are noted, too. They hold for as long as the file is as it was then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

_PLACES = """
    WITH newest AS MATERIALIZED (
      SELECT rowid AS place, cluster_id, revision, window_start,
        min(epoch_ms(first_alert)) OVER (PARTITION BY cluster_id) AS alerted
      FROM flagged_clusters QUALIFY row_number() OVER (
        PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1),
    held AS MATERIALIZED (
      SELECT n.place, m.rowid AS own, m.account_id
      FROM cluster_members AS m JOIN newest AS n ON m.cluster_id = n.cluster_id
        AND m.revision = n.revision
        AND (m.window_start IS NULL OR m.window_start = n.window_start)),
    joined AS (SELECT place, list(own) AS members FROM held GROUP BY place),
    worked AS (
      SELECT h.place, list({'row': s.rowid, 'of': h.own}) AS sessions
      FROM session_scores AS s JOIN held AS h ON s.key = h.account_id
      WHERE s.level <> 'profile' AND s.key_kind = 'account' GROUP BY h.place)
    SELECT cluster_id, place, alerted, coalesce(members, []) AS members,
      coalesce(sessions, []) AS sessions
    FROM newest LEFT JOIN joined USING (place) LEFT JOIN worked USING (place)"""


@dataclass(frozen=True, slots=True)
class Place:
    """Row numbers of a case.

    Attributes:
      row: of its newest row in `flagged_clusters`.
      alerted: when it was first known, milliseconds UTC.
      members: in `cluster_members`.
      sessions: in `session_scores`, and for each that of its account in `cluster_members`.
    """

    row: int
    alerted: int | None
    members: list[int]
    sessions: dict[int, int]


class Places:
    """Places of all clusters at one version of a file."""

    def __init__(self, version: str = "", found: pa.Table | None = None) -> None:
        self.version = version
        self._found = found
        names = found["cluster_id"].to_pylist() if found is not None else []
        self._numbers = {name: number for number, name in enumerate(names)}

    @classmethod
    def read(cls, connection: duckdb.DuckDBPyConnection, version: str) -> Places:
        """Notes them.

        Args:
          connection: to the file.
          version: of it, while this connection is open.
        """
        return cls(version, connection.sql(_PLACES).to_arrow_table().combine_chunks())

    def of(self, cluster_id: str, version: str) -> Place | None:
        """The place of a cluster; None where it is not known at this version of the file."""
        number = self._numbers.get(cluster_id)
        if number is None or self._found is None or version != self.version:
            return None
        _, row, alerted, members, sessions = (
            column[number].as_py() for column in self._found.columns
        )
        return Place(row, alerted, members, {one["row"]: one["of"] for one in sessions})


def rows_at(what: str, table: str) -> str:
    """A query for rows, with their numbers, which are its one parameter. A join with them is what
    DuckDB prunes by; a list in `IN` makes it read every row."""
    return f"SELECT rowid AS row, {what} FROM {table} WHERE rowid IN (SELECT unnest(?::BIGINT[]))"


def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Members, the most active first."""
    return sorted(rows, key=lambda row: (-(row["request_count"] or 0), row["account_id"]))
