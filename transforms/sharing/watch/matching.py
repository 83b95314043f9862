"""Finds watched things among the accounts of a window, within limits that bound any harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transforms.sharing.watch.evidence import (
    EQUAL,
    FromSource,
    Reported,
    combine_sources,
    match_p_value,
    of_family,
)
from transforms.sharing.watch.listing import LIVE, QUARANTINED, Watched, WatchList

Bool = NDArray[np.bool_]
DAY_MS = 86_400_000
HELD, EXPIRED = "held", "expired"


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """Attributes:
    trust: of each source, 0 to 1; whoever is not in it is in quarantine.
    weight: of a source that is fully trusted, fresh and sure, against 1 of the cluster's own.
    most_weight: of all sources together.
    most_gain: a cluster's p-value falls by this factor at most.
    half_life_ms: after so long an indicator counts half.
    most_share: an indicator that more of a window's accounts carry is held back.
    most_source_share: indicators of one source that together touch more are held back, the most
      common ones first, until they do not.
    least_accounts: the limits never hold back what fewer accounts carry.
    least_members: a cluster needs so many members that carry an indicator.
    likeness_max_p: a cluster is like what is compared when so many benign groups are, at most.
    """

    trust: Mapping[str, float] = field(default_factory=dict)
    weight: float = 0.5
    most_weight: float = 1.0
    most_gain: float = 10.0
    half_life_ms: int = 30 * DAY_MS
    most_share: float = 0.01
    most_source_share: float = 0.02
    least_accounts: int = 20
    least_members: int = 2
    likeness_max_p: float = 0.005


class Hit(NamedTuple):
    """An indicator that an account carries, or that its cluster is like, and whether it counts:
    live, quarantined, or held; and the share of benign groups that are less alike."""

    indicator_id: str
    kind: str
    value: str
    source: str
    state: str
    similarity: float = 1.0


class Standing(NamedTuple):
    """How the indicators of a list stand at a time.

    Attributes:
      states: of each, live, quarantined or expired.
      weights: float64 of shape (len(watched),), trust · confidence · decay; 0 of what is not live.
      families: of each source that has a live indicator, the families of these; see `of_family`.
    """

    states: list[str]
    weights: NDArray[np.float64]
    families: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """Result of `match_accounts` for n accounts.

    Attributes:
      watched: the list that was looked for.
      accounts: n.
      owner, column: intp of shape (matches,), sorted: which account carries which of the list.
      states: of each indicator of the list, live, quarantined, held or expired.
      weights: float64 of shape (len(watched),), trust · confidence · decay; 0 of what is not live.
      families: of each source that has a live indicator, carried or not.
      options: limits.
    """

    watched: WatchList
    accounts: int
    owner: NDArray[np.intp]
    column: NDArray[np.intp]
    states: tuple[str, ...]
    weights: NDArray[np.float64]
    families: Mapping[str, frozenset[str]]
    options: WatchOptions

    def hits(self, account: int) -> tuple[Hit, ...]:
        """What an account carries, expired and held indicators left out."""
        low, high = np.searchsorted(self.owner, [account, account + 1])
        return tuple(
            hit_of(self.watched.watched[i], self.states[i])
            for i in self.column[low:high]
            if self.states[i] not in (HELD, EXPIRED)
        )

    def reports(self, groups: Sequence[NDArray[np.intp]]) -> list[Reported]:
        """What the sources say of each of some groups of accounts, given by their places."""
        best = self._best()
        unions: dict[tuple[str, ...], Bool] = {}
        out = []
        for group in groups:
            said = [self._of_source(name, weights, group) for name, weights in best.items()]
            found = [one for one in said if one is not None]
            together = combine_sources(
                found, len(self.families), self.options.weight, self.options.most_weight
            )
            if together.sources:
                names = together.sources
                if names not in unions:
                    unions[names] = np.any([best[name] > 0 for name in names], axis=0)
                inside, everywhere = int(unions[names][group].sum()), int(unions[names].sum())
                together = together._replace(
                    members=inside / len(group),
                    elsewhere=(1 + everywhere - inside) / (1 + self.accounts - len(group)),
                )
            out.append(together)
        return out

    def _best(self) -> dict[str, NDArray[np.float64]]:
        """For each source that counts, the largest weight that each account carries of it."""
        found: dict[str, NDArray[np.float64]] = {}
        for at in np.flatnonzero(self.weights[self.column]):
            source = self.watched.watched[self.column[at]].source
            own = found.setdefault(source, np.zeros(self.accounts))
            own[self.owner[at]] = max(own[self.owner[at]], self.weights[self.column[at]])
        return dict(sorted(found.items()))

    def _of_source(
        self, name: str, weights: NDArray[np.float64], group: NDArray[np.intp]
    ) -> FromSource | None:
        carriers = int(np.count_nonzero(weights[group]))
        if carriers < self.options.least_members:
            return None
        elsewhere, others = np.count_nonzero(weights) - carriers, self.accounts - len(group)
        p_value = match_p_value(carriers, len(group), int(elsewhere), others)
        p_value = of_family(p_value, EQUAL, self.families[name])
        return FromSource(name, p_value, float(weights[group].max()))

    def held(self) -> tuple[Watched, ...]:
        """Indicators that are too common here to mean anything."""
        pairs = zip(self.watched.watched, self.states, strict=True)
        return tuple(one for one, state in pairs if state == HELD)


def match_accounts(
    things: Sequence[NDArray[np.uint64]], watched: WatchList, now_ms: int, options: WatchOptions
) -> Matched:
    """Looks for watched things among those of n accounts.

    Args:
      things: of each account, as `Linkable.things` has them; what our own history shares already is
        not among them, and so never matches.
      watched: what to look for.
      now_ms: time of the newest request, by which indicators are old or over; not the clock's, so
        that the same requests give the same result whenever they are read.
      options: limits.
    """
    owner, column = _matches(things, watched)
    states, weights, families = standing(watched, now_ms, options)
    for i in _held_back(owner, column, watched, len(things), options):
        # What is too common to be a sign of anything gets neither weight nor sightings.
        weights[i] = 0.0
        if states[i] != EXPIRED:
            states[i] = HELD
    return Matched(watched, len(things), owner, column, tuple(states), weights, families, options)


def standing(watched: WatchList, now_ms: int, options: WatchOptions) -> Standing:
    """How the indicators of a list stand at a time, before any limit.

    Args:
      watched: the list.
      now_ms: milliseconds UTC.
      options: trust, and how fast indicators grow old.
    """
    states, weights = [], np.zeros(len(watched))
    families: dict[str, set[str]] = {}
    for i, one in enumerate(watched.watched):
        weight = _weight(one, now_ms, options)
        if one.valid_until_ms is not None and now_ms >= one.valid_until_ms:
            states.append(EXPIRED)
        elif one.state == LIVE and weight > 0:
            states.append(LIVE)
            weights[i] = weight
            families.setdefault(one.source, set()).add(one.kind if one.compared else EQUAL)
        else:
            states.append(QUARANTINED)
    return Standing(states, weights, {name: frozenset(own) for name, own in families.items()})


def _matches(
    things: Sequence[NDArray[np.uint64]], watched: WatchList
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Account and place in the list of each match, sorted; several may look for one thing."""
    if not things or not len(watched):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    owner = np.repeat(np.arange(len(things)), [len(own) for own in things])
    every = np.concatenate(things)
    order = np.argsort(watched.items, kind="stable")
    low = np.searchsorted(watched.items[order], every, side="left")
    high = np.searchsorted(watched.items[order], every, side="right")
    count = high - low
    start = np.repeat(low - (np.cumsum(count) - count), count)
    column = order[start + np.arange(len(start))]
    owner = np.repeat(owner, count)
    pairs = np.unique(owner * len(watched) + column)
    return pairs // len(watched), pairs % len(watched)


