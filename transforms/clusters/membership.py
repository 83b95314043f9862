"""Which cluster each account is in, by names that are kept, and which names have gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from transforms.clusters.links import Component, Link, Linkable
from transforms.clusters.names import cluster_id, keep_ids


class Absorbed(NamedTuple):
    """A name that has gone, and a revision that is newer than all it had."""

    cluster_id: str
    revision: int


class Membership(NamedTuple):
    """Where linking put an account.

    Attributes:
      version: grows with each report.
      cluster_id: name of the cluster; of an account alone the one that it has as a cluster of one.
      size: accounts in it.
      links: of the account, the strongest first.
      absorbed: names of which the cluster has most of the accounts.
    """

    version: int
    cluster_id: str
    size: int
    links: tuple[Link, ...]
    absorbed: tuple[Absorbed, ...] = ()


class Remembered(NamedTuple):
    """What was said of a window last.

    Attributes:
      version: of that report.
      ids: account to its cluster's name.
      revisions: of names that may have been flagged, the newest.
      gone: names that nobody has any more: to that of the cluster which has most of the accounts,
        and the revision with which it ended.
    """

    version: int = 0
    ids: Mapping[str, str] = {}
    revisions: Mapping[str, int] = {}
    gone: Mapping[str, tuple[str, int]] = {}


NOTHING_KNOWN = Remembered()


@dataclass(frozen=True, slots=True, eq=False)
class KnownIds:
    """Names that earlier runs gave, by window.

    Attributes:
      ids: start of a window, milliseconds UTC, to account to name.
      revisions: start of a window to the newest revision of each cluster that was flagged in it and
        not resolved.
    """

    ids: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    revisions: Mapping[int, Mapping[str, int]] = field(default_factory=dict)

    def of(self, window_start_ms: int) -> Remembered:
        """What to begin a window with: its own names first, then those of the window nearest in
        time, the earlier of two."""
        ids: dict[str, str] = {}
        revisions: dict[str, int] = {}
        for known, found in ((self.ids, ids), (self.revisions, revisions)):
            near = sorted(known, key=lambda start: (abs(start - window_start_ms), start))
            for start in reversed(near):
                found.update(known[start])  # type: ignore[arg-type]
        return Remembered(0, ids, revisions)


NO_IDS = KnownIds()


class Report(NamedTuple):
    """Results of `assign`: a membership of each account, and what to remember."""

    memberships: list[tuple[str, Membership]]
    remembered: Remembered


def assign(
    accounts: Iterable[Linkable], components: Sequence[Component], before: Remembered
) -> Report:
    """Names components and accounts alone, after what was said before.

    The result depends on what was said before, and on no order.

    Args:
      accounts: all of a window.
      components: of two and more of them.
      before: what was said of the window last, or of another.
    """
    events = {account.account: account.events for account in accounts}
    version = sum(events.values())
    groups = {c.cluster_id: c.accounts for c in components}
    linked = {account for group in groups.values() for account in group}
    # An account may have been linked before others made what it shares less rare.
    alone: dict[str, tuple[str, ...]] = {
        cluster_id(name): (name,) for name in sorted(set(events) - linked)
    }
    names = keep_ids(before.ids, groups | alone)
    gone = _gone(before, names.gone, set(names.ids.values()))
    absorbed: dict[str, list[Absorbed]] = {}
    for old, (new, revision) in sorted(gone.items()):
        absorbed.setdefault(new, []).append(Absorbed(old, revision))
    links = {c.cluster_id: c.links for c in components}
    memberships = []
    ids, revisions = dict(before.ids), dict(before.revisions)
    for first, group in (groups | alone).items():
        name = names.ids[first]
        own = tuple(absorbed.get(name, ()))
        revisions[name] = max(revisions.get(name, 0), sum(events[a] for a in group))
        for account, shared in zip(group, links.get(first, ((),)), strict=True):
            ids[account] = name
            memberships.append((account, Membership(version, name, len(group), shared, own)))
    return Report(memberships, Remembered(version, ids, revisions, gone))


def _gone(
    before: Remembered, newly: Mapping[str, str], alive: set[str]
) -> dict[str, tuple[str, int]]:
    """Names that have gone, now and before, each to a living one."""
    found = {
        old: (newly.get(new, new), revision)
        for old, (new, revision) in before.gone.items()
        if old not in alive
    }
    for old, new in newly.items():
        if old in before.revisions:
            found[old] = new, before.revisions[old] + 1
    return found
