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
from transforms.scoring.handler import Scored
from transforms.scoring.model import Reason
from transforms.sharing.watch.evidence import Reported, combine_with_reported
from transforms.sharing.watch.listing import WatchList, WatchListFile
from transforms.sharing.watch.matching import WatchOptions, match_accounts

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
