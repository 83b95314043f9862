"""Reasons in words that staff understand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from transforms.clusters.feature_table import CLUSTER_FEATURES
from transforms.coverage.features import COLUMNS
from transforms.scoring.reason import Reason

_NUMBERS = ("value", "normal_low", "normal_high", "z")
_CLEARLY, _FAR = 2.5, 5.0  # robust standard deviations from the peers' median


@lru_cache(maxsize=1)
def _vocabulary() -> Mapping[str, tuple[str, str]]:
    words = {feature.name: (feature.words, feature.scale) for feature in COLUMNS}
    words.update({feature.name: (feature.words, feature.scale) for feature in CLUSTER_FEATURES})
    words["reported"] = "accounts that fit what other labs report", "share"
    return words


def words_of(row: Mapping[str, Any]) -> str:
    """Today's words for a reason as the tables hold it; the stored ones where it lacks what they
    need, or is about a feature that is not known here any more.

    Args:
      row: of `reasons` of `flagged_clusters`.
    """
    feature = str(row.get("feature") or "")
    value, low, high, z = numbers = [_number(row.get(name)) for name in _NUMBERS]
    if feature not in _vocabulary() or any(map(math.isnan, numbers)):
        return str(row.get("words") or feature)
    return phrase(Reason(feature, value, low, high, z, 0.0))


def name_of(feature: str) -> str:
    """Words for a feature, without figures; "" for one that is not known here."""
    return _vocabulary().get(feature, ("", ""))[0]


def shown(feature: str, value: float, digits: int = 0) -> str:
    """A value as people read it: a share in per cent, a logarithm undone, three digits at most.

    Args:
      feature: whose value it is.
      value: of it.
      digits: after the point, of what is counted.
    """
    scale = _vocabulary().get(feature, (feature, "plain"))[1]
    if math.isnan(value):
        return "unknown"
    if scale == "share":  # an interval about a small share may reach below nothing
        share = 100 * max(value, 0.0)
        return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"
    number = math.exp(min(value, 700.0)) if scale in ("exp", "count") else value
    if scale == "count":
        return f"{number:,.{digits}f}"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def phrase(reason: Reason) -> str:
    """One line: what, how much, and what is normal for the peer group at this volume. Where the
    number itself means nothing to people, how far it is from normal is said instead."""
    words, scale = _vocabulary().get(reason.feature, (reason.feature, "plain"))
    if scale == "degree":
        return f"{words}: {_degree(reason)}"
    digits = 0
    value, low, high = (shown(reason.feature, v) for v in (reason.value, reason.low, reason.high))
    if scale == "count" and value in (low, high):  # rounded, it would look like one of them
        digits = 1
        value, low, high = (
            shown(reason.feature, v, digits) for v in (reason.value, reason.low, reason.high)
        )
    normal = f"{low} to {high}" if low != high else f"about {low}"
    return f"{words}: {value}; normal is {normal}"


def _degree(reason: Reason) -> str:
    if reason.low <= reason.value <= reason.high:
        return "within what is normal, unusual only together with the rest"
    way = "more" if reason.value > reason.high else "less"
    size = abs(reason.z)
    how = "far" if size >= _FAR else "clearly" if size >= _CLEARLY else "a little"
    return f"{how} {way} than is normal"


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


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
