"""`detect` on the suite's own Flink cluster."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from infra.local.flink_cluster import FlinkCluster
from infra.local.services import KafkaBroker
from tests.support.stream import CLUSTERS, MEMBERS, PROFILES, SESSIONS, World

NEWEST = (SESSIONS, PROFILES, CLUSTERS, MEMBERS)
SETTINGS = """
flink: {{workers: "{workers}", checkpoint_every: 2 s, read_for: 1 s, parallelism: {parallelism}}}
"""


class FlinkWorld(World):
    """The little world, with `detect` on a cluster of its own."""

    def __init__(
        self,
        folder: Path,
        broker: KafkaBroker,
        cluster: FlinkCluster,
        workers: str,
        parallelism: int = 1,
    ) -> None:
        libs = os.environ.get("DISTILWATCH_LOCAL", ".local")
        super().__init__(
            folder,
            broker,
            {"DISTILWATCH_FLINK_LIBS": f"{Path(libs).absolute()}/flink/libs"},
            SETTINGS.format(workers=workers, parallelism=parallelism),
        )
        self.cluster = cluster
        self.runner = ("--runner", "flink", "--flink-master", cluster.master)

    def job(self) -> str:
        """The job that is running."""
        going = [j["jid"] for j in self.cluster.rest("/jobs/overview")["jobs"]
                 if j["state"] in ("RUNNING", "RESTARTING")]  # fmt: skip
        assert len(going) == 1, going
        return str(going[0])

    def errors(self) -> str:
        """What the command said, and how its jobs fare: one may wait without a word."""
        fares = []
        with suppress(OSError, KeyError):
            for job in self.cluster.rest("/jobs/overview")["jobs"]:
                if job["state"] not in ("FINISHED", "CANCELED"):
                    made = self.cluster.rest(f"/jobs/{job['jid']}/checkpoints")["counts"]
                    tasks = {name: n for name, n in job["tasks"].items() if n}
                    fares.append((job["state"], tasks, made))
        return f"{super().errors()}; jobs: {fares}"

    def checkpoints(self) -> int:
        """How many were completed."""
        with_counts = self.cluster.rest(f"/jobs/{self.job()}/checkpoints")
        return int(with_counts["counts"]["completed"])

    def wanted(self) -> dict[str, list[tuple[object, ...]]]:
        """What a bounded run over all that is in the topic says."""
        bounded = self.bounded()
        return {sql: self.rows(sql, bounded) for sql in NEWEST}
