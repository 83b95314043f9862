"""Which cluster each account is in, by names that are kept, and which names have gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple

from transforms.clusters.cannot_link import CannotLink, revision_offsets
from transforms.clusters.links import Component, Link, Linkable
from transforms.clusters.names import cluster_id, keep_ids
from transforms.clusters.revisions import Count, Had
from transforms.sharing.watch.evidence import NOTHING_REPORTED, Reported
from transforms.sharing.watch.matching import Hit


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
      hits: received indicators that the account carries.
      reported: what they say of the cluster.
      revision_offset: what the cluster's revision counts beside its requests, see `cannot_link` and
        `revisions`.
      also_shared: what the account has in common with others of its cluster and links nobody, see
        `also_shared`.
      taken: names that members of this cluster would have alone, and that other clusters have.
    """

    version: int
    cluster_id: str
    size: int
    links: tuple[Link, ...]
    absorbed: tuple[Absorbed, ...] = ()
    hits: tuple[Hit, ...] = ()
    reported: Reported = NOTHING_REPORTED
    revision_offset: int = 0
    also_shared: tuple[Link, ...] = ()
    taken: tuple[str, ...] = ()


class Remembered(NamedTuple):
    """What was said of a window last.

    Attributes:
      version: of that report.
      ids: account to the name of its cluster, also of the last one that it was in; an account that
        never was in any, to its own.
      alone: accounts that were alone under another name than that, to this name.
      requests: of the window that an earlier run had seen; with fewer nothing is said to be gone.
      revisions: of names that may have been flagged, the newest.
      gone: names that nobody has any more: to that of the cluster which has most of the accounts,
        and the revision with which it ended.
      said: of the names in that report, a digest of all that it said of them.
      present: accounts of the window.
      had: of names that somebody has left, or that are gone, who had them.
      known: of names, the revisions of an earlier run in this window.
    """

    version: int = 0
    ids: Mapping[str, str] = {}
    revisions: Mapping[str, int] = {}
    gone: Mapping[str, tuple[str, int]] = {}
    alone: Mapping[str, str] = {}
    requests: int = 0
    said: Mapping[str, bytes] = {}
    present: frozenset[str] = frozenset()
    had: Mapping[str, Had] = {}
    known: Mapping[str, int] = {}

    def names(self) -> dict[str, str]:
        """What the accounts of the window were called."""
        if not self.present:  # of an older version
            return dict(self.ids)
        return {account: name for account, name in self.ids.items() if account in self.present}

    def groups(self) -> dict[str, frozenset[str]]:
        """By name, the accounts of the window that had it in that report."""
        found: dict[str, set[str]] = {}
        for account in self.present:
            found.setdefault(self.alone.get(account) or self.ids[account], set()).add(account)
        return {name: frozenset(accounts) for name, accounts in found.items()}


@dataclass(frozen=True, slots=True, eq=False)
class KnownIds:
    """Names that earlier runs gave, by window.

    Attributes:
      ids: start of a window, milliseconds UTC, to account to name.
      revisions: start of a window to the newest revision of each cluster that was flagged in it and
        not resolved.
      requests: start of a window to its requests so far.
    """

    ids: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    revisions: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    requests: Mapping[int, int] = field(default_factory=dict)

    def of(self, window_start_ms: int) -> Remembered:
        """What to begin a window with: its own names first, then those of the window nearest in
        time, the earlier of two."""
        ids: dict[str, str] = {}
        revisions: dict[str, int] = {}
        for known, found in ((self.ids, ids), (self.revisions, revisions)):
            near = sorted(known, key=lambda start: (abs(start - window_start_ms), start))
            for start in reversed(near):
                found.update(known[start])  # type: ignore[arg-type]
        seen = self.requests.get(window_start_ms, 0)
        own = self.revisions.get(window_start_ms, {})
        return Remembered(0, ids, revisions, requests=seen, known=own)

    def whole(self, window_start_ms: int, requests: int) -> Remembered:
        """What to begin a window with of which all requests are at hand, so many.

        They may be others than an earlier run had. Of fewer, revisions do not count on from those
        of that run.
        """
        before = self.of(window_start_ms)
        known = before.known if requests >= before.requests else {}
        return before._replace(requests=0, known=known)


NO_IDS = KnownIds()


