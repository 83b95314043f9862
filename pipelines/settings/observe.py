"""What a run tells those who watch over it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.settings.base import Section

ADDRESS = r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):\d{1,5}$"


class ObserveConfig(Section):
    """What a run tells those who watch over it; docs/observability.md."""

    metrics_address: str | None = Field(
        None,
        description="host:port where an endless run answers Prometheus, such as 0.0.0.0:9464; "
        "null: nowhere",
        pattern=ADDRESS,
    )
    metrics_file: str | None = Field(
        None,
        description="file that is written anew with every commit and at the end of every run, for "
        "the textfile collector of node_exporter; its name ends with .prom; null: none",
        pattern=r"\.prom$",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="json: what is said on standard error is one JSON object a line"
    )
