"""From scored profiles to scored clusters, in Beam.

Linking needs all accounts at once, but only a few hundred bytes of each; that part meets under one
key. Sketches never do: they are joined with the result by account and pooled by cluster.

In a stream every step reports now and then what it has so far. A later report replaces an earlier
one wherever two meet: each carries a number that only grows, and the larger wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

import apache_beam as beam
import numpy as np
from apache_beam import coders, typehints
from apache_beam.ml.inference.base import RunInference
from apache_beam.transforms import userstate

from transforms.clusters.features import CLUSTER_FEATURES, GroupRow, Member, group_row
from transforms.clusters.links import (
    Linkable,
    LinkOptions,
    find_components,
    linkable,
    weighted_degree,
    with_matches,
)
from transforms.clusters.membership import (
    NO_IDS,
    Absorbed,
    KnownIds,
    Membership,
    Memory,
    Remembered,
    Report,
    assign,
)
from transforms.clusters.reports import (
    NOT_WATCHING,
    Watching,
    with_hits,
    with_likeness,
    with_reports,
)
from transforms.coverage.features import COLUMNS
from transforms.coverage.sketch import CoverageSketch
from transforms.pickling import pickled_by_fields
from transforms.scoring.bundle import Bundle
from transforms.scoring.handler import Scored, ScoringHandler, VerifiedBundle
from transforms.scoring.model import FeatureRows
from transforms.scoring.rows import PeerGroups
from transforms.sessions.endless import CombineNowAndThen, stream_windows
from transforms.sharing.watch.evidence import NOTHING_REPORTED, Reported
from transforms.sharing.watch.likeness import Likeness
from transforms.sharing.watch.matching import Hit

CLUSTER_LEVEL = "cluster"
ORDER = 3  # of the last step that gathers, counted from that of profiles; see CombineNowAndThen
_SOON_MS = 1_000
_EVENT_BITS = 48
V = TypeVar("V")


class AccountProfile(NamedTuple):
    """An account over one profile window.

    Attributes:
      alone_as, absorbed: of an account that was linked to nobody, its name as a cluster of one, and
        clusters that fell apart and of which it is left.
      hits: received indicators that it carries.
      linked: version of the report of linking that says so.
    """

    account: str
    window_start_ms: int
    window_end_ms: int
    sketch: CoverageSketch
    pane: str = "on_time"
    alone_as: str = ""
    absorbed: tuple[Absorbed, ...] = ()
    hits: tuple[Hit, ...] = ()
    linked: int = 0


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class ClusterMember:
    """One account of a cluster with its own result and its links."""

    scored: Scored[AccountProfile]
    membership: Membership

    @property
    def account(self) -> str:
        return self.scored.item.account


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """A group of linked accounts; its members oldest first.

    Attributes:
      absorbed: clusters that are no more, most of whose accounts are in this one.
      reported: what other labs' indicators say of it.
      p_value_alone: without what they say; None where that changes nothing.
      alike: indicators of other labs that it is like, as a whole.
    """

    cluster_id: str
    window_start_ms: int
    window_end_ms: int
    members: tuple[ClusterMember, ...]
    row: GroupRow
    absorbed: tuple[Absorbed, ...] = ()
    reported: Reported = NOTHING_REPORTED
    p_value_alone: float | None = None
    alike: tuple[Hit, ...] = ()


def version_of(item: Cluster | AccountProfile) -> int:
    """Grows with what is known of an item: with each report of linking, then with its events.

    What a report of linking has taken apart may come out once more after what it made of it, and
    with more events than that; so events alone do not tell which of two counts.
    """
    if isinstance(item, Cluster):
        return (item.members[0].membership.version << _EVENT_BITS) + item.row.pool.events
    return (item.linked << _EVENT_BITS) + item.sketch.events


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
      explain_below: clusters with a p-value up to this get reasons.
      window_ms, early_firing_ms, allowed_lateness_ms: as of the profiles.
      known: names that earlier runs gave.
      watching: for what other labs reported.
    """

    bundle: VerifiedBundle
    links: LinkOptions
    explain_below: float
    window_ms: int
    early_firing_ms: int
    allowed_lateness_ms: int
    known: KnownIds = NO_IDS
    watching: Watching = NOT_WATCHING

    def expand(self, profiles: beam.PCollection[Scored[AccountProfile]]) -> Found:
        memberships = (
            profiles
            | "PickSharedThings" >> beam.ParDo(_LinkableFn(self.bundle, self.links))
            | "NewestLinks" >> self._newest(NewestByName(), 1, int)
            | "LinkAccounts" >> self._link()
        )
        own = profiles | "KeyByAccount" >> beam.Map(lambda s: (s.item.account, s))
        joined = (
            (own, memberships)
            | "ProfilesAndMemberships" >> beam.Flatten()
            | "NewestOfEach" >> self._newest(_Join(), 2)
            | "Split" >> beam.ParDo(_SplitFn()).with_outputs("single", main="member")
        )
        clusters = (
            joined.member
            | "NewestMembers" >> self._newest(NewestByName(), ORDER)
            | "PoolMembers" >> beam.ParDo(_PoolFn(self.bundle))
            | "ScoreClusters"
            >> RunInference(
                ScoringHandler(self.bundle, CLUSTER_LEVEL, cluster_rows, self._explain_below())
            )
            | "WhatOthersReport" >> beam.ParDo(_WhatOthersReportFn(self.bundle, self.watching))
        )
        return Found(clusters, joined.single)

    def _explain_below(self) -> float:
        """What others report may bring a cluster from here to where it is flagged."""
        gain = self.watching.options.most_gain if self.watching.path else 1.0
        return min(1.0, self.explain_below * gain)

    def _link(self) -> beam.PTransform:
        if not self.early_firing_ms:
            return beam.ParDo(_MembershipsFn(self.bundle, self.links, self.known, self.watching))
        return _LinkAgain(
            _MembershipsAgainFn(self.bundle, self.links, self.known, self.watching),
            self.window_ms,
            self.allowed_lateness_ms,
        )

    def _newest(self, combine: beam.CombineFn, order: int, key: type = str) -> CombineNowAndThen:
        # Profiles set the pace; what follows from them is only gathered for a moment, so that all
        # members of a cluster meet under the same report of linking.
        period = min(self.early_firing_ms, _SOON_MS)
        late = self.allowed_lateness_ms
        return CombineNowAndThen(combine, self.window_ms, period, late, key, order)


