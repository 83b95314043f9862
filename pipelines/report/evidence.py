"""What a picture of a cluster is drawn from: cells that it covered, things that members share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CoveredCell:
    """A cell of the codebook on the map of coverage.

    Attributes:
      x, y: of its tile, from 0.
      requests: of the cluster.
      expected: of as many requests of the history; None where that is not known.
    """

    x: int
    y: int
    requests: int
    expected: float | None


@dataclass(frozen=True, slots=True)
class SharedThing:
    """What an account shares with other members.

    Attributes:
      kind: payment, network, client …
      thing: its hash; accounts with the same share it.
      accounts: that share it.
      weight: strength of the link, 0 to 1.
    """

    kind: str
    thing: str
    accounts: int
    weight: float
