"""A case: everything that the page of one cluster tells."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from pipelines.report.rows import cluster_of
from pipelines.report.story import Cluster
from pipelines.triage.checks import next_checks
from pipelines.triage.coverage_map import CoverageMap, coverage_map
from pipelines.triage.graph import Graph, graph_of
from pipelines.triage.hand_overs import HandOver, hand_overs
from pipelines.triage.house import House
from pipelines.triage.queue import Queue, now_of
from pipelines.triage.runbook import Guide, guide_of
from pipelines.triage.similar import Similar
from pipelines.triage.states import GROUP, Stands
from pipelines.triage.store import Store
from transforms.alerts.book import Book
from transforms.alerts.dispositions import WITHDRAW, Disposition, holding
from transforms.alerts.notice import about
from transforms.alerts.outbox import Message
from transforms.alerts.wording import suspicion

MOST_MEMBERS = 500
_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class AlertStep:
    """A step of an alert about the cluster; see the table `alerts`.

    Attributes:
      told_as: the alert whose messages tell of it: its own, or that of a storm.
    """

    at_ms: int
    step: str
    severity: str
    policy: str
    reason: str
    channels: tuple[str, ...]
    in_storm: bool
    told_as: str


@dataclass(frozen=True, slots=True)
class Told:
    """What follows from the rows alone, and can be kept while these stay the same.

    Attributes:
      feared: what is feared of whom, in the words of messages; the rest as of their types.
    """

    cluster: Cluster
    feared: str
    coverage: CoverageMap | None
    graph: Graph
    hand_overs: tuple[HandOver, ...]
    alerts: tuple[AlertStep, ...]
    checks: tuple[str, ...]
    guide: Guide


@dataclass(frozen=True, slots=True)
class Past:
    """A row of the history of decisions.

    Attributes:
      row: of the table.
      holds: whether it holds now.
      taken_back: whether a later row withdraws it.
    """

    row: Disposition
    holds: bool
    taken_back: bool


@dataclass(frozen=True, slots=True)
class Case:
    """A cluster, what was decided about it, and what is like it.

    Attributes:
      told: from its rows.
      stands: where it stands, and why.
      similar: past cases that were alike.
      history: of decisions, the newest first.
      untold: messages about it that wait, or were given up.
    """

    told: Told
    stands: Stands
    similar: tuple[Similar, ...]
    history: tuple[Past, ...]
    untold: tuple[Message, ...] = ()

    @property
    def held(self) -> tuple[Disposition, ...]:
        """Decisions that hold, the newest first."""
        return held_in(self.history)

    @property
    def over(self) -> bool:
        """Whether nobody needs to look at it any more."""
        return GROUP[self.stands.state] == GROUP["resolved"]


class Cases:
    """Cases by id; the last few hundred are kept until tables or policies change."""

    def __init__(
        self, store: Store, queue: Queue, house: House | None = None, public_url: str = ""
    ) -> None:
        """Args:
        store: to read from.
        queue: over the same tables.
        house: what it has decided beforehand; None for the usual.
        public_url: of these pages, "" where they have none.
        """
        self._store = store
        self._queue = queue
        self._house = house or House()
        self._public_url = public_url
        self._kept: OrderedDict[tuple[str, str, str], Told] = OrderedDict()
        self._lock = Lock()

    def get(self, cluster_id: str) -> Case | None:
        """A case; None where there is none of this id.

        Raises:
          Busy: the tables are being written; try again.
        """
        told = self._told(cluster_id)
        if told is None:
            return None
        return Case(
            told,
            self._queue.stands(cluster_id),
            tuple(self._queue.similar(cluster_id)),
            history_of(self._queue.decisions, cluster_id, now_of(self._queue.decisions)),
            self._untold(told),
        )

    def _untold(self, told: Told) -> tuple[Message, ...]:
        path = self._house.book
        if path is None or not told.alerts or not path.is_file():
            return ()
        with Book(path) as book:
            return tuple(book.outbox.untold({step.told_as for step in told.alerts}))

    def _told(self, cluster_id: str) -> Told | None:
        house = self._house.in_force
        key = self._queue.version, cluster_id, house.version
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        rows = self._store.case(cluster_id)
        if rows is None:
            return None
        policies = tuple(row["policy"] or "" for row in reversed(rows.alerts))
        guide = guide_of(rows.cluster, policies, house.rules, self._public_url)
        shared = about(rows.cluster)["shared"]
        cluster = cluster_of(rows.cluster, rows.members, rows.sessions)
        told = told_of(cluster, rows.alerts, guide, shared)
        with self._lock:
            self._kept[key] = told
            while len(self._kept) > _REMEMBERED:
                self._kept.popitem(last=False)
        return told


def told_of(
    cluster: Cluster,
    alerts: Sequence[Mapping[str, Any]] = (),
    guide: Guide | None = None,
    shared: Sequence[str] = (),
) -> Told:
    """Everything about a cluster that follows from its rows.

    Args:
      cluster: with all its rows.
      alerts: rows of the table `alerts` about it, oldest first.
      guide: of the policy that it falls under.
      shared: kinds of links between its members, as `notice.about` has them.
    """
    graph = graph_of(cluster.members)
    return Told(
        cluster,
        suspicion(cluster.accounts, shared, cluster.tactics),
        coverage_map(cluster.coverage),
        graph,
        hand_overs(cluster.members),
        tuple(_step(row) for row in reversed(alerts)),
        next_checks(cluster, tuple(s.kind for s in graph.shared)),
        guide or Guide(),
    )


def _step(row: Mapping[str, Any]) -> AlertStep:
    return AlertStep(
        row["changed_at"],
        row["step"],
        row["severity"],
        row["policy"] or "",
        row["reason"] or "",
        tuple(row["channels"] or ()),
        bool(row["storm_id"]),
        row["storm_id"] or row["alert_id"],
    )


def history_of(rows: Sequence[Disposition], cluster_id: str, at_ms: int) -> tuple[Past, ...]:
    """What was decided about a cluster, and about others that were merged with it, newest first."""
    own = [r for r in rows if cluster_id in (r.cluster_id, *r.merged_clusters)]
    held = {(r.name, r.revision) for r in holding(rows, at_ms)}
    back = {r.name for r in own if r.decision == WITHDRAW}
    return tuple(
        Past(
            row,
            (row.name, row.revision) in held,
            row.decision != WITHDRAW and row.name in back,
        )
        for row in sorted(own, key=lambda r: (-r.decided_at, -r.revision))
    )


def held_in(history: Sequence[Past]) -> tuple[Disposition, ...]:
    """Those of a history that hold, in its order."""
    return tuple(past.row for past in history if past.holds)