# That a stream remembers, the latest and those that it reported of last: the one before, what comes
# late, and what a slow partition holds open while others are far ahead.
_WINDOWS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What a stream has said, of its latest windows, and of those of which it spoke last.

    Attributes:
      known: names that earlier runs gave.
      windows: start of a window, milliseconds UTC, to what was said of it last; in the order in
        which that was.
    """

    known: KnownIds
    windows: Mapping[int, Remembered] = field(default_factory=dict)

    def of(self, window_start_ms: int) -> Remembered:
        """What to begin a report with; a window that is new goes on with the names of the windows
        nearest in time, and after these with those of earlier runs.

        Of accounts that were in none of the windows remembered nothing is known any more, or a
        stream of new accounts would be remembered for ever.
        """
        said = self.windows.get(window_start_ms)
        if said is not None:
            return said
        before = self.known.of(window_start_ms)
        own = self.known.ids.get(window_start_ms, {})
        near = sorted(self.windows, key=lambda start: (abs(start - window_start_ms), start))
        latest: dict[str, str] = {}
        for start in reversed(near):
            latest.update(self.windows[start].names())
        return before._replace(ids={**before.ids, **latest, **own})

    def with_report(self, window_start_ms: int, said: Remembered) -> Memory:
        """The memory after a report."""
        windows = {start: one for start, one in self.windows.items() if start != window_start_ms}
        windows[window_start_ms] = said
        kept = {*sorted(windows)[-_WINDOWS:], *[*windows][-_WINDOWS:]}
        return Memory(self.known, {start: one for start, one in windows.items() if start in kept})


class Report(NamedTuple):
    """Results of `assign`: a membership of each account, and what to remember."""

    memberships: list[tuple[str, Membership]]
    remembered: Remembered


def assign(
    accounts: Iterable[Linkable],
    components: Sequence[Component],
    before: Remembered,
    cannot_link: Sequence[CannotLink] = (),
) -> Report:
    """Names components and accounts alone, after what was said before.

    The result depends on what was said before, and on no order.

    Args:
      accounts: all of a window.
      components: of two and more of them.
      before: what was said of the window last, or of another.
      cannot_link: what staff took out of clusters, and whether they took that back.
    """
    events = {account.account: account.events for account in accounts}
    version = sum(events.values())
    groups = {c.cluster_id: c.accounts for c in components}
    linked = {account for group in groups.values() for account in group}
    # An account may have been linked before others made what it shares less rare.
    alone: dict[str, tuple[str, ...]] = {
        cluster_id(name): (name,) for name in sorted(set(events) - linked)
    }
    own = {a: before.alone[a] for a in chain.from_iterable(alone.values()) if a in before.alone}
    names = keep_ids({**before.ids, **own}, groups | alone)
    newly = dict(names.gone)
    for first, group in groups.items():
        newly.update({before.alone[a]: names.ids[first] for a in group if a in before.alone})
    caught_up = version >= before.requests
    count = Count(events, before.groups(), before.had, before.known if caught_up else {})
    alive = set(names.ids.values())
    gone = _gone(before, newly, alive, count)
    absorbed: dict[str, list[Absorbed]] = {}
    # A restart reads everything anew, and knows at first less of the accounts than was known.
    for old, (new, revision) in sorted(gone.items()) if caught_up else ():
        absorbed.setdefault(new, []).append(Absorbed(old, revision))
    links = {c.cluster_id: c.links for c in components}
    offsets = revision_offsets(groups, events, cannot_link)
    memberships = []
    ids, revisions, apart = dict(before.ids), dict(before.revisions), {}
    for first, group in (groups | alone).items():
        name = names.ids[first]
        taken_over = tuple(absorbed.get(name, ()))
        own_names = {cluster_id(account) for account in group} if len(group) > 1 else set()
        taken = tuple(sorted((own_names & alive) - {name}))
        number = sum(events[a] for a in group) + offsets.get(first, 0)
        more = count.offset(name, group, number)
        revisions[name] = max(revisions.get(name, 0), number + more)
        more += offsets.get(first, 0)
        for account, shared in zip(group, links.get(first, ((),)), strict=True):
            if len(group) > 1 or ids.setdefault(account, name) == name:
                ids[account] = name
            else:
                apart[account] = name
            said = Membership(
                version, name, len(group), shared, taken_over, revision_offset=more, taken=taken
            )
            memberships.append((account, said))
    remembered = Remembered(
        version, ids, revisions, gone, apart, before.requests, present=frozenset(events),
        had=count.had, known=before.known,
    )  # fmt: skip
    return Report(memberships, remembered)


def only_news(report: Report, accounts: Iterable[Linkable], before: Remembered) -> Report:
    """A report without the clusters and accounts alone of which it says what was said last.

    What is said of a name is said of all its accounts or of none, so that whoever pools them finds
    them under one version. An account that asked anything since is news, though it is where it was.

    Args:
      report: of `assign`, with whatever was added to it.
      accounts: that it was made of.
      before: what was said last. Of an older report than that everything is passed on but
        names that are gone, which the newest has said: there the state of a window was lost, or it
        was overtaken and is dropped further on.
    """
    if report.remembered.version < before.version:
        taken = ((a, m._replace(absorbed=())) for a, m in report.memberships)
        return report._replace(memberships=[*taken])
    events = {account.account: account.events for account in accounts}
    groups: dict[str, list[tuple[str, Membership]]] = {}
    for account, membership in report.memberships:
        groups.setdefault(membership.cluster_id, []).append((account, membership))
    said = {
        name: _digest([(a, events[a], m._replace(version=0)) for a, m in sorted(group)])
        for name, group in groups.items()
    }
    news = [
        m for name, group in groups.items() if said[name] != before.said.get(name) for m in group
    ]
    return Report(news, report.remembered._replace(said=said))


def _digest(values: object) -> bytes:
    """Of plain values: the same in every process."""
    return blake2b(repr(values).encode(), digest_size=8).digest()


def _gone(
    before: Remembered, newly: Mapping[str, str], alive: set[str], count: Count
) -> dict[str, tuple[str, int]]:
    """Names that have gone, now and before, each to a living one."""
    found = {
        old: (newly.get(new, new), revision)
        for old, (new, revision) in before.gone.items()
        if old not in alive
    }
    for old, new in newly.items():
        if old in before.revisions and old not in alive:
            found[old] = new, before.revisions[old] + 1
    return {old: (new, max(revision, count.gone(old))) for old, (new, revision) in found.items()}
