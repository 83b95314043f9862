"""From tables to the story of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from pipelines.labels import Label, read_labels
from pipelines.report.rows import cluster_of
from pipelines.report.story import (
    SEVERITIES,
    BenignTruth,
    CampaignTruth,
    Cluster,
    Session,
    Story,
)
from pipelines.tables import PROFILES, columns, connect, current_clusters, rows
from schemas.errors import DistilwatchError

_MOST_REASONS_REFUSED = 3


def read_story(duckdb_file: Path, labels: Path | None = None) -> Story:
    """Reads what a run found.

    Args:
      duckdb_file: tables.
      labels: the truth, when it is known.

    Raises:
      DistilwatchError: when tables or labels cannot be read.
    """
    truth = read_labels(labels) if labels is not None else {}
    with connect(duckdb_file) as connection:
        (whole,) = rows(
            connection,
            f"""SELECT count(DISTINCT key) AS accounts,
                  coalesce(sum(request_count), 0)::BIGINT AS requests,
                  coalesce(min(epoch_ms(session_start)), 0) AS first_ms,
                  coalesce(max(epoch_ms(session_end)), 0) AS last_ms,
                  coalesce(arg_max(run_id, session_end), '') AS run_id
                FROM ({PROFILES})""",
        )
        clusters = _clusters(connection, truth)
        run_id = whole["run_id"] or _only_run(connection)
        balance = _balance(connection, run_id)
        scored = {row["key"] for row in rows(connection, f"SELECT DISTINCT key FROM ({PROFILES})")}
    return Story(
        duckdb_file.name,
        clusters,
        whole["accounts"],
        whole["requests"],
        whole["first_ms"],
        whole["last_ms"],
        balance,
        run_id,
        *_truths(truth, clusters, scored),
    )


def find_cluster(story: Story, name: str) -> Cluster:
    """The cluster with an id, or with an id that begins so.

    Raises:
      DistilwatchError: when none or several do.
    """
    found = [c for c in story.clusters if c.cluster_id == name] or [
        c for c in story.clusters if c.cluster_id.startswith(name)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(c.cluster_id for c in found[:5])
        raise DistilwatchError(f"{len(found)} clusters begin with {name}", ids, "give more letters")
    ids = ", ".join(c.cluster_id for c in story.clusters[:5])
    more = " …" if len(story.clusters) > 5 else ""
    raise DistilwatchError(
        f"there is no flagged cluster {name}",
        story.source,
        f"flagged are {ids}{more}" if ids else "nothing is flagged there",
    )


def _clusters(
    connection: duckdb.DuckDBPyConnection, truth: Mapping[str, Label]
) -> tuple[Cluster, ...]:
    flagged = [
        (row, member_rows(connection, row["cluster_id"], row["window_start"], row["revision"]))
        for row in current_clusters(connection)
    ]
    # At once: each question about sessions looks through all of them.
    accounts = {member["account_id"] for _, members in flagged for member in members}
    sessions = sessions_of(connection, sorted(accounts))
    found = [cluster_of(row, members, sessions, truth) for row, members in flagged]
    grave = {name: i for i, name in enumerate(SEVERITIES)}
    found.sort(
        key=lambda c: (grave.get(c.severity, len(grave)), c.p_value, -c.requests, c.cluster_id)
    )
    return tuple(found)


def member_rows(
    connection: duckdb.DuckDBPyConnection, cluster_id: str, window_start_ms: int, revision: int
) -> list[dict[str, Any]]:
    """Rows of a cluster's members, the most active first; of an older version without a window."""
    return rows(
        connection,
        f"SELECT {columns('cluster_members')} FROM cluster_members "
        "WHERE cluster_id = ? AND revision = ? "
        "AND (window_start IS NULL OR epoch_ms(cluster_members.window_start) = ?) "
        "ORDER BY request_count DESC, account_id",
        (cluster_id, revision, window_start_ms),
    )


def sessions_of(
    connection: duckdb.DuckDBPyConnection, accounts: Sequence[str]
) -> dict[str, tuple[Session, ...]]:
    """Each account's sessions, without those that a late event has joined to a newer one."""
    if not accounts:
        return {}
    found: dict[str, list[Session]] = {}
    for row in rows(
        connection,
        """WITH newest AS (
             SELECT session_id, key, session_start, session_end, revision, request_count,
               output_tokens
             FROM session_scores
             WHERE level <> 'profile' AND key_kind = 'account' AND list_contains(?, key)
             QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1)
           SELECT key, epoch_ms(session_start) AS first, epoch_ms(session_end) AS last,
             request_count AS requests, output_tokens AS tokens
           FROM newest AS a WHERE NOT EXISTS (
             SELECT 1 FROM newest AS b
             WHERE b.key = a.key AND b.session_id <> a.session_id AND b.revision > a.revision
               AND b.session_start <= a.session_start AND b.session_end >= a.session_end)
           ORDER BY key, first""",
        (list(accounts),),
    ):
        found.setdefault(row["key"], []).append(
            Session(row["first"], row["last"], row["requests"] or 0, row["tokens"] or 0)
        )
    return {key: tuple(sessions) for key, sessions in found.items()}


def _only_run(connection: duckdb.DuckDBPyConnection) -> str:
    runs = rows(connection, "SELECT max(run_id) AS run_id FROM run_health")
    return str(runs[0]["run_id"] or "")


def _balance(connection: duckdb.DuckDBPyConnection, run_id: str) -> tuple[tuple[str, int], ...]:
    """What was read, then what became of it; refusals by reason, the rarer ones together."""
    values = {
        row["metric"]: int(row["value"] or 0)
        for row in rows(
            connection, "SELECT metric, value FROM run_health WHERE run_id = ?", (run_id,)
        )
    }
    if "read" not in values:
        return ()
    parts = [("Read", values["read"]), ("Scored", values.get("scored", 0))]
    parts.append(("Duplicates", values.get("duplicate", 0)))
    reasons = sorted(
        ((v, k.removeprefix("refused_")) for k, v in values.items() if k.startswith("refused_")),
        reverse=True,
    )
    refused = values.get("refused", 0)
    for count, reason in reasons[: _MOST_REASONS_REFUSED - 1]:
        parts.append((f"Refused: {reason.replace('_', ' ')}", count))
        refused -= count
    if refused or not reasons:
        parts.append(("Refused: other" if reasons else "Refused", refused))
    return tuple(parts)


def _truths(
    truth: Mapping[str, Label], clusters: Sequence[Cluster], scored: set[str]
) -> tuple[tuple[CampaignTruth, ...], tuple[BenignTruth, ...]]:
    flagged = {m.account for c in clusters for m in c.members}
    campaigns: dict[str, list[Label]] = {}
    benign: dict[str, list[Label]] = {}
    for label in truth.values():
        if label.split == "history" and label.account not in scored:
            continue
        if label.attack:
            campaigns.setdefault(label.campaign or label.account, []).append(label)
        else:
            benign.setdefault(label.kind, []).append(label)

    def hits(labels: Sequence[Label]) -> int:
        return sum(label.account in flagged for label in labels)

    return (
        tuple(
            CampaignTruth(
                name,
                labels[0].kind,
                len(labels),
                hits(labels),
                tuple(
                    c.cluster_id
                    for c in clusters
                    if {m.account for m in c.members} & {label.account for label in labels}
                ),
            )
            for name, labels in sorted(campaigns.items())
        ),
        tuple(
            BenignTruth(kind, len(labels), hits(labels)) for kind, labels in sorted(benign.items())
        ),
    )