def _weight(one: Watched, now_ms: int, options: WatchOptions) -> float:
    age_ms = max(0, now_ms - one.valid_from_ms)
    decay = 0.5 ** (age_ms / options.half_life_ms)
    return float(options.trust.get(one.source, 0.0) * one.confidence * decay)


def _held_back(
    owner: NDArray[np.intp], column: NDArray[np.intp], watched: WatchList, n: int,
    options: WatchOptions,
) -> list[int]:  # fmt: skip
    """Places of indicators that too many of n accounts carry, by themselves or by source."""
    counts = np.bincount(column, minlength=len(watched))
    held = counts > max(options.least_accounts, options.most_share * n)
    most = max(options.least_accounts, options.most_source_share * n)
    by_source: dict[str, list[int]] = {}
    for place in np.flatnonzero((counts > 0) & ~held):
        by_source.setdefault(watched.watched[place].source, []).append(int(place))
    for own in by_source.values():
        # The rarest first, as long as all of them together touch few accounts.
        touched: set[int] = set()
        full = False
        for i in sorted(own, key=lambda i: (counts[i], i)):
            carriers = owner[column == i].tolist()
            full = full or len(touched.union(carriers)) > most
            if full:
                held[i] = True
            else:
                touched.update(carriers)
    return [int(i) for i in np.flatnonzero(held)]


def hit_of(one: Watched, state: str, similarity: float = 1.0) -> Hit:
    """A match with an indicator of the list."""
    return Hit(one.indicator_id, one.kind, one.value, one.source, state, similarity)
