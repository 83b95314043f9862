"""Metrics of one run, in the words of Prometheus.

They are of the process that puts rows into the tables: counts are of this process, and begin anew
with it, as counters may. A run that ends writes them to a file; one without an end answers at an
address, too. On Dataflow there is no such process: its own monitoring has the job's counters.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from schemas.errors import DistilwatchError

_REFUSED = "refused_"
OUTCOMES = (
    "read", "scored", "refused", "duplicate", "empty", "not_requests", "outside_span",
    "lost_before_read",
)  # fmt: skip


class RunMetrics:
    """Metrics of a run.

    Args:
      run_id, bundle_version: named in every scrape.
    """

    def __init__(self, run_id: str, bundle_version: str, runner: str) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"distilwatch_{name}", text, labels, registry=self.registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"distilwatch_{name}", text, labels, registry=self.registry)

        self._info = gauge("run_info", "1 while the run is there", "run_id", "bundle", "runner")
        self._info.labels(run_id, bundle_version, runner).set(1)
        self._records = counter("records", "Records by what became of them", "outcome")
        self._letters = counter("dead_letters", "Refused records by reason", "reason")
        self._rows = counter("rows", "New and changed rows by table", "table")
        self._failed = counter("commit_failures", "Commits that have to be tried again")
        self._clusters = gauge("flagged_clusters", "Clusters that are flagged now")
        self._accounts = gauge("flagged_accounts", "Accounts in them")
        self._committed = gauge("last_commit_timestamp_seconds", "When rows were last put into "
                                "the tables, or there were none to put")  # fmt: skip
        self._newest = gauge("newest_event_timestamp_seconds", "Latest event time among the rows")
        self._flagged = gauge("last_flagged_timestamp_seconds", "When a cluster was last flagged "
                              "or grew")  # fmt: skip
        self._untold = gauge("untold_messages", "Messages to people on call that have not reached "
                             "them: tried again, or given up", "state")  # fmt: skip
        self._lag = gauge("lag_records", "Records that are not committed yet", "brokers", "topic",
                          "partition")  # fmt: skip
        self._done = gauge("run_completed_timestamp_seconds", "When the run ended with everything "
                           "in the outputs; 0 while it goes on")  # fmt: skip
        self._said: dict[str, float] = {}
        for outcome in OUTCOMES:
            self._records.labels(outcome)

    def committed(
        self,
        health: Mapping[str, int],
        rows: Mapping[str, int],
        members: Mapping[Any, int],
        newest: datetime | None,
        done: bool | None,
    ) -> None:
        """Takes over what a commit has left.

        Args:
          health: records by metric, since the process began.
          rows: rows by table, since then.
          members: accounts by cluster.
          newest: event time.
          done: whether no rows have to wait; None: there was no commit of ours.
        """
        now = time.time()
        for name, count in health.items():
            if name.startswith(_REFUSED):
                self._raise(self._letters.labels(name.removeprefix(_REFUSED)), name, count)
            elif name in OUTCOMES:
                self._raise(self._records.labels(name), name, count)
        for table, count in rows.items():
            grew = self._raise(self._rows.labels(table), f"rows {table}", count)
            if grew and table == "flagged_clusters":
                self._flagged.set(now)
        self.flagged(len(members), sum(members.values()))
        if newest is not None:
            aware = newest if newest.tzinfo else newest.replace(tzinfo=UTC)
            self._newest.set(aware.timestamp())
        if done:
            self._committed.set(now)
        elif done is not None:
            self._failed.inc()

    def flagged(self, clusters: int, accounts: int) -> None:
        """Clusters that are flagged now, and accounts in them."""
        self._clusters.set(clusters)
        self._accounts.set(accounts)

    def untold(self, failing: int, dead: int) -> None:
        """Messages to people on call that were tried in vain, and that were given up."""
        self._untold.labels("failing").set(failing)
        self._untold.labels("dead").set(dead)

    def lag(self, brokers: str, topic: str, partition: int, records: int) -> None:
        """Records of a partition behind its end."""
        self._lag.labels(brokers, topic, str(partition)).set(max(records, 0))

    def completed(self) -> None:
        """The run has ended well."""
        self._done.set(time.time())

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _raise(self, child: Counter, name: str, count: float) -> bool:
        """Brings a counter up to what was counted elsewhere; whether it grew."""
        grew = count - self._said.get(name, 0)
        if grew <= 0:
            return False
        self._said[name] = count
        child.inc(grew)
        return True


def write_file(path: Path, text: bytes, named_by: str = "observe.metrics_file") -> None:
    """Replaces a file as a whole: a collector never reads half of one.

    Args:
      path: of the file.
      text: that it has then.
      named_by: setting or option that names it.

    Raises:
      DistilwatchError: it cannot be written.
    """
    made = ""
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.absolute().parent, prefix=f".{path.name}.", delete=False
        ) as out:
            made = out.name
            out.write(text)
        os.chmod(made, 0o644)
        os.replace(made, path)
    except OSError as error:
        if made:  # on a full disk, every commit would leave one
            with suppress(OSError):
                os.unlink(made)
        raise DistilwatchError(
            f"metrics cannot be written ({error.strerror})", f"{named_by} {path}",
            "make its folder, or choose another",
        ) from error  # fmt: skip
