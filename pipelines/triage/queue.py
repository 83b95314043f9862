"""The queue: what is flagged, in the order of what matters, kept in memory.

The order is: undecided before watched before confirmed before settled; then severity; then
exposure, the dearest first; then p-value, the smallest first; then the id, so that no two pages
ever disagree. A page begins after a place in that order, not after a number of rows: what is
flagged meanwhile shifts nothing.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.report.story import SEVERITIES
from pipelines.triage.states import GROUP, STATES, Quiet, Stands, standings
from pipelines.triage.store import Store
from transforms.alerts.dispositions import Disposition

_ORDER = "grp, grave, cheap, p_value, cluster_id"
_SHOWN = (
    "cluster_id, state, severity, p_value, exposure_usd, accounts, requests, first_seen, "
    "last_seen, tactics, reason, why"
)


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """What of the queue is wanted; empty is everything.

    Attributes:
      state: one of STATES, or "any"; "" is what needs somebody: open and watched.
      severity, tactic: one.
      text: part of a cluster's or an account's id.
    """

    state: str = ""
    severity: str = ""
    tactic: str = ""
    text: str = ""

    def where(self) -> tuple[str, list[Any]]:
        """A condition in SQL and its parameters."""
        parts, values = ["true"], []
        if self.state in STATES:
            parts.append("state = ?")
            values.append(self.state)
        elif self.state != "any":
            parts.append("grp <= 1")
        if self.severity in SEVERITIES:
            parts.append("severity = ?")
            values.append(self.severity)
        if self.tactic:
            parts.append("list_contains(tactics, ?)")
            values.append(self.tactic)
        if self.text:
            parts.append(
                "(contains(cluster_id, ?) OR cluster_id IN "
                "(SELECT cluster_id FROM members WHERE contains(account_id, ?)))"
            )
            values += [self.text, self.text]
        return " AND ".join(parts), values


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A line of the queue; see `store.INDEX` and `states.Stands`."""

    cluster_id: str
    state: str
    severity: str
    p_value: float
    exposure_usd: float | None
    accounts: int
    requests: int
    first_seen: int
    last_seen: int
    tactics: tuple[str, ...]
    reason: str
    why: str


@dataclass(frozen=True, slots=True)
class QueuePage:
    """A page of the queue.

    Attributes:
      rows: in order.
      first: number of the first of them among all that fit, from 1; 0 without any.
      total: how many fit.
      before, after: where the page before ends and the next begins; "" where there is none.
      refreshed: when the tables were looked at last, seconds since 1970.
    """

    rows: tuple[QueueRow, ...]
    first: int
    total: int
    before: str
    after: str
    refreshed: float


@dataclass(frozen=True, slots=True)
class Similar:
    """A case that was alike."""

    cluster_id: str
    state: str
    severity: str
    likeness: float
    shared_accounts: int


