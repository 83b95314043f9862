"""Reasons in words that staff understand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from transforms.clusters.features import CLUSTER_FEATURES
from transforms.coverage.features import COLUMNS
from transforms.scoring.model import Reason


@lru_cache(maxsize=1)
def _vocabulary() -> Mapping[str, tuple[str, str]]:
    words = {feature.name: (feature.words, feature.scale) for feature in COLUMNS}
    words.update({feature.name: (feature.words, feature.scale) for feature in CLUSTER_FEATURES})
    words["reported"] = "members with what other labs report", "share"
    return words


def shown(feature: str, value: float) -> str:
    """A value as people read it: a share in per cent, a logarithm undone, three digits."""
    scale = _vocabulary().get(feature, (feature, "plain"))[1]
    if math.isnan(value):
        return "unknown"
    if scale == "share":  # an interval about a small share may reach below nothing
        return f"{100 * max(value, 0.0):.3g} %"
    number = math.exp(min(value, 700.0)) if scale == "exp" else value
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def phrase(reason: Reason) -> str:
    """One line: what, how much, and what is normal for the peer group at this volume."""
    words = _vocabulary().get(reason.feature, (reason.feature, ""))[0]
    value = shown(reason.feature, reason.value)
    low, high = shown(reason.feature, reason.low), shown(reason.feature, reason.high)
    normal = f"{low} to {high}" if low != high else f"about {low}"
    return f"{words}: {value}, where {normal} is normal"


def reason_record(reason: Reason) -> dict[str, Any]:
    """A reason as the tables hold it."""
    return {
        "feature": reason.feature,
        "value": reason.value,
        "normal_low": reason.low,
        "normal_high": reason.high,
        "z": reason.z,
        "contribution": reason.contribution,
        "words": phrase(reason),
    }
