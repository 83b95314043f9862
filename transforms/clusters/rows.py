"""Scored clusters, and accounts that are alone, as rows of the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from transforms.alerts.policy import AlertPolicy
from transforms.clusters.capabilities import taken_capabilities
from transforms.clusters.elements import AccountProfile, Cluster
from transforms.clusters.links import Link
from transforms.clusters.names import cluster_id
from transforms.clusters.tactics import name_tactics
from transforms.coverage.layout import Items, Sum
from transforms.coverage.sketch import CoverageSketch
from transforms.embedding.labels import CapabilityTable
from transforms.scoring.explain import reason_record
from transforms.scoring.handler import Scored


class Finding(NamedTuple):
    """A cluster's row, its members' rows, and what other labs might use of it: one row or none."""

    cluster: dict[str, Any]
    members: list[dict[str, Any]]
    evidence: tuple[dict[str, Any], ...] = ()


def finding_of(
    scored: Scored[Any],
    policy: AlertPolicy,
    run_id: str,
    history: CapabilityTable,
) -> Finding:
    """Rows of a cluster, or of an account that shares nothing as a cluster of one.

    Args:
      scored: a `Cluster` or an `AccountProfile`, whether it is suspicious or not.
      policy: says how severe it is.
      run_id: for the rows.
      history: that capabilities are compared with.
    """
    found: Cluster | AccountProfile = scored.item
    pool = pool_of(found)
    members: list[tuple[Scored[AccountProfile], tuple[Link, ...]]]
    if isinstance(found, Cluster):
        name = found.cluster_id
        members = [(m.scored, m.membership.links) for m in found.members]
    else:
        name = found.alone_as or cluster_id(found.account)
        members = [(scored, ())]
    row = _row(
        scored, name, found.window_start_ms, found.window_end_ms, pool, len(members), policy,
        run_id, history,
    )  # fmt: skip
    revision = row["revision"]
    row["links"] = shared_links([links for _, links in members])
    return Finding(row, [_member(own, name, revision, links, run_id) for own, links in members])


def shared_links(members: Sequence[Sequence[Link]]) -> list[dict[str, Any]]:
    """What members share, by kind, what most of them share first.

    Args:
      members: the strongest links of each.
    """
    things: dict[str, set[str]] = {}
    accounts: dict[str, int] = {}
    for links in members:
        for kind in {link.kind for link in links}:
            accounts[kind] = accounts.get(kind, 0) + 1
        for link in links:
            things.setdefault(link.kind, set()).add(link.thing)
    order = sorted(accounts, key=lambda kind: (-accounts[kind], kind))
    return [{"kind": k, "shared": len(things[k]), "accounts": accounts[k]} for k in order]


def pool_of(found: Cluster | AccountProfile) -> CoverageSketch:
    """The sketch of all its requests."""
    return found.row.pool if isinstance(found, Cluster) else found.sketch


def _row(
    scored: Scored[Any],
    name: str,
    window_start_ms: int,
    window_end_ms: int,
    pool: CoverageSketch,
    accounts: int,
    policy: AlertPolicy,
    run_id: str,
    history: CapabilityTable,
) -> dict[str, Any]:
    found: Cluster | AccountProfile = scored.item
    capabilities = taken_capabilities(pool, history)
    exposure = int(pool.sums[Sum.COST_MICROUSD]) / 1e6
    known = policy.known.look(pool, policy.severity(scored.p_value, exposure, accounts))
    z = dict(zip(scored.columns, (float(v) for v in scored.z), strict=True))
    return {
        "cluster_id": name,
        "revision": found.revision,
        "window_start": window_start_ms,
        "window_end": window_end_ms,
        "status": "open",
        "severity": known.severity,
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
        "tactics": [*name_tactics(z, pool, accounts, capabilities), *known.tactics],
        "bundle_version": scored.bundle_version,
        "run_id": run_id,
        "capabilities": [one.record() for one in capabilities],
        "known_texts": known.texts,
        "severity_reason": known.severity_reason or None,
        **_reports(found),
    }


def _reports(found: Cluster | AccountProfile) -> dict[str, Any]:
    """What other labs changed."""
    if not isinstance(found, Cluster) or found.p_value_alone is None:
        return {"p_value_alone": None, "reported_by": []}
    return {
        "p_value_alone": found.p_value_alone,
        "reported_by": list(found.reported.sources),
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
