"""How long rows are kept, and how files are kept together."""

from __future__ import annotations

from pydantic import Field

from pipelines.settings.base import DAY, MINUTE, Duration, Section


class TablesConfig(Section):
    """How long `distilwatch tables expire` keeps rows, and when files are removed."""

    keep_scores: Duration = Field(
        400 * DAY,
        description="sessions and profiles, since their first request; 0: for ever",
        ge=0,
    )
    keep_clusters: Duration = Field(
        730 * DAY,
        description="clusters with members, evidence and alerts, since the last request or step; "
        "0: for ever",
        ge=0,
    )
    keep_dead_letters: Duration = Field(
        90 * DAY,
        description="refused records since their event, and what became of them; 0: for ever",
        ge=0,
    )
    keep_revisions: Duration = Field(
        30 * DAY,
        description="revisions that a newer one replaced, which is how far back the views "
        "clusters_as_of, members_as_of and sessions_as_of see; 0: for ever",
        ge=0,
    )
    keep_shared: Duration = Field(
        730 * DAY, description="indicators and sightings, since they were valid; 0: for ever", ge=0
    )
    grace: Duration = Field(
        10 * MINUTE,
        description="how long Parquet files stay that a joined one replaced, for readers that have "
        "their names already",
        ge=0,
    )