class Versioned(NamedTuple, Generic[V]):
    """A named value; of two with the same name the larger version counts."""

    name: str
    version: int
    value: V


class _LinkableFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, bundle: VerifiedBundle, options: LinkOptions) -> None:
        self._verified = bundle
        self._options = options

    def setup(self) -> None:
        self._bundle = self._verified.load()

    def start_bundle(self) -> None:
        self._bundle = self._verified.now(self._bundle)

    def process(self, scored: Scored[AccountProfile]) -> Iterator[tuple[int, Versioned[Linkable]]]:
        account, sketch = scored.item.account, scored.item.sketch
        found = linkable(account, sketch, self._options, self._bundle.common, scored.p_value)
        yield 0, Versioned(found.account, found.events, found)


_Linkables = tuple[int, list[Versioned[Linkable]]]


class _LinkFn(beam.DoFn):  # type: ignore[misc]
    def __init__(
        self, bundle: VerifiedBundle, options: LinkOptions, known: KnownIds, watching: Watching
    ) -> None:
        self._verified = bundle
        self._options = options
        self._known = known
        self._watching = watching

    def setup(self) -> None:
        self._bundle = self._verified.load()
        self._watched = self._watching.file()

    def start_bundle(self) -> None:
        self._bundle = self._verified.now(self._bundle)

    def _report(self, entries: list[Versioned[Linkable]], before: Remembered) -> Report:
        accounts = [entry.value for entry in entries]
        linked = find_components(accounts, self._options)
        matched = with_matches(accounts, linked, self._bundle.background, self._options)
        report = assign(accounts, matched, before)
        watched, options = self._watched.current(), self._watching.options
        return report._replace(
            memberships=with_hits(report.memberships, accounts, watched, options)
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


class _MembershipsFn(_LinkFn):
    """Links the accounts of a window, once."""

    def process(
        self, element: _Linkables, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[tuple[str, Membership]]:
        # Of other events of the window than an earlier run had, all that there are.
        before = self._known.of(window.start.micros // 1000)._replace(requests=0)
        yield from self._report(element[1], before).memberships


@dataclass(eq=False)
class _LinkAgain(beam.PTransform):  # type: ignore[misc]
    """Links whenever accounts have changed; one memory for all windows, so that names go on."""

    memberships: beam.DoFn
    window_ms: int
    allowed_lateness_ms: int

    def expand(
        self, accounts: beam.PCollection[_Linkables]
    ) -> beam.PCollection[tuple[str, Membership]]:
        named = accounts | "NameWindow" >> beam.ParDo(_NameWindowFn())
        named = named | "LeaveWindows" >> beam.WindowInto(beam.window.GlobalWindows())
        named.element_type = typehints.Tuple[int, Any]
        return (
            named
            | "Link" >> beam.ParDo(self.memberships)
            | "Windows" >> stream_windows(self.window_ms, self.allowed_lateness_ms)
        )


class _NameWindowFn(beam.DoFn):  # type: ignore[misc]
    def process(
        self, element: _Linkables, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[tuple[int, tuple[int, list[Versioned[Linkable]]]]]:
        yield element[0], (window.start.micros // 1000, element[1])


class _MembershipsAgainFn(_LinkFn):
    SAID = userstate.BagStateSpec("said", coders.PickleCoder())

    def process(
        self,
        element: tuple[int, tuple[int, list[Versioned[Linkable]]]],
        at: Any = beam.DoFn.TimestampParam,
        said: Any = beam.DoFn.StateParam(SAID),
    ) -> Iterator[Any]:
        _, (start_ms, entries) = element
        memory = next(iter(said.read()), Memory(self._known))
        before = memory.of(start_ms)
        report = self._report(entries, before)
        if report.remembered.version >= before.version:
            said.clear()
            said.add(memory.with_report(start_ms, report.remembered))
        for membership in report.memberships:
            yield beam.window.TimestampedValue(membership, at)


class NewestByName(beam.CombineFn):  # type: ignore[misc]
    """Keeps the newest version of each name; its output is in the order of names."""

    def create_accumulator(self) -> dict[str, Versioned[Any]]:
        return {}

    def add_input(
        self, accumulator: dict[str, Versioned[Any]], element: Versioned[Any]
    ) -> dict[str, Versioned[Any]]:
        known = accumulator.get(element.name)
        if known is None or element.version >= known.version:
            accumulator[element.name] = element
        return accumulator

    def merge_accumulators(
        self, accumulators: Iterable[dict[str, Versioned[Any]]]
    ) -> dict[str, Versioned[Any]]:
        merged: dict[str, Versioned[Any]] = {}
        for accumulator in accumulators:
            for element in accumulator.values():
                self.add_input(merged, element)
        return merged

    def extract_output(self, accumulator: dict[str, Versioned[Any]]) -> list[Versioned[Any]]:
        return [accumulator[name] for name in sorted(accumulator)]


Pair = tuple[Any, Any]


class NewestPair(beam.CombineFn):  # type: ignore[misc]
    """The newest element of each of two kinds, None where there is none yet."""

    def which(self, element: Any) -> tuple[int, int]:
        """The kind of an element, 0 or 1, and its version."""
        raise NotImplementedError

    def create_accumulator(self) -> Pair:
        return None, None

    def add_input(self, accumulator: Pair, element: Any) -> Pair:
        kind, version = self.which(element)
        known = accumulator[kind]
        if known is not None and version < self.which(known)[1]:
            return accumulator
        return (accumulator[0], element) if kind else (element, accumulator[1])

    def merge_accumulators(self, accumulators: Iterable[Pair]) -> Pair:
        merged: Pair = (None, None)
        for pair in accumulators:
            for element in pair:
                if element is not None:
                    merged = self.add_input(merged, element)
        return merged

    def extract_output(self, accumulator: Pair) -> Pair:
        return accumulator


class _Join(NewestPair):
    """The newest profile and the newest membership of one account."""

    def which(self, element: Scored[AccountProfile] | Membership) -> tuple[int, int]:
        if isinstance(element, Membership):
            return 1, element.version
        return 0, element.item.sketch.events


class _SplitFn(beam.DoFn):  # type: ignore[misc]
    def process(self, element: tuple[str, Pair]) -> Iterator[Any]:
        account, (profile, membership) = element
        # In a stream one reports before the other does; both are there soon.
        if profile is None or membership is None:
            return
        if membership.size == 1:
            named = profile.item._replace(
                alone_as=membership.cluster_id,
                absorbed=membership.absorbed,
                hits=membership.hits,
                linked=membership.version,
            )
            yield beam.pvalue.TaggedOutput("single", replace(profile, item=named))
        else:
            member = ClusterMember(profile, membership)
            yield membership.cluster_id, Versioned(account, membership.version, member)


class _PoolFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, bundle: VerifiedBundle) -> None:
        self._verified = bundle

    def setup(self) -> None:
        self._bundle = self._verified.load()

    def start_bundle(self) -> None:
        self._bundle = self._verified.now(self._bundle)

    def process(self, element: tuple[str, list[Versioned[ClusterMember]]]) -> Iterator[Cluster]:
        cluster_id, entries = element
        # Linking reports every membership anew: what the newest report left out has moved away.
        newest = max(entry.version for entry in entries)
        current = [entry.value for entry in entries if entry.version == newest]
        current.sort(key=lambda m: (m.scored.item.sketch.first_ms, m.account))
        # In a stream members arrive one by one; a part of a cluster is none.
        if len(current) > 1 and len(current) == current[0].membership.size:
            item = current[0].scored.item
            members = [member_of(m) for m in current]
            yield Cluster(
                cluster_id,
                item.window_start_ms,
                item.window_end_ms,
                tuple(current),
                group_row(members, self._bundle.reference("")),
                current[0].membership.absorbed,
                current[0].membership.reported,
            )


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
