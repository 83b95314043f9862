"""What p-values promise of benign accounts, against what was observed; no tables, no printing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

Float = NDArray[np.float64]

CLASS, PEER_GROUP, EVERYONE = "class", "peer group", "everyone"
OWN, FLAGGED = "own p-value", "flagged"
LEVELS = (0.001, 0.01)
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise to one set of benign accounts.

    Attributes:
      kind, name: of the set: a benign class, a peer group, or everyone with the name "".
      measure: OWN, the p-value of an account by itself; or FLAGGED, its being in a flagged cluster.
      promised: share, at most.
      accounts: that count.
      observed: of these, how many are at or below it.
      low, high: 95 % interval of the share that this tells of (`exact_interval`).
    """

    kind: str
    name: str
    measure: str
    promised: float
    accounts: int
    observed: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Observed; NaN of no accounts."""
        return self.observed / self.accounts if self.accounts else math.nan

    @property
    def broken(self) -> bool:
        """Whether more was observed than chance makes of what was promised."""
        return self.low > self.promised


@dataclass(frozen=True, slots=True)
class Curve:
    """Share of a set of benign accounts with an own p-value up to each of a grid.

    Attributes:
      kind, name: as of `Promise`.
      accounts: with a p-value.
      promised: the grid, ascending.
      observed: shares, as long.
    """

    kind: str
    name: str
    accounts: int
    promised: tuple[float, ...]
    observed: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Benign:
    """One benign account.

    Attributes:
      kind: its class.
      peer_group: "" where the bundle knows none.
      own_p: NaN when it was never scored.
      flagged: whether it is in a flagged cluster.
    """

    kind: str
    peer_group: str
    own_p: float
    flagged: bool


GRID = tuple(float(p) for p in np.geomspace(1e-4, 1.0, 25))


def promises(accounts: Sequence[Benign], flag_level: float) -> tuple[Promise, ...]:
    """Every promise: at 0.1 % and 1 % by itself, and at the level that was flagged up to.

    Args:
      accounts: benign ones.
      flag_level: largest p-value that was flagged; NaN when nothing was, and no promise is told of.
    """
    found = []
    for kind, name, own in _sets(accounts):
        p = _scored(own)
        found += [_promise(kind, name, OWN, level, p <= level) for level in LEVELS]
        if not math.isnan(flag_level):
            flags = np.array([a.flagged for a in own], bool)
            found.append(_promise(kind, name, FLAGGED, flag_level, flags))
    return tuple(found)


def curves(accounts: Sequence[Benign]) -> tuple[Curve, ...]:
    """Observed against promised over `GRID`, of everyone, each class and each peer group."""
    found = []
    for kind, name, own in _sets(accounts):
        p = np.sort(_scored(own))
        if len(p):
            shares = np.searchsorted(p, GRID, side="right") / len(p)
            found.append(Curve(kind, name, len(p), GRID, tuple(shares.tolist())))
    return tuple(found)


def exact_interval(observed: int, accounts: int) -> tuple[float, float]:
    """Clopper and Pearson, "The Use of Confidence or Fiducial Limits", Biometrika 1934; at 95 %.

    Accounts of one owner are flagged together, so the truth may lie outside more often than that.
    """
    if not accounts:
        return 0.0, 1.0
    tail = (1 - _CONFIDENCE) / 2
    low = betaincinv(observed, accounts - observed + 1, tail) if observed else 0.0
    high = betaincinv(observed + 1, accounts - observed, 1 - tail) if observed < accounts else 1.0
    return float(low), float(high)


def _promise(
    kind: str, name: str, measure: str, promised: float, hits: NDArray[np.bool_]
) -> Promise:
    observed = int(hits.sum())
    return Promise(
        kind, name, measure, promised, len(hits), observed, *exact_interval(observed, len(hits))
    )


def _scored(accounts: Iterable[Benign]) -> Float:
    return np.array([a.own_p for a in accounts if not math.isnan(a.own_p)], np.float64)


def _sets(accounts: Sequence[Benign]) -> list[tuple[str, str, list[Benign]]]:
    found = [(EVERYONE, "", list(accounts))] if accounts else []
    by: tuple[tuple[str, Callable[[Benign], str]], ...] = (
        (CLASS, lambda a: a.kind),
        (PEER_GROUP, lambda a: a.peer_group),
    )
    for kind, of in by:
        groups: dict[str, list[Benign]] = {}
        for account in accounts:
            groups.setdefault(of(account), []).append(account)
        found += [(kind, name, groups[name]) for name in sorted(groups)]
    return found
