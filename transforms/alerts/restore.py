"""A book of alerts that was lost, made again from the table `alerts`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from transforms.alerts.book import Known
from transforms.alerts.life import Alert, Observation
from transforms.alerts.policy import SEVERITIES

Row = Mapping[str, Any]
_RESOLVED = "resolved"


def restored(rows: Iterable[Row]) -> dict[str, Known]:
    """Clusters as the table `alerts` tells of them, for a book that was lost.

    Args:
      rows: of the table, storms left out, times in milliseconds UTC.
    """
    names: dict[str, set[str]] = {}
    peaks: dict[str, list[str]] = {}
    newest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: (row["changed_at"], row["revision"])):
        names.setdefault(row["cluster_id"], set()).add(row["alert_id"])
        peaks.setdefault(row["alert_id"], []).append(row["severity"])
        newest[row["cluster_id"]] = row
    return {name: _restored(row, len(names[name]), peaks) for name, row in newest.items()}


def _restored(row: Row, episode: int, peaks: Mapping[str, Sequence[str]]) -> Known:
    seen = Observation(
        cluster_id=row["cluster_id"],
        window_start=row["window_start"] or 0,
        revision=row["cluster_revision"] or 0,
        flagged=row["state"] != _RESOLVED or bool(row["disposition_id"]),
        policy=row["policy"] or "",
        policy_version=row["policy_version"] or "",
        severity=row["severity"],
        cluster_severity=row["severity"],
        account_count=row["account_count"] or 1,
        request_count=row["request_count"] or 0,
        exposure_usd=row["exposure_usd"] or 0.0,
        p_value=row["p_value"],
        q_value=row["q_value"],
        event_time=row["event_time"],
        run_id=row["run_id"],
        bundle_version=row["bundle_version"],
    )
    alert = Alert(
        seen,
        row["state"],
        episode,
        row["revision"],
        max(peaks[row["alert_id"]], key=SEVERITIES.index),
        seen.account_count,
        seen.exposure_usd,
        row["opened_at"] or row["changed_at"],
        row["disposition_id"] or "" if row["state"] == "acknowledged" else "",
        row["storm_id"] or "",
    )
    return Known(alert, [], {})
