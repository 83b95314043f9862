"""Finds watched things among the accounts of a window, within limits that bound any harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transforms.sharing.watch.evidence import (
    FromSource,
    Reported,
    combine_sources,
    match_p_value,
)
from transforms.sharing.watch.listing import LIVE, Watched, WatchList

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


class Hit(NamedTuple):
    """An indicator that an account carries, and whether it counts: live, quarantined, or held."""

    indicator_id: str
    kind: str
    value: str
    source: str
    state: str


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """Result of `match_accounts` for n accounts.

    Attributes:
      watched: the list that was looked for.
      carried: bool of shape (n, w), which account carries which of the w indicators that any does.
      columns: intp of shape (w,), their places in the list.
      states: of these, live, quarantined, held or expired.
      weights: float64 of shape (w,), trust · confidence · decay; 0 of what is not live.
      live_sources: sources that have a live indicator, carried or not.
      options: limits.
    """

    watched: WatchList
    carried: Bool
    columns: NDArray[np.intp]
    states: tuple[str, ...]
    weights: NDArray[np.float64]
    live_sources: int
    options: WatchOptions

    def hits(self, account: int) -> tuple[Hit, ...]:
        """What an account carries, expired and held indicators left out."""
        found = []
        for at in np.flatnonzero(self.carried[account]):
            if self.states[at] not in (HELD, EXPIRED):
                found.append(_hit(self.watched.watched[self.columns[at]], self.states[at]))
        return tuple(found)

    def reports(self, groups: Sequence[NDArray[np.intp]]) -> list[Reported]:
        """What the sources say of each of some groups of accounts, given by their places."""
        counting = self._counting()
        carries = {name: _any(self.carried[:, own]) for name, own in counting.items()}
        unions: dict[tuple[str, ...], Bool] = {}
        out = []
        for group in groups:
            found = [
                one for name in sorted(counting)
                if (one := self._of_source(name, counting[name], carries[name], group))
            ]  # fmt: skip
            together = combine_sources(
                found, self.live_sources, self.options.weight, self.options.most_weight
            )
            if together.sources:
                names = together.sources
                if names not in unions:
                    unions[names] = _any(np.stack([carries[name] for name in names], axis=1))
                inside = int(unions[names][group].sum())
                outside, others = int(unions[names].sum()) - inside, len(self.carried) - len(group)
                together = together._replace(
                    members=inside / len(group), elsewhere=(1 + outside) / (1 + others)
                )
            out.append(together)
        return out

    def _of_source(
        self, name: str, own: list[int], carries: Bool, group: NDArray[np.intp]
    ) -> FromSource | None:
        carriers = int(carries[group].sum())
        if carriers < self.options.least_members:
            return None
        elsewhere, others = int(carries.sum()) - carriers, len(carries) - len(group)
        matched = _any(self.carried[group][:, own].T)
        return FromSource(
            name,
            match_p_value(carriers, len(group), elsewhere, others),
            float(self.weights[own][matched].max()),
        )

    def _counting(self) -> dict[str, list[int]]:
        """Columns that have weight, by source."""
        found: dict[str, list[int]] = {}
        for at in np.flatnonzero(self.weights):
            source = self.watched.watched[self.columns[at]].source
            found.setdefault(source, []).append(int(at))
        return found

    def held(self) -> tuple[Watched, ...]:
        """Indicators that are too common here to mean anything."""
        at = [i for i, state in enumerate(self.states) if state == HELD]
        return tuple(self.watched.watched[self.columns[i]] for i in at)


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
    n = len(things)
    owner = np.repeat(np.arange(n), [len(own) for own in things])
    every = np.concatenate(things) if n else np.empty(0, np.uint64)
    known = np.isin(every, watched.items)
    owner, every = owner[known], every[known]
    columns = np.flatnonzero(np.isin(watched.items, every))
    carried = np.zeros((n, len(columns)), bool)
    for at, column in enumerate(columns):
        carried[owner[every == watched.items[column]], at] = True
    base = [_weight(one, now_ms, options) for one in watched.watched]
    live = [one.state == LIVE and base[i] > 0 for i, one in enumerate(watched.watched)]
    sources = {one.source for i, one in enumerate(watched.watched) if live[i]}
    states, weights = [], np.zeros(len(columns))
    for at, column in enumerate(columns):
        one = watched.watched[column]
        over = one.valid_until_ms is not None and now_ms >= one.valid_until_ms
        states.append(EXPIRED if over else LIVE if live[column] else "quarantined")
        weights[at] = base[column] if live[column] and not over else 0.0
    return _held_back(
        Matched(watched, carried, columns, tuple(states), weights, len(sources), options)
    )


def _any(rows: Bool) -> Bool:
    """Which rows hold anything."""
    found: Bool = np.any(rows, axis=1)
    return found


def _weight(one: Watched, now_ms: int, options: WatchOptions) -> float:
    if one.valid_until_ms is not None and now_ms >= one.valid_until_ms:
        return 0.0
    age_ms = max(0, now_ms - one.valid_from_ms)
    decay = 0.5 ** (age_ms / options.half_life_ms)
    return float(options.trust.get(one.source, 0.0) * one.confidence * decay)


def _held_back(matched: Matched) -> Matched:
    """Takes weight and sightings from what is too common to be a sign of anything."""
    options, n = matched.options, len(matched.carried)
    if not matched.carried.size:
        return matched
    counts = matched.carried.sum(axis=0)
    states, weights = list(matched.states), matched.weights.copy()
    held = counts > max(options.least_accounts, options.most_share * n)
    most = max(options.least_accounts, options.most_source_share * n)
    sources = [matched.watched.watched[i].source for i in matched.columns]
    for name in sorted(set(sources)):
        own = [i for i, source in enumerate(sources) if source == name and not held[i]]
        own.sort(key=lambda i: (counts[i], -i))
        while own and _any(matched.carried[:, own]).sum() > most:
            held[own.pop()] = True
    for at in np.flatnonzero(held):
        if states[at] != EXPIRED:
            states[at] = HELD
        weights[at] = 0.0
    return Matched(
        matched.watched, matched.carried, matched.columns, tuple(states), weights,
        matched.live_sources, options,
    )  # fmt: skip


def _hit(one: Watched, state: str) -> Hit:
    return Hit(one.indicator_id, one.kind, one.value, one.source, state)
