"""Accounts of input that ends which share nothing with another, thousands of them in columns.

They are nearly all accounts there are, and nearly all come to nothing: what is made of each is a
row. Who is looked at one by one after all is taken out of the columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transforms.clusters.elements import AccountProfile, version_alone
from transforms.clusters.membership import Absorbed
from transforms.coverage.layout import Sum
from transforms.coverage.stack import SketchStack
from transforms.pickling import pickled_by_fields
from transforms.scoring.handler import Scored, ScoredRows
from transforms.sharing.watch.matching import Hit


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class Singles:
    """n scored accounts over one window, at least one, each in no cluster; see `AccountProfile`.

    Attributes:
      start_ms, end_ms: of the window.
      names: of the accounts.
      stack: what each did.
      scored: of each.
      linked: version of the report of linking that says that they are alone.
      alone_as: name of each as a cluster of one.
      absorbed, hits, revision_offset: of those that have any, by their place among the n.
    """

    start_ms: int
    end_ms: int
    names: list[str]
    stack: SketchStack
    scored: ScoredRows
    linked: int
    alone_as: list[str]
    absorbed: Mapping[int, tuple[Absorbed, ...]]
    hits: Mapping[int, tuple[Hit, ...]]
    revision_offset: Mapping[int, int]

    def each(self) -> list[Scored[AccountProfile]]:
        """The accounts, one by one."""
        return self.at(np.arange(len(self.names)))

    def up_to(self, max_p: float) -> list[Scored[AccountProfile]]:
        """Those with p-values up to `max_p`, one by one."""
        return self.at(np.flatnonzero(self.scored.scores.p_value <= max_p))

    def who_absorbed(self) -> list[Scored[AccountProfile]]:
        """Those that are left of clusters which fell apart, one by one."""
        return self.at(sorted(self.absorbed))

    def who_hit(self) -> list[Scored[AccountProfile]]:
        """Those that carry received indicators, one by one."""
        return self.at(sorted(self.hits))

    def at(self, places: Sequence[int] | NDArray[np.intp]) -> list[Scored[AccountProfile]]:
        """Those at some places, in that order, one by one."""
        index = np.asarray(places, np.intp)
        if not len(index):
            return []
        sketches = self.stack.take(index).sketches()
        return self.scored.take(index).each(
            AccountProfile(
                self.names[i], self.start_ms, self.end_ms, sketch, alone_as=self.alone_as[i],
                absorbed=self.absorbed.get(i, ()), hits=self.hits.get(i, ()), linked=self.linked,
                revision_offset=self.revision_offset.get(i, 0),
            )
            for i, sketch in zip(index.tolist(), sketches, strict=True)
        )  # fmt: skip


def versions_of(singles: Singles) -> int:
    """`version_of` each, added up; which is more than an int64 can hold."""
    events = int(singles.stack.sums[:, Sum.EVENTS].sum())
    return version_alone(len(singles.names) * singles.linked, events)
