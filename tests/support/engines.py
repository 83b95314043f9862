"""What a stream needs to run on each engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.local.flink_cluster import FlinkCluster


@dataclass(frozen=True)
class Engine:
    """What a stream needs to run on one.

    Attributes:
      prism: its binary, where it is the one.
      options: of the command.
      settings: more of them, as YAML.
      goes_on: it starts from a savepoint; others begin with the topic.
    """

    prism: Path | None = None
    options: tuple[str, ...] = ()
    settings: str = ""
    goes_on: bool = False


def cancel_jobs(cluster: FlinkCluster) -> None:
    """Ends the jobs of a cluster: one whose broker is gone would start again for ever."""
    for job in cluster.rest("/jobs/overview")["jobs"]:
        if job["state"] in ("RUNNING", "RESTARTING", "CREATED"):
            cluster.rest(f"/jobs/{job['jid']}?mode=cancel", "PATCH")
