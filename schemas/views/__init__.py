"""Views over the tables: one source each, in this folder, rendered for DuckDB and BigQuery.

`python -m schemas.generate` renders them into `schemas/generated/views`, from where they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_HERE = Path(__file__).parent
_RENDERED = _HERE.parent / "generated" / "views"

NAMES = (
    # What others are made from comes first.
    "current_sessions",
    "current_clusters",
    "current_alerts",
    "dead_letter_status",
    "cluster_windows",
    "run_balance",
    "campaigns_over_time",
    "accounts_by_exposure",
    "precision_by_policy",
    "precision_over_time",
    "changes_since_yesterday",
    "feature_drift",
    "pipeline_volume",
    "cluster_reasons",
    "cluster_links",
    "cluster_life",
    "shared_accounts",
    "capabilities_taken",
    "clusters_as_of",
    "members_as_of",
    "sessions_as_of",
)


def source_of(name: str) -> Path:
    """The source of a view."""
    return _HERE / f"{name}.sql"


def bigquery_views(dataset: str, views: str = "") -> dict[str, str]:
    """Statements that make the views in BigQuery, by name, in the order in which they are made.

    Args:
      dataset: of the tables, `project.dataset`, or `dataset`.
      views: dataset of the views; "" for the same.
    """
    return {
        name: (_RENDERED / f"{name}.bigquery.sql")
        .read_text(encoding="utf-8")
        .replace("${dataset}", dataset)
        .replace("${views}", views or dataset)
        for name in NAMES
    }


def _duckdb_views() -> dict[str, str]:
    # One that was not rendered yet is left out, or nobody could render it.
    files = {name: _RENDERED / f"{name}.duckdb.sql" for name in NAMES}
    return {n: f.read_text(encoding="utf-8") for n, f in files.items() if f.is_file()}


VIEWS: Mapping[str, str] = _duckdb_views()
