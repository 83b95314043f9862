"""The features of a group of accounts by name, with words for people; `features` computes them."""

from __future__ import annotations

from dataclasses import dataclass

from transforms.coverage.features import COLUMNS, Suspicious


@dataclass(frozen=True, slots=True)
class ClusterFeature:
    """Name, code, suspicious side and words of one cluster feature; see `coverage.features`."""

    name: str
    code: str
    suspicious: Suspicious
    words: str
    scale: str = "plain"


_OF_MEMBERS = (  # say nothing of accounts taken together
    "account_age", "networks", "clients", "blocked_share", "busy_hours", "surge", "days_to_peak",
    "past_change",
)  # fmt: skip
POOLED = tuple(name for name in (feature.name for feature in COLUMNS) if name not in _OF_MEMBERS)
_HIGH, _LOW, _BOTH = Suspicious.HIGH, Suspicious.LOW, Suspicious.BOTH

CLUSTER_FEATURES: tuple[ClusterFeature, ...] = (
    ClusterFeature(
        "complementarity",
        "F13",
        _HIGH,
        "topics of all accounts together, as times those of one",
        "exp",
    ),
    ClusterFeature(
        "overlap", "F14", _BOTH, "how much the accounts ask about the same topics", "degree"
    ),
    ClusterFeature(
        "member_likeness",
        "F15",
        _HIGH,
        "how alike the prompts of different accounts are",
        "degree",
    ),
    ClusterFeature(
        "member_surprise", "", _HIGH, "how unusual each account is already by itself", "degree"
    ),
    ClusterFeature(
        "member_breadth", "F1", _HIGH, "how many different topics each account asks about", "degree"
    ),
    ClusterFeature(
        "member_novelty",
        "F5",
        _HIGH,
        "how unlike all earlier traffic each account's prompts are",
        "degree",
    ),
    ClusterFeature(
        "behaviour_spread", "", _LOW, "how much the accounts differ in how they work", "degree"
    ),
    ClusterFeature(
        "volume_spread", "", _LOW, "how much the accounts differ in how much they ask", "degree"
    ),
    ClusterFeature(
        "synchrony", "F21", _HIGH, "how far the accounts work in the same hours", "degree"
    ),
    ClusterFeature(
        "linkage", "F25", _BOTH, "how strongly the accounts are tied to one another", "degree"
    ),
    ClusterFeature(
        "marginal_gain",
        "F7",
        _HIGH,
        "topics of an account that none of the others had taken before",
        "share",
    ),
    ClusterFeature(
        "union_coverage", "F16", _HIGH, "different topics of all its accounts together", "count"
    ),
    ClusterFeature(
        "scaffold_members", "F11", _HIGH, "accounts that use one and the same wording", "share"
    ),
    *(
        ClusterFeature(
            "pooled_" + f.name, f.code, f.suspicious, f.words + ", all accounts together", f.scale
        )
        for f in COLUMNS
        if f.name in POOLED
    ),
)
