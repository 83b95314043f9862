"""What people said about clusters, as it holds for a cluster now: decisions and allowlists.

A decision is on a cluster's id, and on its accounts: a re-run that names the cluster otherwise
finds it again by those. Quiet has an end: the decision runs out, or the cluster grows by a good
part beyond what was looked at; of a cluster that is told with another, when the other's alert ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from transforms.alerts.allowlist import Allowlist
from transforms.alerts.dispositions import QUIETING, VERDICTS, Disposition
from transforms.alerts.life import NOTHING_SAID, Observation, Standing
from transforms.alerts.policy import SEVERITIES

_SAME_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class GrowthRule:
    """When a cluster that was dismissed or permitted alerts all the same.

    Attributes:
      new_share: accounts that were not looked at, over those that were.
      new_least: and at least so many accounts.
      exposure: times the exposure that was looked at, and at least `exposure_least_usd` more; of
        what was permitted, only accounts count.
    """

    new_share: float = 0.5
    new_least: int = 3
    exposure: float = 3.0
    exposure_least_usd: float = 1_000.0

    def outgrown(self, decision: Disposition, accounts: frozenset[str], news: Observation) -> str:
        """Why a decision covers a cluster no more; "" while it does."""
        before = frozenset(decision.accounts)
        new = len(accounts - before) if before else 0
        if new >= self.new_least and new >= self.new_share * len(before):
            return f"{new:,} accounts are new since the decision of {decision.decided_by}"
        if decision.decision == "permitted":
            return ""
        then_grave, now_grave = decision.severity, news.cluster_severity
        if then_grave and SEVERITIES.index(now_grave) > SEVERITIES.index(then_grave):
            return f"{then_grave} when {decision.decided_by} decided, {now_grave} now"
        then, now = decision.exposure_usd, news.exposure_usd
        if then is not None and now >= max(self.exposure * then, then + self.exposure_least_usd):
            return f"${then:,.0f} when {decision.decided_by} decided, ${now:,.0f} now"
        return ""


class Standings:
    """Answers what holds of a cluster.

    Args:
      decisions: that hold now, as `holding` gives them.
      allowlist: entries, run out or not.
      growth: when quiet ends.
      now_ms: milliseconds UTC.
      alive: whether the alert of a cluster lives, by its id; by default all do.
    """

    def __init__(
        self,
        decisions: Sequence[Disposition],
        allowlist: Allowlist,
        growth: GrowthRule,
        now_ms: int,
        alive: Callable[[str], bool] = lambda cluster_id: True,
    ) -> None:
        self._alive = alive
        self._allowlist = allowlist
        self._growth = growth
        self._now_ms = now_ms
        self._by_cluster: dict[str, Disposition] = {}
        self._by_account: dict[str, list[Disposition]] = {}
        self._merged: dict[str, Disposition] = {}
        self._apart: dict[str, set[str]] = {}
        for row in decisions:
            if row.decision == "split":
                self._apart.setdefault(row.cluster_id, set()).update(row.split_accounts)
            elif row.decision == "merge":
                self._merged.update(dict.fromkeys(row.merged_clusters, row))
            elif row.decision in VERDICTS:
                self._by_cluster[row.cluster_id] = row
        for row in self._by_cluster.values():
            for account in set(row.accounts) - self._apart.get(row.cluster_id, set()):
                self._by_account.setdefault(account, []).append(row)

    def of(self, news: Observation, accounts: Iterable[str]) -> Standing:
        """What holds of a cluster.

        Args:
          news: the cluster.
          accounts: that it holds now.
        """
        held = frozenset(accounts)
        entry = self._allowlist.entry_for(news.cluster_id, held, self._now_ms)
        if entry is not None:
            last = entry.expires - timedelta(milliseconds=1)  # a day holds to its end
            until = f"{last:%Y-%m-%d}"
            why = f"allowed as {entry.name} by {entry.owner} until {until}: {entry.reason}"
            return Standing(quiet=True, why=why)
        told_with = self.told_with(news.cluster_id)
        merge_over = ""
        if told_with:
            merge = self._merged[news.cluster_id]
            merge_over = self._merge_over(merge, told_with, held, news)
            if not merge_over:
                why = f"told with {told_with}, as {merge.decided_by} decided"
                name = merge.disposition_id
                return Standing(True, why=why, disposition_id=name, decision="merge")
        decision = self._by_cluster.get(news.cluster_id) or self._by_accounts(held)
        if decision is None:
            return Standing(why=merge_over) if merge_over else NOTHING_SAID
        why = f"{_PAST[decision.decision]} by {decision.decided_by}: {decision.reason}"
        verdict, name = decision.decision, decision.disposition_id
        if verdict in QUIETING:
            outgrown = self._growth.outgrown(decision, held, news)
            if outgrown:
                return Standing(why=f"{_PAST[verdict]} before, but {outgrown}")
            return Standing(True, why=why, disposition_id=name, decision=verdict)
        return Standing(False, True, verdict == "watch", why, name, verdict)

    def told_with(self, cluster_id: str) -> str:
        """The cluster that another is told with, as people decided; "" for none."""
        path = [cluster_id]
        while (merge := self._merged.get(path[-1])) is not None:
            if merge.cluster_id in path:  # each is told with the next: the first by name speaks
                first = min(path[path.index(merge.cluster_id) :])
                return "" if first == cluster_id else first
            path.append(merge.cluster_id)
        return "" if path[-1] == cluster_id else path[-1]

    def told_with_these(self, cluster_ids: Iterable[str]) -> set[str]:
        """All clusters that are told with some others."""
        wanted = set(cluster_ids)
        return {name for name in self._merged if self.told_with(name) in wanted}

    def _merge_over(
        self, merge: Disposition, told_with: str, held: frozenset[str], news: Observation
    ) -> str:
        """Why a cluster is told with another no more; "" while it is."""
        if not self._alive(told_with):
            return f"merged with {told_with} before, but nobody is told of that one now"
        # What an older version wrote down knows the accounts of the first of its clusters only.
        if held and held.isdisjoint(merge.accounts):
            return ""
        outgrown = self._growth.outgrown(merge, held, news)
        return f"merged with {told_with} before, but {outgrown}" if outgrown else ""

    def _by_accounts(self, held: frozenset[str]) -> Disposition | None:
        """The newest decision on a cluster that most of these accounts were in."""
        hits: dict[str, int] = {}
        found: dict[str, Disposition] = {}
        for account in held:
            for row in self._by_account.get(account, ()):
                hits[row.cluster_id] = hits.get(row.cluster_id, 0) + 1
                found[row.cluster_id] = row
        same = [row for name, row in found.items() if hits[name] >= _SAME_SHARE * max(len(held), 1)]
        return max(same, key=lambda row: (row.decided_at, row.disposition_id), default=None)


_PAST: Mapping[str, str] = {
    "confirm": "confirmed",
    "dismiss": "dismissed",
    "permitted": "permitted",
    "watch": "watched",
}
