"""The machine."""

from __future__ import annotations

from pydantic import Field

from pipelines.settings.base import SECOND, Duration, Section


class RunConfig(Section):
    """The machine."""

    parallelism: int = Field(1, description="worker processes of the embedded runner", ge=1, le=256)
    tmp: str | None = Field(None, description="folder for temporary files; null: the system's own")
    commit_every: Duration = Field(
        5 * SECOND,
        description="how often results of an endless topic are put into the tables",
        ge=SECOND,
    )

    @property
    def commit_every_ms(self) -> int:
        return self.commit_every
