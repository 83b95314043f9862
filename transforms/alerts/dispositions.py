"""What staff decided about clusters: rows that are only ever added (`decision_store` keeps them).

A decision is a row of the table `dispositions`. Nothing is changed afterwards: a decision is taken
back by a row of its own, with the same `disposition_id` and a larger revision. What holds now
follows from the rows alone (`holding`), in whatever order they come.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from schemas.errors import DistilwatchError
from transforms.alerts.policy import SEVERITIES

VERDICTS = ("confirm", "dismiss", "permitted", "watch")
"""Decisions of which a cluster has one at a time; the newest holds."""
REGROUPINGS = ("split", "merge")
"""Decisions on what belongs together, of which any number hold."""
DECISIONS = (*VERDICTS, *REGROUPINGS)
WITHDRAW = "withdraw"
QUIETING = ("dismiss", "permitted")
"""Verdicts after which a cluster alerts nobody."""
HOLDS_DAYS = {"dismiss": 90, "watch": 14}
"""How long these hold where nothing else is said."""

_LONGEST_REASON = 4_000


@dataclass(frozen=True, slots=True)
class Disposition:
    """A decision about a cluster, or its withdrawal; a row of the table `dispositions`.

    Attributes:
      cluster_id: that it is about.
      decision: of `DECISIONS`, or `WITHDRAW`.
      decided_by: who.
      decided_at: when, milliseconds UTC.
      reason: why.
      valid_until: milliseconds UTC, from which it holds no more; None: it holds for ever.
      disposition_id: the same for a decision and its withdrawal.
      revision: 1 as it was made, 2 its withdrawal.
      accounts: that the cluster held then, sorted; of a merge, those of all its clusters.
      split_accounts: of a split, those of them that do not belong with the rest.
      merged_clusters: of a merge, clusters that are the same campaign as this one.
      cluster_revision, severity, exposure_usd: of the cluster then; of a merge, the gravest
        severity and the largest exposure of its clusters.
      source: where it was decided.
    """

    cluster_id: str
    decision: str
    decided_by: str
    decided_at: int
    reason: str = ""
    valid_until: int | None = None
    disposition_id: str = ""
    revision: int = 1
    accounts: tuple[str, ...] = ()
    split_accounts: tuple[str, ...] = ()
    merged_clusters: tuple[str, ...] = ()
    cluster_revision: int | None = None
    severity: str | None = None
    exposure_usd: float | None = None
    source: str = ""

    @property
    def name(self) -> str:
        """Of the decision; rows of before there were ids are told apart by the table's key."""
        return self.disposition_id or f"{self.cluster_id}/{self.decided_at}"

    def row(self) -> dict[str, Any]:
        """A row of the table."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def holds_at(self, at_ms: int) -> bool:
        """Whether it has not run out by a time."""
        return self.valid_until is None or at_ms < self.valid_until

    def withdrawn(self, by: str, why: str, at_ms: int, source: str = "") -> Disposition:
        """The row that takes it back.

        Raises:
          DistilwatchError: the reason is too long.
        """
        check_length(why, f"decision {self.name}")
        return replace(
            self, decision=WITHDRAW, decided_by=by, decided_at=at_ms, reason=why, valid_until=None,
            disposition_id=self.name, revision=self.revision + 1, source=source,
        )  # fmt: skip


def decide(
    cluster: Mapping[str, Any],
    accounts: Iterable[str],
    decision: str,
    *,
    by: str,
    why: str,
    at_ms: int,
    until_ms: int | None = None,
    split_accounts: Iterable[str] = (),
    merge_with: Iterable[str] = (),
    source: str = "",
    merged: Iterable[tuple[Mapping[str, Any], Iterable[str]]] = (),
) -> Disposition:
    """A new decision, after looking whether it makes sense.

    Args:
      cluster: its row of `flagged_clusters`; `cluster_id` is enough.
      accounts: that it holds now.
      decision: of `DECISIONS`.
      by, why: person, and reason.
      at_ms, until_ms: when, and until when; milliseconds UTC.
      split_accounts: of a split; some of `accounts`, and not all.
      merge_with: of a merge; ids of other clusters.
      source: where it was decided.
      merged: of a merge, the rows of the other clusters, and their accounts, as `cluster` and
        `accounts`; without, these never outgrow the decision.

    Raises:
      DistilwatchError: naming what is wrong with it.
    """
    name, held = str(cluster["cluster_id"]), tuple(sorted(set(accounts)))
    apart, others = tuple(sorted(set(split_accounts))), tuple(sorted(set(merge_with)))
    place = f"decision on {name}"
    if decision not in DECISIONS:
        raise DistilwatchError(
            f"{decision!r} is no decision", place, f"choose one of {', '.join(DECISIONS)}"
        )
    if not by.strip():
        raise DistilwatchError("nobody is named who decided", place, "say who")
    if not why.strip():
        raise DistilwatchError("a decision needs a reason", place, "say why, in a few words")
    check_length(why, place)
    if until_ms is not None and until_ms <= at_ms:
        raise DistilwatchError("it would have run out already", place, "give a later time")
    if decision == "permitted" and until_ms is None:
        raise DistilwatchError(
            "a permission needs an end", place, "say until when the contract or the test runs"
        )
    if decision in REGROUPINGS and until_ms is not None:
        raise DistilwatchError(f"a {decision} does not run out", place, "withdraw it in time")
    if (decision == "split") != bool(apart) or (apart and not set(apart) < set(held)):
        raise DistilwatchError(
            "a split names some accounts of the cluster, not all, and no others",
            place,
            "name those that do not belong with the rest",
        )
    if (decision == "merge") != bool(others) or name in others:
        raise DistilwatchError(
            "a merge names other clusters, and nothing else does",
            place,
            "name the clusters that are the same campaign",
        )
    revision, severity = cluster.get("revision"), cluster.get("severity")
    exposure = cluster.get("exposure_usd")
    for row, own in merged:
        held = tuple(sorted({*held, *own}))
        grave = [one for one in (severity, row.get("severity")) if one is not None]
        severity = max(grave, key=SEVERITIES.index, default=None)
        usd = [one for one in (exposure, row.get("exposure_usd")) if one is not None]
        exposure = max(usd, default=None)
    return Disposition(
        name, decision, by.strip(), at_ms, why.strip(), until_ms, f"d-{uuid.uuid4().hex[:16]}", 1,
        held, apart, others, None if revision is None else int(revision), severity,
        None if exposure is None else float(exposure), source,
    )  # fmt: skip


def check_length(why: str, place: str) -> None:
    """Raises DistilwatchError when a reason is too long to be kept and told.

    Args:
      why: the reason.
      place: that it stands at, for people.
    """
    if len(why) > _LONGEST_REASON:
        raise DistilwatchError(
            f"the reason is longer than {_LONGEST_REASON:,} letters", place, "make it shorter"
        )


def holding(rows: Iterable[Disposition], at_ms: int) -> list[Disposition]:
    """Decisions that hold at a time, oldest first: not taken back, not run out, and of verdicts
    the newest of each cluster. One that has run out brings none before it back; one that was taken
    back does, because it should never have been. The order of rows does not matter.
    """
    kept = _not_withdrawn(row for row in rows if row.decided_at <= at_ms)
    last = {row.cluster_id: row for row in kept if row.decision in VERDICTS}
    return [
        row
        for row in kept
        if row.holds_at(at_ms)
        and (row.decision in REGROUPINGS or last[row.cluster_id].name == row.name)
    ]


def newest_verdicts(rows: Iterable[Disposition]) -> list[Disposition]:
    """Of each cluster the newest verdict that was not taken back, run out or not; oldest first."""
    kept = (row for row in _not_withdrawn(rows) if row.decision in VERDICTS)
    return list({row.cluster_id: row for row in kept}.values())


def _not_withdrawn(rows: Iterable[Disposition]) -> list[Disposition]:
    """Decisions that were not taken back, oldest first."""
    newest: dict[str, Disposition] = {}
    for row in rows:
        name = row.name
        if name not in newest or row.revision > newest[name].revision:
            newest[name] = row
    return sorted(
        (row for row in newest.values() if row.decision != WITHDRAW),
        key=lambda row: (row.decided_at, row.name),
    )


def disposition_of(row: Mapping[str, Any]) -> Disposition:
    """A row of the table as a record; columns that an older version lacks are empty."""
    names = {field.name for field in fields(Disposition)}
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in row.items()
        if name in names and value is not None
    }
    return Disposition(**known)


def accounts_of(rows: Sequence[Disposition], decision: str) -> frozenset[str]:
    """Accounts of clusters on which a verdict holds, without those that a split took out.

    Args:
      rows: that hold, as `holding` gives them.
      decision: of `VERDICTS`.
    """
    apart: dict[str, set[str]] = {}
    for row in rows:
        if row.decision == "split":
            apart.setdefault(row.cluster_id, set()).update(row.split_accounts)
    found: set[str] = set()
    for row in rows:
        if row.decision == decision:
            found.update(set(row.accounts) - apart.get(row.cluster_id, set()))
    return frozenset(found)
