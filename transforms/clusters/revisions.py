"""Which of a cluster's rows counts: the one with the largest revision.

A revision is the number of the cluster's requests, so that it is the same whoever counts, in
whatever order. But in a stream a cluster may become smaller: what its accounts share may be rare no
more when others have it, too. What is said of it then would have an older revision than what was
said of the larger one, which nobody would ever take back. So it counts on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import NamedTuple


class Told(NamedTuple):
    """What was said of the clusters of a window.

    Attributes:
      newest: revision by name, of all names that are or were a cluster.
      lifts: what is added to the requests of those that have become smaller, by name.
    """

    newest: Mapping[str, int] = {}
    lifts: Mapping[str, int] = {}


class Count:
    """Counts the revisions of a report.

    Args:
      before: what was said until now.
      others: names whose accounts may be others than they were; None: this report is older than
        what was said, and changes nothing about that.
    """

    def __init__(self, before: Told, others: Set[str] | None) -> None:
        self._newest, self._lifts = dict(before.newest), dict(before.lifts)
        self._others = others
        self._now: dict[str, int] = {}

    def revision(self, name: str, number: int, size: int) -> int:
        """The revision of a name that has so many requests and accounts."""
        found = number + self._lifts.get(name, 0)
        newest = self._newest.get(name, 0)
        if self._others is not None and (
            found < newest or (found == newest and name in self._others)
        ):
            self._lifts[name] = self._lifts.get(name, 0) + newest + 1 - found
            found = newest + 1
        if size > 1 or name in self._newest:
            self._newest[name] = max(newest, found)
        self._now[name] = found
        return found

    def gone(self, name: str, revision: int, into: str) -> None:
        """Notes with which revision a name is said to be gone into another, see
        `Judge.taken_back`; after all that are not."""
        if self._others is not None:
            said = max(revision, self._now.get(into, 0))
            self._newest[name] = max(self._newest.get(name, 0), said)

    def told(self) -> Told:
        """What was said with this report."""
        return Told(self._newest, self._lifts)
