"""Views over the tables: one source each, in this folder, rendered for DuckDB and BigQuery.

`python -m schemas.generate` renders them into `schemas/generated/views`, from where they are used:
`NAME.duckdb.sql` holds statements that make a view, `NAME.bigquery.sql` its query, which Terraform
takes as well as `bigquery_views`; what columns mean is in `views.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.model import bigquery_text

_HERE = Path(__file__).parent
_RENDERED = _HERE.parent / "generated" / "views"

NAMES = (
    # What others are made from comes first.
    "current_sessions",
    "current_clusters",
    "current_alerts",
    "current_verdicts",
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
    about = json.loads((_RENDERED.parent / "views.json").read_text(encoding="utf-8"))
    views = views or dataset
    made = {}
    for name in NAMES:
        query = (_RENDERED / f"{name}.bigquery.sql").read_text(encoding="utf-8")
        query = query.replace("${dataset}", dataset).replace("${views}", views)
        made[name] = f"{_head(f'`{views}.{name}`', about[name])}\nAS\n{query}"
    return made


def _head(name: str, about: Mapping[str, Any]) -> str:
    options = f"OPTIONS(description={bigquery_text(about['description'])})"
    if about["parameters"]:
        named = ", ".join(f"{p} {kind}" for p, kind in about["parameters"].items())
        return f"CREATE OR REPLACE TABLE FUNCTION {name}({named})\n{options}"
    columns = ",\n".join(
        f"  `{column}` OPTIONS(description={bigquery_text(text)})"
        for column, text in about["columns"].items()
    )
    return f"CREATE OR REPLACE VIEW {name} (\n{columns}\n)\n{options}"


def _duckdb_views() -> dict[str, str]:
    # One that was not rendered yet is left out, or nobody could render it.
    files = {name: _RENDERED / f"{name}.duckdb.sql" for name in NAMES}
    return {n: f.read_text(encoding="utf-8") for n, f in files.items() if f.is_file()}


VIEWS: Mapping[str, str] = _duckdb_views()
