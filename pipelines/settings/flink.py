"""A run on a Flink cluster."""

from __future__ import annotations

from pydantic import Field

from pipelines.settings.base import MINUTE, SECOND, Duration, Section


class FlinkConfig(Section):
    """A run on a Flink cluster (--runner flink)."""

    master: str | None = Field(
        None, description="host:port of the job manager's REST interface; or --flink-master"
    )
    job_server: str | None = Field(
        None,
        description="host:port of Beam's job server for Flink; null: one is started for the run, "
        "from the jars that `make services` installs",
    )
    workers: str = Field(
        "loopback",
        description="who runs our code: `loopback`, this process, for a cluster on this machine; "
        "or host:port of a Beam worker pool as the task managers see it",
        pattern=r"^(loopback|[^\s:/]+:\d{1,5})$",
    )
    parallelism: int = Field(1, description="subtasks of each step", ge=1, le=1024)
    checkpoint_every: Duration = Field(
        10 * SECOND,
        description="how often state is saved, in a stream; with a pause of `read_for`",
        ge=SECOND,
    )
    read_for: Duration = Field(
        5 * SECOND,
        description="how long a reader of an endless topic reads before it hands over what it has",
        ge=SECOND,
        le=5 * MINUTE,
    )
    savepoints: str | None = Field(
        None, description="URI of a folder for savepoints; null: the cluster's own setting"
    )
    spool: str | None = Field(
        None,
        description="folder where workers leave finished rows and this process fetches them, under "
        "the same path on all machines; null: beside the first output",
    )
