"""From scored profiles to scored clusters, in Beam.

Linking needs all accounts at once, but only a few hundred bytes of each; that part meets under one
key. Sketches never do: they are joined with the result by account and pooled by cluster.

In a stream every step reports now and then what it has so far. A later report replaces an earlier
one wherever two meet: each carries a number that only grows, and the larger wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import RunInference
from apache_beam.utils.windowed_value import WindowedValue

from transforms.clusters.cannot_link import CannotLink
from transforms.clusters.elements import AccountProfile, Cluster, ClusterMember
from transforms.clusters.feature_table import CLUSTER_FEATURES
from transforms.clusters.features import Member, group_rows
from transforms.clusters.linking import (
    LinkableFn,
    LinkAgain,
    MembershipsAgainFn,
    MembershipsFn,
)
from transforms.clusters.links import LinkOptions, weighted_degree
from transforms.clusters.membership import NO_IDS, KnownIds, Membership
from transforms.clusters.newest import NewestByName, NewestPair, Pair, Versioned
from transforms.clusters.newest_links import NewestLinks
from transforms.clusters.reports import NOT_WATCHING, Watching, with_likeness, with_reports
from transforms.coverage.features import COLUMNS
from transforms.scoring.bundle import Bundle
from transforms.scoring.handler import Scored, ScoringHandler, VerifiedBundle
from transforms.scoring.model import FeatureRows
from transforms.scoring.rows import PeerGroups
from transforms.sessions.now_and_then import PANE_ORDER, CombineNowAndThen
from transforms.sessions.shard_log import SHARDS
from transforms.sessions.sharding import Shard
from transforms.sharing.watch.likeness import Likeness

CLUSTER_LEVEL = "cluster"
ORDER = 3  # of the last step that gathers, counted from that of profiles; see CombineNowAndThen
SINGLE = "single"
_SOON_MS = 1_000


class Found(NamedTuple):
    """Results of `FindClusters`.

    Attributes:
      clusters: scored groups of two and more accounts.
      singles: scored accounts that share nothing with another.
    """

    clusters: beam.PCollection[Scored[Cluster]]
    singles: beam.PCollection[Scored[AccountProfile]]


@dataclass(eq=False)
class FindClusters(beam.PTransform):  # type: ignore[misc]
    """Links scored profiles, finds components, and scores each on its merged sketch.

    Attributes:
      bundle: that scores the groups.
      links: what links accounts.
      explain_below: clusters with a p-value up to this get reasons. In a stream, accounts alone
        with a larger one are taken for never flagged, so it is at least the policy's threshold.
      window_ms, early_firing_ms, allowed_lateness_ms: as of the profiles.
      known: names that earlier runs gave.
      cannot_link: what staff took out of clusters.
      watching: for what other labs reported.
      shards: as of the profiles.
    """

    bundle: VerifiedBundle
    links: LinkOptions
    explain_below: float
    window_ms: int
    early_firing_ms: int
    allowed_lateness_ms: int
    known: KnownIds = NO_IDS
    cannot_link: tuple[CannotLink, ...] = ()
    watching: Watching = NOT_WATCHING
    shards: int = SHARDS

    def expand(self, profiles: beam.PCollection[Any]) -> Found:
        joined = self.members_and_singles(profiles)
        clusters = (
            joined.member
            | "NewestMembers" >> self._newest(_NewestMembers(), ORDER)
            | "PoolMembers" >> beam.ParDo(_PoolFn(self.bundle))
            | "ScoreClusters"
            >> RunInference(
                ScoringHandler(self.bundle, CLUSTER_LEVEL, cluster_rows, self._explain_below())
            )
            | "WhatOthersReport" >> beam.ParDo(_WhatOthersReportFn(self.bundle, self.watching))
        )
        return Found(clusters, joined[SINGLE])

    def members_and_singles(self, profiles: beam.PCollection[Scored[AccountProfile]]) -> Any:
        """What `placed` makes of all accounts: those of clusters, and under SINGLE the others."""
        late, pick = self.allowed_lateness_ms, beam.ParDo(LinkableFn(self.bundle, self.links, 1))
        memberships = (
            profiles
            | "PickSharedThings" >> pick.with_output_types(Shard)
            | "NewestLinks" >> NewestLinks(self.window_ms, self._soon(), late, 1)
            | "LinkAccounts" >> self._link()
        )
        own = profiles | "KeyByAccount" >> beam.Map(lambda s: (s.item.account, s))
        return (
            (own, memberships)
            | "ProfilesAndMemberships" >> beam.Flatten()
            | "NewestOfEach" >> self._newest(_Join(self.explain_below), 2)
            | "Split" >> beam.ParDo(_SplitFn()).with_outputs(SINGLE, main="member")
        )

    def _explain_below(self) -> float:
        """What others report may bring a cluster from here to where it is flagged."""
        gain = self.watching.options.most_gain if self.watching.path else 1.0
        return min(1.0, self.explain_below * gain)

    def _link(self) -> beam.PTransform:
        how = self.bundle, self.links, self.known, self.cannot_link, self.watching
        if not self.early_firing_ms:
            return beam.ParDo(MembershipsFn(*how))
        return LinkAgain(MembershipsAgainFn(*how), self.window_ms, self.allowed_lateness_ms)

    def _soon(self) -> int:
        # Profiles set the pace; what follows from them is only gathered for a moment, so that all
        # members of a cluster meet under the same report of linking.
        return min(self.early_firing_ms, _SOON_MS)

    def _newest(self, combine: beam.CombineFn, order: int) -> CombineNowAndThen:
        late = self.allowed_lateness_ms
        return CombineNowAndThen(
            combine, self.window_ms, self._soon(), late, order, shards=self.shards
        )


class _WhatOthersReportFn(beam.DoFn):  # type: ignore[misc]
    """Puts what other labs report of a cluster beside its own p-value."""

    def __init__(self, bundle: VerifiedBundle, watching: Watching) -> None:
        self._verified = bundle
        self._watching = watching

    def setup(self) -> None:
        self._bundle = self._verified.load()
        self._watched = self._watching.file()
        self._likeness = self._compare()

    def start_bundle(self) -> None:
        self._bundle = self._verified.now(self._bundle)
        if self._likeness.bundle is not self._bundle:
            self._likeness = self._compare()

    def process(self, scored: Scored[Cluster]) -> Iterator[Scored[Cluster]]:
        options = self._watching.options
        told = with_likeness(scored, self._watched.current(), options, self._likeness)
        yield with_reports(told, options.most_gain)

    def _compare(self) -> Likeness:
        return Likeness(self._bundle, self._watching.options.likeness_max_p)


class _NewestMembers(NewestByName):
    """The newest of each member of a cluster."""

    def order(self, element: Versioned[ClusterMember]) -> tuple[int, int]:
        return element.version, _age(element.value.scored.item)


def _age(profile: AccountProfile) -> int:
    """Grows with each report of an account that has the same membership."""
    # A window that is over may have no more requests than it had before.
    return profile.sketch.events * len(PANE_ORDER) + PANE_ORDER.index(profile.pane)


class _Join(NewestPair):
    """The newest profile and the newest membership of one account, and whether anything of it may
    have been flagged: itself, or a cluster that it was in and may have the name of."""

    def __init__(self, max_p: float) -> None:
        """Takes an account for suspicious that has a p-value of at most `max_p`."""
        self._max_p = max_p

    def which(self, element: Scored[AccountProfile] | Membership) -> tuple[int, int]:
        if isinstance(element, Membership):
            return 1, element.version
        return 0, _age(element.item)

    def is_remarkable(self, element: Scored[AccountProfile] | Membership) -> bool:
        if isinstance(element, Membership):
            return element.size > 1 or bool(element.absorbed or element.revision_offset)
        return element.p_value <= self._max_p


class _SplitFn(beam.DoFn):  # type: ignore[misc]
    def process(self, element: tuple[str, Pair]) -> Iterator[Any]:
        _, (profile, membership, is_remarkable) = element
        # In a stream one reports before the other does; both are there soon.
        if profile is not None and membership is not None:
            yield placed(profile, membership, is_remarkable)


def placed(
    profile: Scored[AccountProfile], membership: Membership, is_remarkable: bool = True
) -> Any:
    """A member under the name of its cluster, or who is in none, for the output SINGLE."""
    if membership.size == 1:
        named = profile.item._replace(
            alone_as=membership.cluster_id,
            absorbed=membership.absorbed,
            hits=membership.hits,
            linked=membership.version,
            revision_offset=membership.revision_offset,
            is_remarkable=is_remarkable,
        )
        return beam.pvalue.TaggedOutput(SINGLE, replace(profile, item=named))
    member = ClusterMember(profile, membership)
    return membership.cluster_id, Versioned(member.account, membership.version, member)


class _PoolFn(beam.DoFn):  # type: ignore[misc]
    """Pools members; many clusters at once, because most have few."""

    _FULL = 256  # clusters

    def __init__(self, bundle: VerifiedBundle) -> None:
        self._verified = bundle

    def setup(self) -> None:
        self._bundle = self._verified.load()

    def start_bundle(self) -> None:
        self._bundle = self._verified.now(self._bundle)
        self._waiting: list[tuple[str, list[ClusterMember], Any, Any]] = []

    def process(
        self,
        element: tuple[str, list[Versioned[ClusterMember]]],
        at: Any = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[WindowedValue]:
        cluster_id, entries = element
        # Linking reports all members of a cluster or none: whom the newest report left out has
        # moved away.
        newest = max(entry.version for entry in entries)
        current = [entry.value for entry in entries if entry.version == newest]
        current.sort(key=lambda m: (m.scored.item.sketch.first_ms, m.account))
        # In a stream members arrive one by one; a part of a cluster is none.
        if len(current) > 1 and len(current) == current[0].membership.size:
            self._waiting.append((cluster_id, current, at, window))
        if len(self._waiting) >= self._FULL:
            yield from self.finish_bundle()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        waiting, self._waiting = self._waiting, []
        groups = [[member_of(m) for m in members] for _, members, _, _ in waiting]
        rows = group_rows(groups, self._bundle.reference(""))
        for (cluster_id, members, at, window), row in zip(waiting, rows, strict=True):
            item, membership = members[0].scored.item, members[0].membership
            cluster = Cluster(
                cluster_id, item.window_start_ms, item.window_end_ms, tuple(members), row,
                membership.absorbed, membership.reported,
            )  # fmt: skip
            yield WindowedValue(cluster, at, (window,))


def member_of(member: ClusterMember) -> Member:
    """What pooling needs of a cluster's member."""
    scored = member.scored
    z = scored.z if len(scored.z) else np.zeros(len(COLUMNS))
    degree = weighted_degree(member.membership.links)
    return Member(scored.item.account, scored.item.sketch, scored.p_value, z, degree)


def cluster_rows(clusters: Any, bundle: Bundle, peers: PeerGroups) -> FeatureRows:
    """Feature rows of n clusters; groups of accounts have no peer group, but may have a past."""
    width, groups = len(CLUSTER_FEATURES), bundle.groups
    members = [groups.find([m.account for m in c.members]) for c in clusters]
    excused = [groups.excused(rows, width).mean(axis=0) for rows in members]
    return FeatureRows(
        np.stack([c.row.features for c in clusters]).reshape(-1, width),
        np.stack([c.row.covariates for c in clusters]).reshape(-1, 2),
        [""] * len(clusters),
        np.stack(excused).reshape(-1, width),
    )