class Queue:
    """A copy of what the queue shows; read anew when the tables have changed."""

    def __init__(self, store: Store, refresh_s: float, quiet: Quiet | None = None) -> None:
        """Args:
        store: to read from.
        refresh_s: how old the copy may be.
        quiet: what the house lets pass; None for the usual.
        """
        self._store = store
        self._refresh_s = refresh_s
        self._quiet = quiet or Quiet()
        self._reading = threading.Lock()
        self._version = ""
        self._looked = 0.0
        self._seen = 0.0
        self._took = 0.0
        self._tables = duckdb.connect(":memory:")
        self._tables.execute("SET threads = 2")
        self.decisions: tuple[Disposition, ...] = ()
        self.tactics: tuple[str, ...] = ()
        self.open_by_severity: dict[str, int] = {}

    @property
    def version(self) -> str:
        """Of the tables that were read last."""
        return self._version

    def refresh(self, force: bool = False) -> None:
        """Reads anew what has changed; one does it, the others go on with what there is."""
        if not self._reading.acquire(blocking=force or not self._version):
            return
        try:
            # Large tables take a while to read; that is at most a tenth of the time.
            pause = max(self._refresh_s, 9 * self._took)
            if not force and self._version and time.monotonic() - self._looked < pause:
                return
            at = time.time()
            version = self._store.version()
            if version != self._version:
                began = time.monotonic()
                fresh = self._read()
                self._restate(fresh)
                self._took = time.monotonic() - began
                self._tables = fresh  # who reads the old copy keeps it until the end
                self._version = version
            else:
                self._restate(self._tables)  # decisions run out
            self._looked, self._seen = time.monotonic(), at
        finally:
            self._reading.release()

    def note(self) -> None:
        """Takes up a decision that was just made, without reading all tables anew."""
        with self._reading:
            self.decisions = tuple(self._store.dispositions())
            self._restate(self._tables)

    def _read(self) -> duckdb.DuckDBPyConnection:
        clusters, members = self._store.index()
        self.decisions = tuple(self._store.dispositions())
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
        fresh.unregister("incoming")
        tactics = fresh.execute("SELECT DISTINCT unnest(tactics) AS t FROM queue ORDER BY t")
        self.tactics = tuple(row[0] for row in tactics.fetchall())
        fresh.execute("CREATE TABLE stands (cluster_id VARCHAR, state VARCHAR, why VARCHAR)")
        return fresh

    def _restate(self, tables: duckdb.DuckDBPyConnection) -> None:
        """States from rows and from the decisions that hold now."""
        found = standings(tables, self.decisions, self._quiet, now_of(self.decisions))
        cursor = tables.cursor()
        before = cursor.execute("SELECT * FROM stands ORDER BY cluster_id").fetchall()
        if before == found and tables is self._tables:
            return
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
        self.open_by_severity = dict.fromkeys(SEVERITIES, 0) | dict(counted.fetchall())

    def page(
        self, wanted: QueueFilter, size: int, after: str = "", before: str = ""
    ) -> QueuePage:  # fmt: skip
        """A page of what fits.

        Args:
          wanted: what fits.
          size: rows at most.
          after, before: of a page beside it; not both.
        """
        cursor = self._tables.cursor()
        where, values = wanted.where()
        place = _decode(after or before)
        beside, way = "", "DESC" if before and place else "ASC"
        bounds: list[Any] = []
        if place is not None:
            beside = f" AND ({_ORDER}) {'<' if way == 'DESC' else '>'} (?, ?, ?, ?, ?)"
            bounds = place
        order = ", ".join(f"{name} {way}" for name in _ORDER.split(", "))
        found = cursor.execute(
            f"SELECT {_SHOWN}, {_ORDER} FROM queue WHERE {where}{beside} "
            f"ORDER BY {order} LIMIT {size + 1}",
            [*values, *bounds],
        ).fetchall()
        more = len(found) > size
        found = found[:size]
        if way == "DESC":
            found.reverse()
        shown = len(_SHOWN.split(", "))
        first, total = 0, 0
        if found:
            total, first = cursor.execute(
                f"SELECT count(*), count(*) FILTER (({_ORDER}) <= (?, ?, ?, ?, ?)) "
                f"FROM queue WHERE {where}",
                [*found[0][shown:], *values],
            ).fetchone() or (0, 0)
        elif place is not None:
            return self.page(wanted, size)  # what was there is gone; begin anew
        names = _SHOWN.split(", ")
        rows = tuple(_row(dict(zip(names, row[:shown], strict=True))) for row in found)
        last = first + len(rows) - 1
        return QueuePage(
            rows,
            first,
            total,
            _encode(found[0][shown:]) if found and first > 1 else "",
            _encode(found[-1][shown:]) if found and (more or last < total) else "",
            self._seen,
        )

    def stands(self, cluster_id: str) -> Stands:
        """Where a cluster stands; one that is not here is open."""
        found = self._tables.cursor().execute(
            "SELECT cluster_id, state, why FROM queue WHERE cluster_id = ?", [cluster_id]
        ).fetchone()  # fmt: skip
        return Stands(*found) if found else Stands(cluster_id, "open", "")

    def find(self, begin: str) -> list[str]:
        """Ids of clusters that are a text or begin with it, at most six."""
        found = self._tables.cursor().execute(
            "SELECT cluster_id FROM queue WHERE starts_with(cluster_id, ?) "
            "ORDER BY cluster_id <> ?, cluster_id LIMIT 6", [begin, begin],
        ).fetchall()  # fmt: skip
        names = [row[0] for row in found]
        return names[:1] if names and names[0] == begin else names

    def similar(self, cluster_id: str, most: int = 5) -> list[Similar]:
        """Cases on which somebody decided, or that were resolved, and that were alike.

        Likeness is the mean of how much of their tactics and of their kinds of links two clusters
        have in common (Jaccard); with any account in common it is 1.
        """
        found = self._tables.cursor().execute(
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


def now_of(decisions: Sequence[Disposition]) -> int:
    """Now, milliseconds UTC; what was decided by a clock that is ahead of ours counts, too."""
    return max(int(time.time() * 1000), max((d.decided_at for d in decisions), default=0))


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


def _row(values: dict[str, Any]) -> QueueRow:
    tactics, reason = tuple(values.pop("tactics") or ()), values.pop("reason") or ""
    return QueueRow(**values, tactics=tactics, reason=reason)


def _encode(place: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(place)).encode()).decode().rstrip("=")


def _decode(text: str) -> list[Any] | None:
    """A place in the order; None where the text is none."""
    try:
        place = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        return None
    fits = (
        isinstance(place, list)
        and len(place) == 5
        and all(isinstance(v, int | float) for v in place[:4])
        and isinstance(place[4], str)
    )
    return place if fits else None
