"""A page of the queue: which clusters fit, in the order of what matters.

The order is: undecided before watched before confirmed before settled; then severity; then
exposure, the dearest first; then p-value, the smallest first; then the id, so that no two pages
ever disagree. A page begins after a place in that order, not after a number of rows: what is
flagged meanwhile shifts nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from pipelines.report.story import SEVERITIES
from pipelines.triage.states import STATES
from transforms.scoring.explain import name_of

_ORDER = "grp, grave, cheap, p_value, cluster_id"
_SHOWN = (
    "cluster_id, state, severity, p_value, exposure_usd, accounts, requests, first_seen, "
    "last_seen, tactics, reason, feature, why"
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
        """A condition in SQL, which may name the table that `find` makes, and its parameters."""
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
            parts.append("cluster_id IN (SELECT cluster_id FROM hits)")
        return " AND ".join(parts), values

    def find(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Looks for the text, once for all that is asked with this cursor."""
        if self.text:
            cursor.execute(
                """CREATE TEMP TABLE hits AS
                   SELECT cluster_id FROM queue WHERE contains(cluster_id, ?)
                   UNION SELECT cluster_id FROM members WHERE contains(account_id, ?)""",
                [self.text, self.text],
            )


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A line of the queue; see `store.INDEX` and `states.Stands`. The reason is without figures."""

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


def page_of(
    tables: duckdb.DuckDBPyConnection,
    wanted: QueueFilter,
    size: int,
    refreshed: float,
    after: str = "",
    before: str = "",
) -> QueuePage:
    """A page of what fits.

    Args:
      tables: with `queue` and `members`; see `queue_copy`.
      wanted: what fits.
      size: rows at most.
      refreshed: when the tables were looked at last, seconds since 1970.
      after, before: of a page beside it; not both.
    """
    cursor = tables.cursor()
    wanted.find(cursor)
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
        return page_of(tables, wanted, size, refreshed)  # what was there is gone; begin anew
    names = _SHOWN.split(", ")
    rows = tuple(_row(dict(zip(names, row[:shown], strict=True))) for row in found)
    last = first + len(rows) - 1
    return QueuePage(
        rows,
        first,
        total,
        _encode(found[0][shown:]) if found and first > 1 else "",
        _encode(found[-1][shown:]) if found and (more or last < total) else "",
        refreshed,
    )


def _row(values: dict[str, Any]) -> QueueRow:
    tactics, stored = tuple(values.pop("tactics") or ()), values.pop("reason") or ""
    reason = name_of(values.pop("feature") or "") or stored.partition(":")[0]
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
