"""The queue: what is flagged, kept in memory, with what people decided about it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import duckdb

from pipelines.triage.queue_copy import copy_of, restate, tactics_in
from pipelines.triage.queue_page import QueueFilter, QueuePage, page_of
from pipelines.triage.similar import Past, Similar
from pipelines.triage.states import Quiet, Stands, standings
from pipelines.triage.store import INDEX, MEMBERS, Store
from transforms.alerts.dispositions import Disposition

_PAGES = 128  # that are kept


class Queue:
    """A copy of what the queue shows; read anew when the tables have changed."""

    def __init__(self, store: Store, refresh_s: float, quiet: Callable[[], Quiet] = Quiet) -> None:
        """Args:
        store: to read from.
        refresh_s: how old the copy may be.
        quiet: what the house lets pass; asked each time, since that may change.
        """
        self._store = store
        self._refresh_s = refresh_s
        self._quiet = quiet
        self._by = quiet()
        self._reading = threading.Lock()
        self._version = ""
        self._looked = 0.0
        self._seen = 0.0
        self._took = 0.0
        self._tables = copy_of(INDEX.empty_table(), MEMBERS.empty_table())
        self._found: list[Stands] | None = None
        self._keeping = threading.Lock()
        self._states = 0  # how often they have changed
        self._pages: OrderedDict[tuple[object, ...], QueuePage] = OrderedDict()
        self._past: Past | None = None
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
                if self._quiet() != self._by:  # the allowlist has changed
                    self._restate(self._tables)
                return
            at = time.time()
            version = self._store.version()
            if version != self._version:
                began = time.monotonic()
                fresh = copy_of(*self._store.index())
                self.decisions = tuple(self._store.dispositions())
                self._found = None
                self._restate(fresh)  # who reads the old copy keeps it until the end
                self.tactics = tactics_in(fresh)
                self._took = time.monotonic() - began
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

    def _restate(self, tables: duckdb.DuckDBPyConnection) -> None:
        """States from rows and from the decisions that hold now."""
        self._by = self._quiet()
        found = standings(tables, self.decisions, self._by, now_of(self.decisions))
        if found != self._found:
            self.open_by_severity = restate(tables, found)
            self._found = found
            self._changed(tables)

    def _changed(self, tables: duckdb.DuckDBPyConnection) -> None:
        """Forgets the pages of before. One that is being made from what was there until now is
        kept under the number of before, which nobody asks for any more."""
        with self._keeping:
            self._tables = tables
            self._states += 1
            self._pages.clear()
            self._past = None

    def page(
        self, wanted: QueueFilter, size: int, after: str = "", before: str = ""
    ) -> QueuePage:  # fmt: skip
        """A page of what fits; most people ask for the same few, so they are kept for a while.

        Args:
          wanted: what fits.
          size: rows at most.
          after, before: of a page beside it; not both.
        """
        asked = self._states, wanted, size, after, before
        with self._keeping:
            kept = self._pages.get(asked)
        if kept is None:
            kept = page_of(self._tables, wanted, size, self._seen, after, before)
            with self._keeping:
                self._pages[asked] = kept
                while len(self._pages) > _PAGES:
                    self._pages.popitem(last=False)
        return replace(kept, refreshed=self._seen)

    def similar(self, cluster_id: str) -> list[Similar]:
        """Cases on which somebody decided, or that were resolved, and that were alike."""
        with self._keeping:
            tables, past = self._tables, self._past
        if past is None:
            past = Past.read(tables)
            with self._keeping:
                if tables is self._tables:
                    self._past = past
        return past.similar(tables, cluster_id)

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

    def held(self, cluster_id: str) -> tuple[dict[str, Any], list[str]]:
        """Severity and exposure of a cluster, and its accounts."""
        tables = self._tables.cursor()
        found = tables.execute(
            "SELECT severity, exposure_usd FROM queue WHERE cluster_id = ?", [cluster_id]
        ).fetchone()
        names = tables.execute(
            "SELECT account_id FROM members WHERE cluster_id = ?", [cluster_id]
        ).fetchall()
        severity, exposure_usd = found or (None, None)
        row = {"cluster_id": cluster_id, "severity": severity, "exposure_usd": exposure_usd}
        return row, [name for (name,) in names]


def now_of(decisions: Sequence[Disposition]) -> int:
    """Now, milliseconds UTC; what was decided by a clock that is ahead of ours counts, too."""
    return max(int(time.time() * 1000), max((d.decided_at for d in decisions), default=0))
