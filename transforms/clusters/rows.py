"""Flagged clusters and their members as rows of the tables."""

from __future__ import annotations

from typing import Any, NamedTuple

from transforms.alerts.policy import AlertPolicy
from transforms.clusters.links import Link
from transforms.clusters.names import cluster_id
from transforms.clusters.tactics import name_tactics
from transforms.clusters.transforms import AccountProfile, Cluster
from transforms.coverage.layout import Items, Sum
from transforms.coverage.sketch import CoverageSketch
from transforms.scoring.explain import reason_record
from transforms.scoring.handler import Scored


class Finding(NamedTuple):
    """A flagged cluster: its row and its members' rows."""

    cluster: dict[str, Any]
    members: list[dict[str, Any]]


def cluster_finding(scored: Scored[Cluster], policy: AlertPolicy, run_id: str) -> Finding | None:
    """Rows of a cluster, None when the policy does not flag it."""
    found = scored.item
    if not policy.flags(scored.p_value):
        return None
    row = _row(
        scored, found.cluster_id, found.window_start_ms, found.window_end_ms, found.row.pool,
        len(found.members), policy, run_id,
    )  # fmt: skip
    members = [
        _member(m.scored, found.cluster_id, row["revision"], m.membership.links, run_id)
        for m in found.members
    ]
    return Finding(row, members)


def single_finding(
    scored: Scored[AccountProfile], policy: AlertPolicy, run_id: str
) -> Finding | None:
    """Rows of an account that shares nothing, as a cluster of one; None when it is not flagged."""
    if not policy.flags(scored.p_value):
        return None
    profile = scored.item
    name = profile.alone_as or cluster_id(profile.account)
    row = _row(
        scored, name, profile.window_start_ms, profile.window_end_ms, profile.sketch, 1, policy,
        run_id,
    )  # fmt: skip
    return Finding(row, [_member(scored, name, row["revision"], (), run_id)])


def _row(
    scored: Scored[Any],
    name: str,
    window_start_ms: int,
    window_end_ms: int,
    pool: CoverageSketch,
    accounts: int,
    policy: AlertPolicy,
    run_id: str,
) -> dict[str, Any]:
    exposure = int(pool.sums[Sum.COST_MICROUSD]) / 1e6
    z = dict(zip(scored.columns, (float(v) for v in scored.z), strict=True))
    return {
        "cluster_id": name,
        "revision": pool.events,
        "window_start": window_start_ms,
        "window_end": window_end_ms,
        "status": "open",
        "severity": policy.severity(scored.p_value, exposure, accounts),
        "score": scored.score,
        "p_value": scored.p_value,
        "first_seen": pool.first_ms,
        "last_seen": pool.last_ms,
        "first_alert": pool.last_ms,
        "account_count": accounts,
        "payment_count": round(pool.distinct(Items.PAYMENT)),
        "request_count": pool.events,
        "input_tokens": int(pool.sums[Sum.INPUT_TOKENS]),
        "output_tokens": int(pool.sums[Sum.OUTPUT_TOKENS]),
        "exposure_usd": exposure,
        "exposure_method": "sum of cost_usd of all requests of all members",
        "reasons": [reason_record(reason) for reason in scored.reasons],
        "tactics": name_tactics(z, pool, accounts),
        "bundle_version": scored.bundle_version,
        "run_id": run_id,
    }


def _member(
    scored: Scored[AccountProfile],
    name: str,
    revision: int,
    links: tuple[Link, ...],
    run_id: str,
) -> dict[str, Any]:
    profile = scored.item
    return {
        "cluster_id": name,
        "revision": revision,
        "account_id": profile.account,
        "since": profile.sketch.first_ms,
        "request_count": profile.sketch.events,
        "score": scored.score,
        "p_value": scored.p_value,
        "links": [link._asdict() for link in links],
        "window_start": profile.window_start_ms,
        "bundle_version": scored.bundle_version,
        "run_id": run_id,
    }
