"""A new bundle on recent items, beside the present one: it may not alert much more, nor much less.

The shares of items with a p-value up to a threshold are compared, at each level, at the run's own
threshold for alerts and at a wider one, where few items say more. What alerts on most items is
refused even where the present bundle does so, too. Pure: no files, no Beam.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transforms.scoring.bundle import Bundle
from transforms.scoring.handler import RowsOf, score_items


@dataclass(frozen=True, slots=True)
class TrialBounds:
    """What a new bundle may do on the items of a trial.

    Attributes:
      max_factor: its share of suspicious items against the present bundle's, either way.
      slack: share by which it may differ in any case.
      alert_p: p-value up to which the run alerts.
      trial_p: another, wider one up to which an item is suspicious.
      min_items: of a level; with fewer the level says nothing.
      max_alert_rate: share of items up to `alert_p`, whatever the present bundle's is.
    """

    max_factor: float
    slack: float
    alert_p: float
    trial_p: float
    min_items: int
    max_alert_rate: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One level at one threshold.

    Attributes:
      level, threshold: of these.
      items: that were scored.
      present, new: shares of items up to the threshold.
      most: that the new share may be.
      inside: whether the new share is within bounds.
    """

    level: str
    threshold: float
    items: int
    present: float
    new: float
    most: float
    inside: bool

    def __str__(self) -> str:
        return (
            f"{self.level}, p <= {self.threshold:g}: {self.new:.1%} of {self.items} items, "
            f"before {self.present:.1%}, at most {self.most:.1%} may be"
        )


def compare(
    present: Bundle,
    new: Bundle,
    items: Mapping[str, Sequence[Any]],
    rows_of: Mapping[str, RowsOf],
    bounds: TrialBounds,
) -> list[Comparison]:
    """Scores recent items with both bundles.

    Args:
      present, new: the bundles.
      items: by level.
      rows_of: makes feature rows of items, by level.
      bounds: what is allowed.

    Returns:
      A comparison for each level with enough items and each threshold; none where no level has.
    """
    found = []
    for level, own in items.items():
        if len(own) < bounds.min_items:
            continue
        p_values = [
            np.array([s.p_value for s in score_items(own, bundle, level, rows_of[level], -1.0)])
            for bundle in (present, new)
        ]
        for threshold in sorted({bounds.alert_p, bounds.trial_p}):
            before, after = (float((p <= threshold).mean()) for p in p_values)
            high = min(1.0, bounds.max_factor * before + bounds.slack)
            if threshold == bounds.alert_p:
                high = min(high, bounds.max_alert_rate)
            low = before / bounds.max_factor - bounds.slack
            inside = low <= after <= high
            found.append(Comparison(level, threshold, len(own), before, after, high, inside))
    return found
