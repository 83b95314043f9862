"""Scores of a stream's profiles, of many accounts at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from transforms.clusters.elements import AccountProfile
from transforms.coverage.stack import SketchStack
from transforms.scoring.bundle import Bundle
from transforms.scoring.fit import PROFILE
from transforms.scoring.handler import Scored, ScoredRows, VerifiedBundle, score_rows
from transforms.scoring.rows import PeerGroups, account_rows
from transforms.sessions.shards import Named
from transforms.sessions.transforms import PANES

_KEPT = 64  # for trials of other bundles, of those that are scored together


class _Waiting(NamedTuple):
    profiles: Named
    window: Any
    at: Timestamp
    pane: str


@dataclass(eq=False)
class ScoreProfiles(beam.PTransform):  # type: ignore[misc]
    """From accounts over a window, many together, to scored ones, one by one.

    Attributes:
      bundle: to score with.
      explain_below: accounts with a p-value up to this get reasons.
    """

    bundle: VerifiedBundle
    explain_below: float

    def expand(self, profiles: beam.PCollection[Named]) -> beam.PCollection[Scored[AccountProfile]]:
        return profiles | "Score" >> beam.ParDo(_ScoreFn(self.bundle, self.explain_below))


class _ScoreFn(beam.DoFn):  # type: ignore[misc]
    """Gathers what a bundle of elements brings: the cost of a call of the detectors hardly depends
    on how many it is about."""

    _FULL = 2_000

    def __init__(self, bundle: VerifiedBundle, explain_below: float) -> None:
        self._source, self._explain_below = bundle, explain_below

    def setup(self) -> None:
        self._bundle = self._source.load()

    def start_bundle(self) -> None:
        self._waiting: list[_Waiting] = []
        self._count = 0

    def process(
        self,
        profiles: Named,
        window: Any = beam.DoFn.WindowParam,
        at: Any = beam.DoFn.TimestampParam,
        pane: Any = beam.DoFn.PaneInfoParam,
    ) -> Iterator[WindowedValue]:
        self._waiting.append(_Waiting(profiles, window, at, PANES[pane.timing]))
        self._count += len(profiles.names)
        if self._count >= self._FULL:
            yield from self.finish_bundle()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        waiting, self._waiting, self._count = self._waiting, [], 0
        if not waiting:
            return
        names, stack = Named.concat([one.profiles for one in waiting])
        which = np.repeat(np.arange(len(waiting)), [len(one.profiles.names) for one in waiting])
        items = []
        for name, sketch, i in zip(names, stack.sketches(), which.tolist(), strict=True):
            window, pane = waiting[i].window, waiting[i].pane
            start, end = window.start.micros // 1000, window.end.micros // 1000
            items.append(AccountProfile(name, start, end, sketch, pane))
        self._source.keep(PROFILE, items[-_KEPT:])
        scored = self._source.scored(self._bundle, lambda bundle: self._score(names, stack, bundle))
        for one, i in zip(scored.each(items), which.tolist(), strict=True):
            yield WindowedValue(one, waiting[i].at, (waiting[i].window,))

    def _score(self, names: list[str], stack: SketchStack, bundle: Bundle) -> ScoredRows:
        groups = PeerGroups(bundle.references).of_all(stack)
        rows = account_rows(names, stack, groups, bundle.references, bundle.past)
        return score_rows(rows, bundle, PROFILE, self._explain_below)
