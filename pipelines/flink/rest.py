"""Flink's REST interface: which jobs there are, how they fare, and how to stop one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx

from schemas.errors import DistilwatchError

GOING = frozenset(
    {"INITIALIZING", "CREATED", "RUNNING", "RESTARTING", "RECONCILING", "FAILING", "CANCELLING"}
)
ENDED = frozenset({"FINISHED", "CANCELED", "FAILED", "SUSPENDED"})
_TIMEOUT_S = 10.0
_SAVEPOINT_S = 600.0
END_OF_TIME = (1 << 63) - 1
"""The watermark of Flink that says that nothing will follow."""


class Away(Exception):
    """The job manager does not answer just now."""


@dataclass(frozen=True)
class Job:
    """A job as the cluster lists it."""

    id: str
    name: str
    state: str
    started_ms: int


class Failure(NamedTuple):
    """When a job failed, in milliseconds UTC, 0 for never; and the Java stack trace."""

    at_ms: int
    trace: str


class Checkpoints(NamedTuple):
    """How a job's checkpoints fare.

    Attributes:
      begun, completed: number of the newest one; 0 for none.
      restored_ms: when the job was last taken back to one, in milliseconds UTC; 0 for never.
    """

    begun: int
    completed: int
    restored_ms: int


class FlinkRest:
    """The job manager at host:port."""

    def __init__(self, master: str) -> None:
        self.master = master
        self._client = httpx.Client(base_url=f"http://{master}", timeout=_TIMEOUT_S)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        try:
            answer = self._client.request(method, path, json=body)
            answer.raise_for_status()
            return answer.json() if answer.content else {}
        except (httpx.HTTPError, ValueError) as error:
            raise Away(str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Lets go of connections."""
        self._client.close()

    def version(self) -> str:
        """Of Flink. Raises Away."""
        return str(self._ask("GET", "/config").get("flink-version", "unknown"))

    def slots(self) -> int:
        """Task slots in all. Raises Away."""
        return int(self._ask("GET", "/overview")["slots-total"])

    def configuration(self) -> dict[str, str]:
        """What the job manager was configured with, beside defaults. Raises Away."""
        return {
            str(one["key"]): str(one["value"]) for one in self._ask("GET", "/jobmanager/config")
        }

    def jobs(self, name: str) -> list[Job]:
        """Jobs of a name, newest first. Raises Away."""
        found = self._ask("GET", "/jobs/overview")["jobs"]
        jobs = [Job(j["jid"], j["name"], j["state"], j["start-time"]) for j in found]
        return sorted((j for j in jobs if j.name == name), key=lambda j: -j.started_ms)

    def state(self, job: str) -> str:
        """State of a job. Raises Away."""
        return str(self._ask("GET", f"/jobs/{job}")["state"])

    def newest_failure(self, job: str) -> Failure:
        """Why a job failed last, whether it went on or not. Raises Away."""
        found = self._ask("GET", f"/jobs/{job}/exceptions?maxExceptions=1")
        entries = found["exceptionHistory"]["entries"]
        if not entries:
            return Failure(0, "")
        return Failure(int(entries[0]["timestamp"]), str(entries[0]["stacktrace"]))

    def checkpoints(self, job: str) -> Checkpoints:
        """How a job's checkpoints fare. Raises Away."""
        found = self._ask("GET", f"/jobs/{job}/checkpoints")
        completed, restored = (found["latest"].get(which) for which in ("completed", "restored"))
        return Checkpoints(
            max((int(one["id"]) for one in found["history"]), default=0),
            int(completed["id"]) if completed else 0,
            int(restored["restore_timestamp"]) if restored else 0,
        )

    def cancel(self, job: str) -> None:
        """Ends a job without a savepoint. Raises Away."""
        self._ask("PATCH", f"/jobs/{job}?mode=cancel")

    def watermark(self, job: str) -> int:
        """The least watermark that any step of a job has come to, in milliseconds.

        Sources have none of their own; of other steps one that tells none has not begun.

        Raises:
          Away: it does not answer.
        """
        least = END_OF_TIME
        for step in self._ask("GET", f"/jobs/{job}")["vertices"]:
            told = self._ask("GET", f"/jobs/{job}/vertices/{step['id']}/watermarks")
            if not told and not step["name"].startswith("Source:"):
                return -END_OF_TIME
            least = min([least, *(int(one["value"]) for one in told)])
        return least

    def stop(self, job: str, folder: str | None) -> str:
        """Stops a job with a savepoint; returns where that is.

        Raises:
          DistilwatchError: Flink cannot take one.
          Away: it does not answer.
        """
        body = {"drain": False} | ({"targetDirectory": folder} if folder else {})
        asked = self._ask("POST", f"/jobs/{job}/stop", body)["request-id"]
        deadline = time.monotonic() + _SAVEPOINT_S
        while time.monotonic() < deadline:
            told = self._ask("GET", f"/jobs/{job}/savepoints/{asked}")
            if told["status"]["id"] == "COMPLETED":
                done = told.get("operation", {})
                if "location" in done:
                    return str(done["location"])
                cause = str(done.get("failure-cause", {}).get("stack-trace", "")).strip()
                raise DistilwatchError(
                    f"Flink could not take a savepoint: {cause.splitlines()[0] if cause else ''}",
                    f"job {job} on {self.master}",
                    "the job is still running; look at its checkpoints in Flink's own pages",
                )
            time.sleep(0.3)
        raise DistilwatchError(
            f"Flink has not finished a savepoint in {_SAVEPOINT_S:.0f} s",
            f"job {job} on {self.master}",
            "the job is still running; look at its checkpoints in Flink's own pages",
        )


def check_cluster(master: str, version: str | None = None) -> None:
    """Raises DistilwatchError when no Flink cluster answers, or one of another version.

    Args:
      master: host:port.
      version: "1.19", of the job server; None: not known here.
    """
    rest = FlinkRest(master)
    try:
        found = rest.version()
    except Away as away:
        raise DistilwatchError(
            f"no Flink cluster answers ({away})",
            f"--flink-master {master}",
            "start it, or give the address of the job manager's REST interface (port 8081)",
        ) from None
    finally:
        rest.close()
    if version not in (None, "unknown") and not found.startswith(f"{version}."):
        raise DistilwatchError(
            f"the cluster is Flink {found}, and the job server is for {version}",
            f"--flink-master {master}",
            "install the job server of the cluster's version, and name it in flink.job_server",
        )
