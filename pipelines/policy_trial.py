"""A policy, tried on the past before it goes live: what would have fired, against what does."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.tables import columns, connect, rows
from schemas.errors import DistilwatchError
from transforms.alerts.allowlist import Allowlist
from transforms.alerts.decision_store import DispositionStore
from transforms.alerts.desk import observe
from transforms.alerts.dispositions import Disposition, holding, newest_verdicts
from transforms.alerts.life import LIVE, Alert, Observation, advance
from transforms.alerts.paging import Growth, Policies, Policy
from transforms.alerts.standing import GrowthRule, Standings
from transforms.alerts.wording import dollars

DAY_MS = 86_400_000
Reported = tuple[str, int | None, int]
"""A cluster, the begin of its window in milliseconds UTC (None in rows of an older version), and
its revision."""
NEEDED = ("flagged_clusters", "cluster_members", "dispositions")  # tables that are read
# Each knows all decisions of its time. Rows come by time, so few are wanted at once.
_SPANS = 16


@dataclass(frozen=True)
class Fired:
    """An alert that there would have been.

    Attributes:
      at_ms: event time of the row that opened it, milliseconds UTC.
      severity: the gravest it reached.
      told: steps that would have been told: opened, raised, updated.
      verdict: what people said of the cluster later; "" for nothing.
    """

    cluster_id: str
    policy: str
    severity: str
    at_ms: int
    told: int
    accounts: int
    exposure_usd: float
    verdict: str


@dataclass(frozen=True)
class Trial:
    """What two sets of policies make of the same days.

    Attributes:
      days: that were looked at.
      clusters: flagged in them.
      now, then: what fires now, and what would with the policy that is tried.
      policy: that is tried.
    """

    days: int
    clusters: int
    now: list[Fired]
    then: list[Fired]
    policy: Policy

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        new, gone = self.changes()
        return {
            "policy": self.policy.name,
            "days": self.days,
            "clusters": self.clusters,
            "now": _sums(self.now),
            "then": _sums(self.then),
            "of_this_policy": [vars(f) for f in self.then if f.policy == self.policy.name],
            "new": [vars(f) for f in new],
            "gone": [vars(f) for f in gone],
        }

    def changes(self) -> tuple[list[Fired], list[Fired]]:
        """Alerts that would be new, and those that would be no more."""
        now, then = ({f.cluster_id for f in fired} for fired in (self.now, self.then))
        return (
            [f for f in self.then if f.cluster_id not in now],
            [f for f in self.now if f.cluster_id not in then],
        )

    def busiest(self) -> int:
        """Alerts of the policy on its busiest day."""
        days: dict[int, int] = {}
        for fired in self.then:
            if fired.policy == self.policy.name:
                days[fired.at_ms // DAY_MS] = days.get(fired.at_ms // DAY_MS, 0) + 1
        return max(days.values(), default=0)

    def lines(self) -> list[str]:
        """For people."""
        own = [f for f in self.then if f.policy == self.policy.name]
        new, gone = self.changes()
        budget = self.policy.budget.alerts_per_day
        busiest = self.busiest()
        over = ": more than its budget, the rest would be told in a storm" * (busiest > budget)
        said = [f for f in own if f.verdict]
        right = sum(f.verdict == "confirm" for f in said)
        lines = [
            f"{_clusters(self.clusters)} flagged in {self.days} days of history.",
            f"{self.policy.name} would have opened {_alerts(len(own))} ({_by_severity(own)}), "
            f"at most {busiest} on one day of a budget of {budget}{over}.",
            f"With it all policies open {_alerts(len(self.then))}, as they are now "
            f"{_alerts(len(self.now))}: {len(new)} new, {len(gone)} no more.",
        ]
        if said:
            lines.append(f"Of those that people decided about, {right} of {len(said)} were right.")
        for sign, fired in (("+", new), ("-", gone)):
            for f in fired[:20]:
                who = "1 account" if f.accounts == 1 else f"{f.accounts:,} accounts"
                verdict = f" ({f.verdict})" if f.verdict else ""
                cost = dollars(f.exposure_usd)
                lines.append(
                    f"  {sign} {f.cluster_id} {f.severity:8} {who}, {cost}, {f.policy}{verdict}"
                )
        return lines


def try_policy(
    path: Path, policy: Policy, present: Policies, allowlist: Allowlist, growth: GrowthRule,
    days: int,
) -> Trial:  # fmt: skip
    """Lets alerts live once more over the last days of the tables, with and without a policy.

    Decisions and the allowlist hold as they did at the time of each row.

    Args:
      path: of the tables.
      policy: that is tried; it takes the place of the present one of its name.
      present: policies that hold now.
      days: before the newest row.

    Raises:
      DistilwatchError: the tables hold nothing.
    """
    with connect(path) as connection:
        found = rows(
            connection,
            f"""SELECT {columns("flagged_clusters")} FROM flagged_clusters
                WHERE last_seen > (SELECT max(last_seen) FROM flagged_clusters) - to_days(?)
                ORDER BY window_start, revision, cluster_id""",
            (days,),
        )
        accounts: dict[Reported, list[str]] = {}
        for row in rows(
            connection,
            "SELECT cluster_id, epoch_ms(window_start) AS start_ms, revision, account_id "
            "FROM cluster_members",
        ):
            name = row["cluster_id"], row["start_ms"], row["revision"]
            accounts.setdefault(name, []).append(row["account_id"])
    if not found:
        raise DistilwatchError(
            "no cluster was ever flagged here, so there is nothing to try a policy on",
            str(path),
            "give the tables of a longer time",
        )
    said = DispositionStore(path).rows()
    others = [p for p in present.policies if p.name != policy.name]
    tried = Policies(policies=(*others, policy))

    def fire(policies: Policies) -> list[Fired]:
        return replay(found, accounts, policies, said, allowlist, growth)

    return Trial(days, len({r["cluster_id"] for r in found}), fire(present), fire(tried), policy)


def replay(
    clusters: Iterable[dict[str, Any]],
    accounts: dict[Reported, list[str]],
    policies: Policies,
    said: Sequence[Disposition],
    allowlist: Allowlist,
    growth: GrowthRule,
) -> list[Fired]:
    """Alerts that there would have been, oldest first.

    Args:
      clusters: rows of `flagged_clusters`, in the order in which they came.
      accounts: by cluster, window and revision; of an older version the window is None.
      said: all that people decided.
    """
    # What holds changes at these times only.
    changes = sorted(
        {at for row in said for at in (row.decided_at, row.valid_until) if at is not None}
        | {math.ceil(entry.expires.timestamp() * 1000) for entry in allowlist.allow}
    )

    @lru_cache(maxsize=_SPANS)
    def standings(span: int) -> Standings:
        at_ms = changes[span - 1] if span else 0
        return Standings(holding(said, at_ms), allowlist, growth, at_ms, alive)

    def alive(cluster_id: str) -> bool:
        return cluster_id in alerts and alerts[cluster_id].state in LIVE

    alerts: dict[str, Alert] = {}
    fired: dict[str, Fired] = {}
    # What people said in the end, run out or not.
    now_of = {row.cluster_id: row.decision for row in newest_verdicts(said)}
    for row in clusters:
        seen = observe(row, policies)
        at_ms = int(row["last_seen"])
        members = [
            accounts.get((seen.cluster_id, start, seen.revision), [])
            for start in (int(row["window_start"]), None)
        ]
        standing = standings(bisect_right(changes, at_ms)).of(seen, members[0] or members[1])
        policy = policies.named(seen.policy)
        again = policy.tell_again if policy else Growth()
        before = alerts.get(seen.cluster_id)
        alerts[seen.cluster_id], steps = advance(before, seen, standing, again, at_ms)
        for step in steps:
            if step.kind in ("opened", "raised", "updated"):
                name = step.alert.name()
                fired[name] = _fired(fired.get(name), step.alert, seen, at_ms, now_of)
    return sorted(fired.values(), key=lambda f: (f.at_ms, f.cluster_id))


def _fired(
    before: Fired | None, alert: Alert, seen: Observation, at_ms: int, verdicts: dict[str, str]
) -> Fired:
    return Fired(
        seen.cluster_id,
        seen.policy,
        alert.peak,
        before.at_ms if before else at_ms,
        before.told + 1 if before else 1,
        seen.account_count,
        seen.exposure_usd,
        verdicts.get(seen.cluster_id, ""),
    )


def _sums(fired: Sequence[Fired]) -> dict[str, Any]:
    return {"alerts": len(fired), "told": sum(f.told for f in fired)}


def _clusters(number: int) -> str:
    return f"{number:,} cluster{'' if number == 1 else 's'}"


def _alerts(number: int) -> str:
    return f"{number:,} alert{'' if number == 1 else 's'}"


def _by_severity(fired: Sequence[Fired]) -> str:
    from transforms.alerts.policy import SEVERITIES

    counts = [(s, sum(f.severity == s for f in fired)) for s in reversed(SEVERITIES)]
    return ", ".join(f"{n} {severity}" for severity, n in counts if n) or "none"
