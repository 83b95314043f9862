"""Why something was flagged, as numbers; `explain` puts it in words."""

from __future__ import annotations

from dataclasses import dataclass

from transforms.pickling import pickled_by_fields


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class Reason:
    """Why a key scored as it did, one feature.

    Attributes:
      feature: column name.
      value: the key's own value.
      low, high: the middle two thirds of what peers have at this volume.
      z: robust standard deviations from the peers' median.
      contribution: by how much the score falls when this feature alone is made normal.
    """

    feature: str
    value: float
    low: float
    high: float
    z: float
    contribution: float
