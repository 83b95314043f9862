"""Scored clusters of input that ends: thousands of profiles are scored, linked and joined at once.

A profile is a few events as often as not, and taking each by itself from step to step costs more
than what is done with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray

from transforms.clusters.elements import AccountProfile
from transforms.clusters.linkables import Linkables, linkables
from transforms.clusters.linking import LinkFn
from transforms.clusters.links import Linkable, LinkOptions
from transforms.clusters.membership import Absorbed, Membership
from transforms.clusters.singles import Singles
from transforms.clusters.transforms import SINGLE, FindClusters, Found, placed
from transforms.coverage.stack import SketchStack, decode_stack, encode_stack
from transforms.pickling import pickled_by_fields
from transforms.scoring.fit import PROFILE
from transforms.scoring.handler import Scored, ScoredRows, VerifiedBundle, score_rows
from transforms.scoring.rows import PeerGroups, account_rows
from transforms.sessions.shards import Named
from transforms.sharing.watch.matching import Hit

_AT_ONCE = 2_000  # accounts: some megabytes between steps
_LINKABLE = "linkable"


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class _ScoredProfiles:
    """n accounts over one window, and their scores.

    Attributes:
      start_ms, end_ms: of the window.
      names: of the accounts.
      sketches: of what they did, as `encode_stack` has them.
      scored: of each.
    """

    start_ms: int
    end_ms: int
    names: list[str]
    sketches: bytes
    scored: ScoredRows

    def split(
        self, memberships: _Memberships
    ) -> tuple[list[tuple[Scored[AccountProfile], Membership]], Singles | None]:
        """The members of clusters, and the others, if there are any."""
        members = memberships.members
        is_member = np.array([name in members for name in self.names], bool)
        stack = decode_stack(self.sketches)
        within, alone = np.flatnonzero(is_member), np.flatnonzero(~is_member)
        return self._members(within, stack, members), self._singles(alone, stack, memberships)

    def _members(
        self, at: NDArray[np.intp], stack: SketchStack, members: Mapping[str, Membership]
    ) -> list[tuple[Scored[AccountProfile], Membership]]:
        if not len(at):
            return []
        names = [self.names[i] for i in at]
        scored = self.scored.take(at).each(
            AccountProfile(name, self.start_ms, self.end_ms, sketch)
            for name, sketch in zip(names, stack.take(at).sketches(), strict=True)
        )
        return [(one, members[name]) for one, name in zip(scored, names, strict=True)]

    def _singles(
        self, at: NDArray[np.intp], stack: SketchStack, memberships: _Memberships
    ) -> Singles | None:
        if not len(at):
            return None
        names = [self.names[i] for i in at]
        absorbed, hits, offset = memberships.absorbed, memberships.hits, memberships.revision_offset
        return Singles(
            self.start_ms,
            self.end_ms,
            names,
            stack.take(at),
            self.scored.take(at),
            memberships.linked,
            [memberships.alone_as[name] for name in names],
            {i: absorbed[name] for i, name in enumerate(names) if name in absorbed},
            {i: hits[name] for i, name in enumerate(names) if name in hits},
            {i: offset[name] for i, name in enumerate(names) if name in offset},
        )


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class _Memberships:
    """Where linking put accounts, by their names. Most are alone, and of these little is said.

    Attributes:
      linked: version of the report.
      members: of clusters.
      alone_as: of the others, the name of each as a cluster of one.
      absorbed, hits, revision_offset: of the others that have any.
    """

    linked: int
    members: dict[str, Membership]
    alone_as: dict[str, str]
    absorbed: dict[str, tuple[Absorbed, ...]]
    hits: dict[str, tuple[Hit, ...]]
    revision_offset: dict[str, int]

    @classmethod
    def of(cls, memberships: Iterable[tuple[str, Membership]]) -> _Memberships:
        """Those of one report, at least one."""
        pairs = list(memberships)
        alone = [(name, one) for name, one in pairs if one.size == 1]
        return cls(
            pairs[0][1].version,
            {name: one for name, one in pairs if one.size > 1},
            {name: one.cluster_id for name, one in alone},
            {name: one.absorbed for name, one in alone if one.absorbed},
            {name: one.hits for name, one in alone if one.hits},
            {name: one.revision_offset for name, one in alone if one.revision_offset},
        )


class FoundTogether(Found):
    """Results of `FindClustersTogether`: `Found` with `Singles`."""

    def each(
        self, label: str, pick: Callable[[Singles], Iterable[Any]], step: beam.PTransform
    ) -> beam.PCollection[Any]:
        """What a step makes of all clusters, and of the accounts that `pick` takes out of columns.
        An engine keeps what is flattened, so that only the results are."""
        picked = self.singles | f"{label}_picked" >> beam.FlatMap(pick)
        made = [self.clusters | f"{label}_clusters" >> step, picked | f"{label}_singles" >> step]
        return made | label >> beam.Flatten()


@dataclass(eq=False)
class FindClustersTogether(FindClusters):
    """`FindClusters` of the profiles of `ProfileBounded`, which are scored here, too."""

    def expand(self, profiles: beam.PCollection[tuple[int, Named]]) -> FoundTogether:
        return FoundTogether(*super().expand(profiles))

    def members_and_singles(self, profiles: beam.PCollection[tuple[int, Named]]) -> Any:
        how = self.bundle, self.links, self.known, self.cannot_link, self.watching
        scored = profiles | "ScoreProfiles" >> beam.ParDo(
            _ScoreFn(self.bundle, self.links, self.explain_below)
        ).with_outputs(_LINKABLE, main="scored")
        memberships = (
            scored[_LINKABLE]
            | "AllOfTheWindow" >> beam.GroupByKey()
            | "LinkAccounts" >> beam.ParDo(_LinkTogetherFn(*how))
        )
        return (
            (scored.scored, memberships)
            | "ProfilesAndMemberships" >> beam.Flatten()
            | "OfEachNumber" >> beam.GroupByKey()
            | "Split" >> beam.ParDo(_SplitTogetherFn()).with_outputs(SINGLE, main="member")
        )


class _ScoreFn(beam.DoFn):  # type: ignore[misc]
    """Scores accounts, and picks what links them."""

    def __init__(self, bundle: VerifiedBundle, links: LinkOptions, explain_below: float) -> None:
        self._verified = bundle
        self._links = links
        self._explain_below = explain_below

    def setup(self) -> None:
        self._bundle = self._verified.load()

    def process(
        self, element: tuple[int, Named], window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        number, profiles = element
        start_ms, end_ms = window.start.micros // 1000, window.end.micros // 1000
        for first in range(0, len(profiles.names), _AT_ONCE):
            last = min(first + _AT_ONCE, len(profiles.names))
            names, stack = profiles.take(np.arange(first, last))
            groups = PeerGroups(self._bundle.references).of_all(stack)
            rows = account_rows(names, stack, groups, self._bundle.references, self._bundle.past)
            scored = score_rows(rows, self._bundle, PROFILE, self._explain_below)
            found = linkables(names, stack, self._links, self._bundle.common, scored.scores.p_value)
            yield beam.pvalue.TaggedOutput(_LINKABLE, (0, (number, found)))
            yield number, _ScoredProfiles(start_ms, end_ms, names, encode_stack(stack), scored)


class _LinkTogetherFn(LinkFn):
    """Links the accounts of a window, and sorts where it puts them by what they came in."""

    def process(
        self,
        element: tuple[int, Iterable[tuple[int, Linkables]]],
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[tuple[int, Any]]:
        number_of: dict[str, int] = {}
        accounts: list[Linkable] = []
        for number, found in element[1]:
            number_of.update(dict.fromkeys(found.accounts, number))
            accounts.extend(found.each())
        # In the order of their names, whatever shard came first.
        accounts.sort(key=lambda account: account.account)
        memberships = self.memberships(accounts, window)
        by_number = sorted(memberships, key=lambda pair: number_of[pair[0]])
        for number, own in groupby(by_number, key=lambda pair: number_of[pair[0]]):
            yield number, _Memberships.of(own)


class _SplitTogetherFn(beam.DoFn):  # type: ignore[misc]
    """Members one by one, and under SINGLE the others, as `Singles`."""

    def process(
        self, element: tuple[int, Iterable[_ScoredProfiles | _Memberships]]
    ) -> Iterator[Any]:
        scored: list[_ScoredProfiles] = []
        for some in element[1]:
            if isinstance(some, _ScoredProfiles):
                scored.append(some)
            else:
                memberships = some  # all accounts of a window are linked at once
        for profiles in scored:
            members, singles = profiles.split(memberships)
            for profile, membership in members:
                yield placed(profile, membership)
            if singles is not None:
                yield beam.pvalue.TaggedOutput(SINGLE, singles)
