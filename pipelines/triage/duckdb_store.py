"""The tables in a DuckDB file, beside the `detect` that writes them.

DuckDB lets one process write or several read. The file therefore stays open for a stretch of
questions only (`kept_open`), and rests between two, so that a running `detect` finds its turn;
while it has the file, questions wait for it, a moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from pipelines.report.read import member_rows, sessions_of
from pipelines.report.story import Session
from pipelines.tables import columns, rows
from pipelines.triage.kept_open import KeptOpen
from pipelines.triage.places import Place, Places, ordered, rows_at
from pipelines.triage.sessions import sessions_in
from pipelines.triage.store import INDEX, MEMBERS, Busy, CaseRows
from schemas.errors import DistilwatchError
from transforms.alerts.decision_store import DispositionStore
from transforms.alerts.dispositions import Disposition

Answer = TypeVar("Answer")
_PATIENCE_S = 5.0

_INDEX = """
    SELECT cluster_id, revision, coalesce(status, 'open') AS status,
      coalesce(severity, 'low') AS severity, p_value, exposure_usd, account_count AS accounts,
      request_count AS requests, epoch_ms(first_seen) AS first_seen,
      epoch_ms(last_seen) AS last_seen, tactics,
      coalesce(kinds, []) AS links,
      list_transform(list_filter(coalesce(capabilities, []), lambda c: c.taken), lambda c: c.name)
        AS capabilities,
      reasons[1].words AS reason, reasons[1].feature AS feature
    FROM flagged_clusters LEFT JOIN (
      SELECT cluster_id, list_sort(list_distinct(flatten(list(
          list_transform(coalesce(links, []), lambda l: l.kind))))) AS kinds
      FROM cluster_members GROUP BY cluster_id) USING (cluster_id)
    QUALIFY row_number() OVER (
      PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1"""
_MEMBERS = """
    SELECT m.account_id, m.cluster_id FROM cluster_members m SEMI JOIN (
      SELECT cluster_id, revision, window_start FROM flagged_clusters
      QUALIFY row_number() OVER (
        PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1) c
      ON m.cluster_id = c.cluster_id AND m.revision = c.revision
        AND (m.window_start IS NULL OR m.window_start = c.window_start)"""

_SESSION = (
    "epoch_ms(session_start) AS session_start, epoch_ms(session_end) AS session_end, revision, "
    "request_count, output_tokens"
)
_PRECISION = "SELECT * FROM precision_over_time ORDER BY week DESC, policy"
_ALERTS = """
    SELECT {columns} FROM alerts
    WHERE cluster_id = ? AND namespace IS DISTINCT FROM 'drill'
    ORDER BY alerts.changed_at, revision"""


class DuckDBStore:
    """A file that `detect` wrote, or writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decisions = DispositionStore(path)
        self._kept = KeptOpen(path, self.version)
        self._turns = self._kept.turns
        self._places = Places()

    @property
    def name(self) -> str:
        return self._path.name

    def version(self) -> str:
        marks = []
        for path in (self._path, self._path.with_name(f"{self._path.name}.wal")):
            with suppress(FileNotFoundError):
                found = path.stat()
                marks.append(f"{found.st_mtime_ns}-{found.st_size}-{found.st_ino}")
        return "/".join(marks)

    def index(self) -> tuple[pa.Table, pa.Table]:
        def read(connection: duckdb.DuckDBPyConnection) -> tuple[pa.Table, pa.Table]:
            clusters, members = (connection.sql(q).to_arrow_table() for q in (_INDEX, _MEMBERS))
            if not self._path.is_dir():  # rows of Parquet files have no numbers
                self._places = Places.read(connection, self.version())
            return clusters.cast(INDEX), members.cast(MEMBERS)

        return self._read(read)

    def case(self, cluster_id: str) -> CaseRows | None:
        def read(connection: duckdb.DuckDBPyConnection) -> CaseRows | None:
            place = self._places.of(cluster_id, self.version())
            found = _searched(connection, cluster_id) if place is None else _at(connection, place)
            if found is None:
                return None
            return CaseRows(*found, _alerts(connection, cluster_id))

        return self._read(read)

    def precision(self) -> list[Mapping[str, Any]] | None:
        def read(connection: duckdb.DuckDBPyConnection) -> list[Mapping[str, Any]] | None:
            try:
                return list(rows(connection, _PRECISION))
            except duckdb.CatalogException:  # written by an older version
                return None

        return self._read(read)

    def dispositions(self) -> list[Disposition]:
        with self._turns.read():
            return self._decisions.rows()

    def append(self, row: Disposition) -> Disposition:
        with self._turns.write():
            return self._decisions.append(row)[0]

    def withdraw(self, disposition_id: str, by: str, why: str, source: str) -> Disposition:
        with self._turns.write():
            return self._decisions.withdraw(disposition_id, by, why, source)

    def _read(self, question: Callable[[duckdb.DuckDBPyConnection], Answer]) -> Answer:
        deadline, pause = time.monotonic() + _PATIENCE_S, 0.02
        while True:
            try:
                with self._kept.reading() as connection:
                    return question(connection)
            except DistilwatchError as refused:
                if not isinstance(refused.__cause__, duckdb.Error):
                    raise
                if time.monotonic() > deadline:
                    raise Busy(
                        "the tables are being written just now", self.name, "try again in a moment"
                    ) from refused
            time.sleep(pause)
            pause = min(2 * pause, 0.25)


_Found = tuple[dict[str, Any], list[dict[str, Any]], dict[str, tuple[Session, ...]]]


def _searched(connection: duckdb.DuckDBPyConnection, cluster_id: str) -> _Found | None:
    """Rows of a case, from whole tables."""
    found = rows(
        connection,
        f"""SELECT {columns("flagged_clusters")}, min(epoch_ms(first_alert)) OVER () AS alerted
            FROM flagged_clusters WHERE cluster_id = ?
            ORDER BY flagged_clusters.window_start DESC, revision DESC LIMIT 1""",
        (cluster_id,),
    )
    if not found:
        return None
    newest = found[0]
    members = member_rows(connection, cluster_id, newest["window_start"], newest["revision"])
    return found[0], members, sessions_of(connection, [m["account_id"] for m in members])


def _at(connection: duckdb.DuckDBPyConnection, place: Place) -> _Found:
    """Rows of a case, from where they are known to be."""
    query = f"SELECT {columns('flagged_clusters')} FROM flagged_clusters WHERE rowid = {place.row}"
    (cluster,) = rows(connection, query)
    query = rows_at(columns("cluster_members"), "cluster_members")
    members = ordered(rows(connection, query, (place.members,)))
    names = {member.pop("row"): member["account_id"] for member in members}
    query = rows_at(_SESSION, "session_scores")
    sessions = rows(connection, query, (list(place.sessions),))
    for one in sessions:  # reading their names would take seven times as long as all the rest
        one["key"] = names[place.sessions[one["row"]]]
        one["session_id"] = one["key"], one["session_start"]
    return cluster | {"alerted": place.alerted}, members, sessions_in(sessions)


def _alerts(connection: duckdb.DuckDBPyConnection, cluster_id: str) -> list[dict[str, Any]]:
    try:
        return rows(connection, _ALERTS.format(columns=columns("alerts")), (cluster_id,))
    except duckdb.CatalogException:  # written by an older version, or nobody was ever told
        return []
