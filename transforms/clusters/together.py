"""Scored clusters of input that ends: thousands of profiles are scored, linked and joined at once.

A profile is a few events as often as not, and taking each by itself from step to step costs more
than what is done with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import apache_beam as beam
import numpy as np

from transforms.clusters.elements import AccountProfile
from transforms.clusters.linkables import Linkables, linkables
from transforms.clusters.linking import LinkFn
from transforms.clusters.links import Linkable, LinkOptions
from transforms.clusters.membership import Membership
from transforms.clusters.transforms import SINGLE, FindClusters, placed
from transforms.coverage.stack import decode_stack, encode_stack
from transforms.pickling import pickled_by_fields
from transforms.scoring.fit import PROFILE
from transforms.scoring.handler import Scored, ScoredRows, VerifiedBundle, score_rows
from transforms.scoring.rows import PeerGroups, account_rows
from transforms.sessions.shards import Named

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

    def each(self) -> list[Scored[AccountProfile]]:
        """The accounts, one by one."""
        sketches = decode_stack(self.sketches).sketches()
        return self.scored.each(
            AccountProfile(name, self.start_ms, self.end_ms, sketch)
            for name, sketch in zip(self.names, sketches, strict=True)
        )


@dataclass(eq=False)
class FindClustersTogether(FindClusters):
    """`FindClusters` of the profiles of `ProfileBounded`, which are scored here, too."""

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
    ) -> Iterator[tuple[int, dict[str, Membership]]]:
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
            yield number, dict(own)


class _SplitTogetherFn(beam.DoFn):  # type: ignore[misc]
    def process(
        self, element: tuple[int, Iterable[_ScoredProfiles | dict[str, Membership]]]
    ) -> Iterator[Any]:
        memberships: dict[str, Membership] = {}
        scored: list[_ScoredProfiles] = []
        for some in element[1]:
            if isinstance(some, _ScoredProfiles):
                scored.append(some)
            else:
                memberships |= some
        for profiles in scored:
            for profile in profiles.each():
                yield placed(profile, memberships[profile.item.account])
