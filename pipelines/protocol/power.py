"""Figures of the window protocol, and their averages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

BENIGN = "benign"


@dataclass(frozen=True, slots=True)
class WindowRow:
    """One figure: the share of windows flagged.

    Attributes:
      part, source, attack: corpora; attack is `BENIGN` for windows without attack prompts.
      size, mixture, seed, method, level: of the windows and of the rule.
      flagged: share of the windows flagged.
      windows: how many there were.
    """

    part: str
    source: str
    attack: str
    size: int
    mixture: float
    seed: int
    method: str
    level: float
    flagged: float
    windows: int


@dataclass(frozen=True, slots=True)
class Power:
    """Flagged shares of one method, size and level, each corpus pair and seed counted the same.

    Attributes:
      method, size, level: which.
      benign: mean share of benign windows flagged; NaN without any.
      detected: mean share flagged by mixture.
      windows: benign windows.
      pairs: pairs of corpora.
    """

    method: str
    size: int
    level: float
    benign: float
    detected: dict[float, float] = field(default_factory=dict)
    windows: int = 0
    pairs: int = 0


def powers(rows: Sequence[WindowRow]) -> list[Power]:
    """Averages over pairs and seeds, in the order of methods as they come."""
    groups: dict[tuple[int, str, float], list[WindowRow]] = {}
    for row in rows:
        groups.setdefault((row.size, row.method, row.level), []).append(row)
    out = []
    for (size, method, level), own in groups.items():
        benign = [r for r in own if r.attack == BENIGN]
        mixtures = sorted({r.mixture for r in own if r.attack != BENIGN})
        out.append(
            Power(
                method,
                size,
                level,
                float(np.mean([r.flagged for r in benign])) if benign else float("nan"),
                {
                    m: float(
                        np.mean([r.flagged for r in own if r.attack != BENIGN and r.mixture == m])
                    )
                    for m in mixtures
                },
                sum(r.windows for r in benign),
                len({(r.source, r.attack) for r in own if r.attack != BENIGN}),
            )
        )
    return out
