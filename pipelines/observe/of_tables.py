"""Metrics out of tables, whoever wrote them: records, clusters, and drift."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

Ask = Callable[[str], tuple[Sequence[str], Sequence[Sequence[Any]]]]
"""Answers a query: names of columns, and rows."""

_NEWEST_RUNS = 5
# Each run has some twenty series, and there may be a run a day: the newest only. Runs without rows
# in session_scores (nothing was scored) come last, by name, so that all tables give one answer.
_BALANCE = f"""
WITH newest AS (
  SELECT health.run_id, MAX(scores.session_end) AS last_end
  FROM (SELECT DISTINCT run_id FROM run_health) AS health
  LEFT JOIN session_scores AS scores ON scores.run_id = health.run_id
  GROUP BY health.run_id
)
SELECT run_id, metric, value FROM run_health WHERE run_id IN (
  SELECT run_id FROM newest ORDER BY last_end DESC NULLS LAST, run_id LIMIT {_NEWEST_RUNS}
)"""
_CLUSTERS = (
    "SELECT status, severity, COUNT(*), MAX(first_alert) FROM current_clusters GROUP BY 1, 2"
)
_NEWEST = "SELECT MAX(session_end) FROM session_scores"
_DRIFT = (
    "SELECT level, feature, SUM(row_count * outside_share) / SUM(row_count), "
    "SUM(row_count * mean_z) / SUM(row_count) FROM feature_drift "
    "WHERE day = (SELECT MAX(day) FROM feature_drift) GROUP BY 1, 2"
)


def table_metrics(ask: Ask) -> bytes:
    """Metrics of tables in Prometheus' text format.

    Args:
      ask: answers queries over tables and views.
    """
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"distilwatch_tables_{name}", text, labels, registry=registry)

    health = gauge("health", "Records by run and metric, as in run_health", "run_id", "metric")
    for run_id, metric, value in ask(_BALANCE)[1]:
        health.labels(run_id, metric).set(value)
    clusters = gauge("clusters", "Clusters by status and severity", "status", "severity")
    latest = gauge("last_alert_timestamp_seconds", "First alert of the newest cluster")
    times = []
    for status, severity, count, at in ask(_CLUSTERS)[1]:
        clusters.labels(status or "", severity or "").set(count)
        times += [_seconds(at)] if at is not None else []
    if times:
        latest.set(max(times))
    newest = gauge("newest_session_timestamp_seconds", "End of the newest session")
    for (at,) in ask(_NEWEST)[1]:
        if at is not None:
            newest.set(_seconds(at))
    outside = gauge(
        "feature_outside_share", "Share of rows of the newest day outside of what was normal",
        "level", "feature",
    )  # fmt: skip
    shift = gauge(
        "feature_mean_z", "Mean of z of the newest day, cut at 10; 0 is as in the history",
        "level", "feature",
    )  # fmt: skip
    for level, feature, share, z in ask(_DRIFT)[1]:
        outside.labels(level, feature).set(share)
        shift.labels(level, feature).set(z)
    return generate_latest(registry)


def _seconds(at: datetime) -> float:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
