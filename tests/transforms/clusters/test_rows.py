"""Rows of clusters."""

from __future__ import annotations

from transforms.clusters.links import Link
from transforms.clusters.rows import shared_links


def test_what_members_share_is_counted_by_kind() -> None:
    card, other, net = (
        Link("payment", "p1", 3, 0.9), Link("payment", "p2", 2, 0.8), Link("network", "n1", 2, 0.5),
    )  # fmt: skip
    assert shared_links([[card, net], [card, other], [other, card], []]) == [
        {"kind": "payment", "shared": 2, "accounts": 3},
        {"kind": "network", "shared": 1, "accounts": 1},
    ]
    assert shared_links([[]]) == []
