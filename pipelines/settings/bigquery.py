"""How BigQuery is written and read."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from pipelines.settings.base import DAY, HOUR, MINUTE, SECOND, Duration, Section

_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


class BigQueryConfig(Section):
    """How BigQuery is written and read, and what that may cost."""

    method: Literal["auto", "storage_write", "load"] = Field(
        "auto",
        description="how rows get there: over the Storage Write API, or by load jobs; auto: load "
        "where an emulator is asked, storage_write otherwise",
    )
    create_tables: bool = Field(
        True,
        description="whether missing tables and columns are made; false where others make them, "
        "such as Terraform",
    )
    views_dataset: str = Field(
        "",
        description="dataset of the views, in the project of the tables, where it is another one; "
        "infra/terraform makes distilwatch_views",
        pattern=r"^[A-Za-z0-9_]{0,1024}$",
    )
    expire_after: Duration = Field(
        0,
        description="age at which a day of a table is dropped, but for dispositions; 0: never",
        ge=0,
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="labels of tables and jobs, such as team: abuse"
    )
    commit_every: Duration = Field(
        MINUTE,
        description="how often results of an endless topic are put into BigQuery; each time costs "
        "a few jobs, of which a day has limits",
        ge=10 * SECOND,
        le=HOUR,
    )
    retry_for: Duration = Field(
        2 * MINUTE,
        description="how long a request is tried again that fails for a passing reason: no answer, "
        "a quota",
        ge=SECOND,
        le=HOUR,
    )
    read_with: Literal["storage_read", "query"] = Field(
        "storage_read",
        description="how events and copies of tables are read: over the Storage Read API, or as a "
        "query's result, which may be that of a view",
    )
    max_cost_usd: float = Field(
        25.0,
        description="reading that is estimated to cost more US dollars does not start; 0: no limit",
        ge=0,
    )
    query_usd_per_tib: float = Field(
        6.25, description="price of a TiB that queries process, in US dollars", ge=0
    )
    read_usd_per_tib: float = Field(
        1.1, description="price of a TiB that the Storage Read API returns, in US dollars", ge=0
    )

    @field_validator("labels")
    @classmethod
    def _labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for key, value in labels.items():
            if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
                raise ValueError(
                    f"{key}: {value} is no label of BigQuery: write small letters, digits, - and _"
                )
        return labels

    @field_validator("expire_after")
    @classmethod
    def _expiry(cls, age: int) -> int:
        if 0 < age < DAY:
            raise ValueError("a table is cut by days, so it must be 0, or a day at least")
        return age
