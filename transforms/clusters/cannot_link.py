"""Accounts that staff took out of a cluster: linking does not put them with its rest any more.

Cannot-link constraints, as Wagstaff and Cardie have them ("Clustering with instance-level
constraints", ICML 2000), between each account that was taken out and each of the rest.

An account of neither side stays with the rest, as far as links hold it there. What was taken out
may be a cluster of its own, where its accounts are linked with one another.

A cluster's revision is the number of its requests, and the largest counts; so requests of accounts
that it had when somebody decided count on, and each decision adds one, also the one that takes it
back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transforms.clusters.splitting import Graph, connected_within

Int = NDArray[np.int64]


class CannotLink(NamedTuple):
    """One decision, or one that was taken back.

    Attributes:
      accounts: that do not belong with the rest.
      rest: the other accounts of the cluster then.
      holds: whether it was not taken back.
    """

    accounts: frozenset[str]
    rest: frozenset[str]
    holds: bool = True

    def separates(self, account: str, others: Iterable[str]) -> bool:
        """Whether an account must not be with one of others."""
        if not self.holds:
            return False
        if account in self.accounts:
            return not self.rest.isdisjoint(others)
        return account in self.rest and not self.accounts.isdisjoint(others)


def separate(
    names: Sequence[str], label: Int, graph: Graph, decisions: Sequence[CannotLink]
) -> Int:
    """Labels of parts in which nobody is with accounts that they were taken from.

    Args:
      names: of n accounts.
      label: int64 of shape (n,), the part that linking put each account in.
      graph: links of the accounts.
      decisions: in any order.

    Returns:
      int64 of shape (n,); accounts of a part that no decision cuts have one label, as before.
    """
    place = {name: i for i, name in enumerate(names)}
    taken: list[NDArray[np.intp]] = []
    for decision in decisions:
        out = np.array([place[a] for a in decision.accounts if a in place], np.intp)
        kept = np.array([place[a] for a in decision.rest if a in place], np.intp)
        out = out[np.isin(label[out], label[kept])]
        if decision.holds and len(out):
            taken.append(out)
    if not taken:
        return label
    loose = np.flatnonzero(np.isin(label, label[np.concatenate(taken)]))
    side = np.zeros((len(loose), len(taken)), np.int64)
    for d, out in enumerate(taken):
        side[np.searchsorted(loose, out), d] = 1
    _, parts = np.unique(np.column_stack([label[loose], side]), axis=0, return_inverse=True)
    # No other part has a label of these, so that none of its links is between two of one label.
    wanted = np.arange(len(names)) + len(loose)
    wanted[loose] = parts.reshape(-1)
    held = connected_within(wanted, graph)
    found = label.copy()
    found[loose] = held[loose] + label.max() + 1
    return found


def revision_offsets(
    groups: Mapping[str, Sequence[str]],
    events: Mapping[str, int],
    decisions: Sequence[CannotLink],
) -> dict[str, int]:
    """What the revision of each cluster counts beside its own requests, where that is anything.

    Args:
      groups: accounts of the clusters.
      events: requests of each account of the window.
      decisions: in any order.
    """
    about: dict[str, set[int]] = {}
    for d, decision in enumerate(decisions):
        for account in decision.accounts | decision.rest:
            about.setdefault(account, set()).add(d)
    found = {}
    for name, group in groups.items() if about else ():
        own = [decisions[d] for d in sorted(set().union(*(about.get(a, ()) for a in group)))]
        # Once it is smaller, others may not fit it any more either; so all whom it had count on.
        gone = frozenset().union(*(d.accounts | d.rest for d in own)) - set(group)
        if own:
            said = sum(1 if d.holds else 2 for d in own)
            found[name] = said + sum(events.get(account, 0) for account in gone)
    return found
