"""Accounts that staff took out of a cluster: linking does not put them with its rest any more.

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


class TakenOut(NamedTuple):
    """One decision.

    Attributes:
      accounts: that do not belong with the rest.
      rest: the other accounts of the cluster then.
      holds: whether it was not taken back.
    """

    accounts: frozenset[str]
    rest: frozenset[str]
    holds: bool = True

    def parts(self, account: str, others: Iterable[str]) -> bool:
        """Whether an account must not be with one of others."""
        if not self.holds:
            return False
        if account in self.accounts:
            return not self.rest.isdisjoint(others)
        return account in self.rest and not self.accounts.isdisjoint(others)


def take_out(names: Sequence[str], label: Int, graph: Graph, decisions: Sequence[TakenOut]) -> Int:
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
    side = np.zeros((len(names), len(decisions)), np.bool_)
    for d, decision in enumerate(decisions):
        if not decision.holds:
            continue
        out = np.array([place[a] for a in decision.accounts if a in place], np.intp)
        kept = np.array([place[a] for a in decision.rest if a in place], np.intp)
        cut = np.intersect1d(label[out], label[kept])
        side[out[np.isin(label[out], cut)], d] = True
    loose = np.isin(label, label[side.any(axis=1)])
    if not loose.any():
        return label
    _, parts = np.unique(np.column_stack([label, side]), axis=0, return_inverse=True)
    held = connected_within(parts.reshape(-1).astype(np.int64), graph)
    return np.where(loose, held + label.max() + 1, label)


def beside(group: Iterable[str], events: Mapping[str, int], decisions: Sequence[TakenOut]) -> int:
    """What the revision of a cluster counts beside its own requests.

    Args:
      group: accounts of the cluster.
      events: requests of each account of the window.
      decisions: in any order.
    """
    held = frozenset(group)
    about = [d for d in decisions if not held.isdisjoint(d.accounts | d.rest)]
    # Once it is smaller, others may not fit it any more either; so all whom it had count on.
    gone = frozenset().union(*(d.accounts | d.rest for d in about)) - held
    said = sum(1 if d.holds else 2 for d in about)
    return said + sum(events.get(account, 0) for account in gone)
