"""The machine."""

from __future__ import annotations

from typing import Literal

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

    on_stop: Literal["stop", "drain", "leave"] = Field(
        "stop",
        description="what Ctrl-C, SIGTERM and --for do to a stream. stop: at once, on Flink with a "
        "savepoint to go on from; drain: it reads no more, closes every session and window, writes "
        "what comes of that, and ends, which can take minutes; leave, on Flink with a pool of "
        "workers: the job goes on, and the same command with the same --run-id goes on with it",
    )

    @property
    def commit_every_ms(self) -> int:
        return self.commit_every
