"""Tells metrics while a run goes on: at an address, into a file, or neither."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.observe.metrics import RunMetrics, write_file
from pipelines.oncall import Untold, untold
from schemas.errors import DistilwatchError
from transforms.ingest.kafka_group import noted_positions
from transforms.ingest.kafka_reader import TopicReader
from transforms.ingest.kafka_uri import parse_kafka_uri

if TYPE_CHECKING:
    from pipelines.detect.plan import Plan
    from pipelines.settings.observe import ObserveConfig
    from transforms.sinks.commit import Written

_LAG_EVERY_S = 15.0


class Commits(Protocol):
    """What puts rows into tables now and then."""

    @property
    def written(self) -> Written: ...

    def commit(self) -> bool: ...


class Watched:
    """A committer whose commits are told as metrics.

    Args:
      commits: of the tables.
      metrics: of the run.
      file: that is written anew each time; None: none.
      inputs: URIs whose lag is looked at.
      positions: folder where readers note how far they are.
      untold: looks which messages have not reached people on call.
    """

    def __init__(
        self, commits: Commits, metrics: RunMetrics, file: Path | None,
        inputs: Sequence[str] = (), positions: str | None = None,
        untold: Callable[[], Untold] = Untold,
    ) -> None:  # fmt: skip
        self._untold = untold
        self._commits, self._metrics, self._file = commits, metrics, file
        self._positions, self._looked = positions, 0.0
        self._readers: dict[str, TopicReader] = {}
        self._committed: dict[str, dict[int, int]] = {}
        # By place: two brokers may have topics of one name.
        self._topics = {
            uri.place: uri
            for uri in (parse_kafka_uri(text) for text in inputs if text.startswith("kafka://"))
            if not uri.bounded
        }

    @property
    def written(self) -> Written:
        """What was put into the tables."""
        return self._commits.written

    def commit(self) -> bool:
        """Commits, and tells what that left; returns whether no rows have to wait."""
        noted = self._noted()
        done = self._commits.commit()
        if done:  # rows of what was read by then are in the tables
            self._committed = noted
        self._take(done)
        if time.monotonic() - self._looked >= _LAG_EVERY_S:
            self._looked = time.monotonic()
            self._look_at_lag()
        self.tell()
        return done

    def _take(self, done: bool | None) -> None:
        told = self.written
        self._metrics.committed(told.health, told.rows, told.members, told.newest, done)
        with suppress(DistilwatchError, sqlite3.Error):  # the sender warns of a book that is lost
            self._metrics.untold(*self._untold())

    def tell(self) -> None:
        """Writes the file, if there is one; a full disk must not stop the run."""
        if self._file is not None:
            with suppress(DistilwatchError):
                write_file(self._file, self._metrics.text())

    def completed(self) -> None:
        """The run has ended as it was asked to, with everything in the outputs."""
        self._metrics.completed()

    def close(self) -> None:
        """Tells what was committed last, by whomever, and leaves the brokers."""
        self._take(None)
        self.tell()
        for reader in self._readers.values():
            reader.close()

    def _noted(self) -> dict[str, dict[int, int]]:
        if self._positions is None:
            return {}
        return {place: noted_positions(self._positions, uri) for place, uri in self._topics.items()}

    def _look_at_lag(self) -> None:
        for place, uri in self._topics.items():
            # A broker that is away is the readers' trouble, and seen in the lag that stands still.
            with suppress(Exception):
                if place not in self._readers:
                    self._readers[place] = TopicReader(uri)
                reader = self._readers[place]
                partitions = reader.partitions()
                ends, starts = reader.end_offsets(partitions), reader.first_offsets(partitions)
                noted = self._committed.get(place, {})
                for partition in partitions:
                    at = max(noted.get(partition, starts[partition]), starts[partition])
                    behind = ends[partition] - at
                    self._metrics.lag(",".join(uri.servers), uri.topic, partition, behind)


@contextmanager
def served(metrics: RunMetrics, how: ObserveConfig) -> Iterator[str]:
    """Answers Prometheus while the block runs; yields the address, "" for none.

    Raises:
      DistilwatchError: the address is taken, or is none of this machine's.
    """
    if how.metrics_address is None:
        yield ""
        return
    from prometheus_client import start_http_server

    host, _, port = how.metrics_address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), metrics.registry)
    except (OSError, OverflowError) as error:
        raise DistilwatchError(
            f"metrics cannot be told there ({getattr(error, 'strerror', None) or error})",
            f"observe.metrics_address {how.metrics_address}", "choose another port, or null",
        ) from error  # fmt: skip
    try:
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def told(plan: Plan, commits: Any, console: Any) -> Iterator[Any]:
    """The committer of an endless run, watched where the settings ask for it."""
    how = plan.config.observe
    if how.metrics_address is None and how.metrics_file is None:
        yield commits
        return
    metrics = RunMetrics(plan.run_id, plan.bundle_version, plan.runner)
    file = Path(how.metrics_file) if how.metrics_file else None
    look = partial(untold, plan.config.alerts, plan.options.outputs)
    watched = Watched(commits, metrics, file, plan.options.inputs, plan.positions, look)
    with served(metrics, how) as address:
        if address:
            console.note(f"Metrics for Prometheus at {address}")
        try:
            yield watched
        finally:
            watched.close()


def told_at_the_end(plan: Plan, health: dict[str, int], rows: dict[str, int]) -> None:
    """Writes the metrics of a run that has ended, where the settings name a file.

    Raises:
      DistilwatchError: it cannot be written.
    """
    if plan.config.observe.metrics_file is None:
        return
    metrics = RunMetrics(plan.run_id, plan.bundle_version, plan.runner)
    metrics.committed(health, rows, {}, None, True)
    metrics.flagged(rows.get("flagged_clusters", 0), rows.get("cluster_members", 0))
    metrics.untold(*untold(plan.config.alerts, plan.options.outputs))
    metrics.completed()
    write_file(Path(plan.config.observe.metrics_file), metrics.text())
