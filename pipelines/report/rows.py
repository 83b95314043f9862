"""From rows of the tables, wherever they are kept, to what is told of a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.labels import Label
from pipelines.report.evidence import CoveredCell, SharedThing
from pipelines.report.story import (
    LINKS,
    AskedCapability,
    Cluster,
    KnownTexts,
    Member,
    Reason,
    Session,
    Truth,
)
from transforms.scoring.explain import words_of

Row = Mapping[str, Any]


def cluster_of(
    row: Row,
    members: Sequence[Row],
    sessions: Mapping[str, Sequence[Session]],
    truth: Mapping[str, Label] | None = None,
) -> Cluster:
    """A flagged cluster.

    Args:
      row: of `flagged_clusters`, times in milliseconds UTC; `alerted` is when it was first known,
        `first_alert` without.
      members: its rows of `cluster_members`, in the order in which they are shown.
      sessions: by account, in order of time.
      truth: labels by account, where there are some.
    """
    truth = truth or {}
    return Cluster(
        row["cluster_id"],
        row["revision"],
        row["status"] or "open",
        row["severity"] or "low",
        _float(row["score"]),
        _float(row["p_value"], 1.0),
        row["first_seen"] or 0,
        row["last_seen"] or 0,
        row.get("alerted") or row["first_alert"] or 0,
        row["account_count"] or len(members),
        row["payment_count"] or 0,
        row["request_count"] or 0,
        row["input_tokens"] or 0,
        row["output_tokens"] or 0,
        row["exposure_usd"],
        row["exposure_method"] or "",
        tuple(row["tactics"] or ()),
        tuple(
            Reason(r["feature"], words_of(r), _float(r["z"]), _float(r["contribution"]))
            for r in row["reasons"] or ()
        ),
        tuple(
            _member(m, sessions.get(m["account_id"], ()), truth.get(m["account_id"]))
            for m in members
        ),
        row["bundle_version"] or "",
        tuple(
            AskedCapability(
                c["name"],
                c["requests"] or 0,
                _float(c["share"]),
                c["lift"],
                c["covered"],
                c["expected"],
                c["taken"],
            )
            for c in row["capabilities"] or ()
        ),
        tuple(
            KnownTexts(k["name"], k["kind"], k["requests"], k["share"])
            for k in row["known_texts"] or ()
        ),
        row["severity_reason"] or "",
        tuple(
            CoveredCell(c["x"], c["y"], c["requests"] or 0, c["expected"])
            for c in row["coverage"] or ()
        ),
        row["merged_into"] or "",
        row.get("q_value"),
    )


def _member(row: Row, sessions: Sequence[Session], label: Label | None) -> Member:
    shared = tuple(
        SharedThing(li["kind"], li["thing"] or "", li["accounts"] or 0, _float(li["weight"]))
        for li in row["links"] or ()
    )
    return Member(
        row["account_id"],
        row["since"] or 0,
        row["p_value"],
        row["request_count"] or sum(s.requests for s in sessions),
        _in_words(shared),
        tuple(sessions),
        None
        if label is None
        else Truth("attack" if label.attack else "benign", label.kind, label.campaign),
        row["score"],
        shared,
    )


def _in_words(shared: Sequence[SharedThing]) -> tuple[str, ...]:
    """Each kind once."""
    kinds: dict[str, list[int]] = {}
    for thing in shared:
        kinds.setdefault(thing.kind, []).append(thing.accounts)
    return tuple(
        f"{LINKS.get(kind, kind)} ({first:,} accounts)"
        + (f" and {len(others)} more such" if others else "")
        for kind, (first, *others) in kinds.items()
    )


def _float(value: float | None, otherwise: float = 0.0) -> float:
    return otherwise if value is None else float(value)
