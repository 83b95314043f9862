"""What other labs report of accounts and clusters, put beside what we see of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.stats import norm

from transforms.clusters.links import Linkable
from transforms.clusters.membership import Membership
from transforms.clusters.signatures import content_of
from transforms.scoring.handler import Scored
from transforms.scoring.reason import Reason
from transforms.sharing.watch.evidence import (
    Reported,
    best_by_source,
    combine_sources,
    combine_with_reported,
)
from transforms.sharing.watch.likeness import Likeness, said_of_likeness
from transforms.sharing.watch.listing import WatchList, WatchListFile
from transforms.sharing.watch.matching import (
    EXPIRED,
    WatchOptions,
    hit_of,
    match_accounts,
    standing,
)

REPORTED = "reported"  # name of the reason
_LEAST_P = 1e-12


@dataclass(frozen=True, slots=True)
class Watching:
    """Attributes:
    path: of the watch list; None for none.
    refresh_ms: how often workers look whether it has changed; 0: never.
    options: trust and limits.
    """

    path: str | None = None
    refresh_ms: int = 0
    options: WatchOptions = field(default_factory=WatchOptions)

    def file(self) -> WatchListFile:
        """The list, to be followed."""
        return WatchListFile(self.path, self.refresh_ms)


NOT_WATCHING = Watching()


def with_hits(
    memberships: Sequence[tuple[str, Membership]],
    accounts: Sequence[Linkable],
    watched: WatchList,
    options: WatchOptions,
) -> list[tuple[str, Membership]]:
    """Memberships with the indicators that each account carries, and what these say of its cluster.

    Args:
      memberships: of all accounts of a window.
      accounts: the same ones.
      watched: what other labs reported.
      options: trust and limits.
    """
    if not len(watched) or not accounts:
        return list(memberships)
    now_ms = max(account.last_ms for account in accounts)
    matched = match_accounts([account.things for account in accounts], watched, now_ms, options)
    place = {account.account: i for i, account in enumerate(accounts)}
    groups: dict[str, list[int]] = {}
    for account, membership in memberships:
        groups.setdefault(membership.cluster_id, []).append(place[account])
    several = {name: np.array(own, np.intp) for name, own in groups.items() if len(own) > 1}
    reported = dict(zip(several, matched.reports(list(several.values())), strict=True))
    return [
        (
            account,
            membership._replace(
                hits=matched.hits(place[account]),
                reported=reported.get(membership.cluster_id, membership.reported),
            ),
        )
        for account, membership in memberships
    ]


def with_likeness(
    scored: Scored[Any], watched: WatchList, options: WatchOptions, likeness: Likeness
) -> Scored[Any]:
    """A scored cluster with what it is like of what other labs reported, and what that says of it.

    Args:
      scored: the cluster.
      watched: what other labs reported.
      options: trust, and how old indicators may be.
      likeness: what our own benign groups are like.
    """
    if not watched.compares:
        return scored
    cluster = scored.item
    contents = [content_of(member.scored.item.sketch) for member in cluster.members]
    found = likeness.of_cluster(watched, contents, scored.columns, scored.z, scored.score)
    if not found:
        return scored
    now_ms = max(member.scored.item.sketch.last_ms for member in cluster.members)
    now = standing(watched, now_ms, options)
    hits = tuple(
        hit_of(watched.watched[i], now.states[i], 1 - p_value)
        for i, p_value in found.items()
        if now.states[i] != EXPIRED
    )
    before: Reported = cluster.reported
    said = best_by_source([*before.said, *said_of_likeness(found, watched, now)])
    reported = combine_sources(said, len(now.families), options.weight, options.most_weight)
    # A likeness is one of all members.
    members, elsewhere = before.members or 1.0, before.elsewhere
    if not before.members:
        elsewhere = min(found.values())
    reported = reported._replace(members=members, elsewhere=elsewhere)
    return replace(scored, item=replace(cluster, alike=hits, reported=reported))


def with_reports(scored: Scored[Any], most_gain: float) -> Scored[Any]:
    """A scored cluster with the p-value that it has with what other labs report, and the reason.

    Accounts that are alone never come here: nobody is flagged for an indicator alone.
    """
    reported: Reported = scored.item.reported
    p_value = combine_with_reported(scored.p_value, reported.p_value, reported.weight, most_gain)
    if p_value >= scored.p_value:
        return scored
    reason = Reason(
        REPORTED, reported.members, 0.0, reported.elsewhere,
        float(norm.isf(max(reported.p_value, _LEAST_P))),
        math.log10(scored.p_value / p_value),
    )  # fmt: skip
    return replace(
        scored,
        item=replace(scored.item, p_value_alone=scored.p_value),
        p_value=p_value,
        reasons=(reason, *scored.reasons),
    )
