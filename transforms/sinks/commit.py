"""Puts what workers have staged into the tables while the run goes on; no Beam here.

The launcher calls `Committer.commit` every few seconds. It takes what is staged by then as a batch,
writes it to every output, tables before alerts, and only then forgets it. An output that cannot be
written just now delays the batch: nothing is lost, and nothing is written twice, because rows are
replaced by key.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

import duckdb
import pyarrow as pa

from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.sinks import duckdb_path, scheme_of
from transforms.sinks.delivery import Delivery
from transforms.sinks.duckdb import write_tables
from transforms.sinks.known_clusters import (
    NOTHING,
    RESOLVED,
    KnownClusters,
    Row,
    by_revision,
    name_and_window,
    write_whole,
)
from transforms.sinks.parquet import add_parquet, parquet_folder
from transforms.sinks.spool import Batch, Spool
from transforms.sinks.staging import cannot_keep
from transforms.sinks.stragglers import Key, Stragglers
from transforms.spans import span

if TYPE_CHECKING:
    from transforms.bigquery.client import BigQueryOptions
    from transforms.sinks.bigquery.write import BigQuerySink

_WARN_EVERY_S = 60.0
_BRIEF_S = 10.0  # others may read for so long without a word
_PATIENCE_S = 2.0  # with others who read: they pause each second (`pipelines.triage.turns`)
_REMEMBERED = 200_000
_HEALTH, _CLUSTERS, _MEMBERS = "run_health", "flagged_clusters", "cluster_members"
_EVIDENCE = "cluster_evidence"
# Tables whose rows are made anew, mostly unchanged, whenever anything changes nearby.
_REPEATING = ("session_scores", _CLUSTERS, _MEMBERS, _EVIDENCE, "sightings")


@dataclass
class Written:
    """What a process has put into the tables so far.

    Attributes:
      health: records by metric, of this process only.
      rows: new and changed rows by table.
      members: accounts of every cluster that is flagged by now, by cluster and window.
      newest: latest event time among the rows.
      delivered: what outputs say of arrival, by output.
    """

    health: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    members: dict[tuple[str, str], int] = field(default_factory=dict)
    newest: datetime | None = None
    delivered: dict[str, Delivery] = field(default_factory=dict)
    _revisions: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, tables: Mapping[str, pa.Table], clusters: Sequence[Row]) -> None:
        """Counts a batch.

        Args:
          tables: rows that the tables did not hold yet.
          clusters: all that was said of clusters; as in the tables, the largest revision counts.
        """
        for name, rows in tables.items():
            self.rows[name] += rows.num_rows
        for row in by_revision(clusters):
            key, revision = name_and_window(row), int(row["revision"])
            if revision < self._revisions.get(key, 0):
                continue
            self._revisions[key] = revision
            self.members[key] = row["account_count"]
            if row["status"] == RESOLVED:
                del self.members[key]
        times = [t for t in tables["session_scores"]["session_end"].to_pylist() if t is not None]
        self.newest = max([*times, *([self.newest] if self.newest else [])], default=None)


class OnCall(Protocol):
    """Whoever is to be told once rows are in the tables; both may raise DistilwatchError, and are
    then called again with the same."""

    def look(self, clusters: pa.Table, members: pa.Table) -> None:
        """Looks at new rows of `flagged_clusters` and `cluster_members`."""

    def tick(self) -> None:
        """Looks whether people decided something meanwhile."""


class Committer:
    """Writes a spool's batches to outputs, inside the spool's lock."""

    def __init__(
        self,
        spool: Spool,
        outputs: Sequence[str],
        run_id: str,
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        bigquery: BigQueryOptions | None = None,
        on_call: OnCall | None = None,
        counts_go_on: bool = False,
        earlier: Mapping[int, Mapping[str, int]] = NOTHING,
    ) -> None:
        """Args:
        spool: to take batches from.
        outputs: URIs of duckdb, parquet, bigquery and kafka.
        run_id: of the run whose counts are kept.
        warn: says that results have been waiting for a while; once a minute.
        clock: seconds.
        bigquery: how BigQuery is written.
        on_call: told after the tables; None for nobody.
        counts_go_on: whether the pipeline goes on from where an earlier process of this run has
          left it, so that what that one counted still holds.
        earlier: as of `KnownClusters`.
        """
        self.written = Written()
        self._counts = spool.folder / "counts.json"
        if counts_go_on and self._counts.exists():
            kept = json.loads(self._counts.read_text(encoding="utf-8"))
            if kept["run_id"] == run_id:
                self.written.health = kept["counts"]
        self._spool = spool
        # Tables first: an alert must not speak of what cannot be looked up.
        self._outputs = sorted(outputs, key=lambda uri: uri.startswith("kafka:"))
        self._tell = any(uri.startswith("kafka:") for uri in outputs)
        self._run_id = run_id
        self._warn = warn
        self._clock = clock
        self._on_call = on_call
        self._warn_at: float | None = None
        self._defined: set[str] = set()
        self._bigquery = bigquery
        self._sinks: dict[str, BigQuerySink] = {}
        self._known: dict[tuple[str, ...], bytes] = {}
        self._clusters = KnownClusters(spool.folder / "clusters.json", earlier, outputs)
        self._stragglers = Stragglers(spool.staging, clock)

    def flagged_windows(self) -> list[tuple[int, str]]:
        """Clusters that were flagged by what this spool has written, whatever became of the
        tables; see `KnownClusters`."""
        return self._clusters.flagged_windows()

    def commit(self, last: bool = False) -> bool:
        """Writes what is there; returns whether no output has to wait.

        Args:
          last: nothing comes any more; else members whose cluster is still to come wait for it.
        """
        try:
            for batch in self._spool.batches():
                with span("commit") as about:
                    about["rows"] = self._write(batch, last)
                    batch.done()
                self._warn_at = None
            if self._on_call is not None:
                self._on_call.tick()
        except (DistilwatchError, OSError, duckdb.Error, pa.ArrowException) as problem:
            now = self._clock()
            if self._warn_at is None:
                self._warn_at = now + _BRIEF_S
            elif now >= self._warn_at:
                self._warn_at = now + _WARN_EVERY_S
                if isinstance(problem, OSError):
                    problem = cannot_keep(str(self._spool.folder), problem)
                self._warn(f"results wait in {self._spool.folder}: {problem}")
            return False
        return True

    def _write(self, batch: Batch, last: bool) -> int:
        """Puts a batch into all outputs; returns how many rows were new or changed."""
        tables, here = self._worth_saying(batch.rows(), last)
        said, clusters = dict(tables), tables[_CLUSTERS].to_pylist()
        digests = {}
        for name in _REPEATING:
            tables[name], new = self._changed(name, tables[name])
            digests.update(new)
        counts = dict(self.written.health)
        if batch.fresh:
            for row in tables[_HEALTH].to_pylist():
                counts[row["metric"]] = max(row["value"], counts.get(row["metric"], 0))
            tables[_HEALTH] = self._health_rows(counts)
        alerts = self._clusters.due(clusters) if self._tell else []
        for uri in self._outputs:
            if not uri.startswith("kafka:"):
                with span("write", output=scheme_of(uri)):
                    self._write_tables(uri, batch, tables, bool(counts))
        if self._on_call is not None:
            # Before the topics, and before it is noted: looking again makes no second alert.
            seen = [self._stragglers.overtook(tables[_MEMBERS]), tables[_CLUSTERS]]
            with span("look for alerts"):
                self._on_call.look(pa.concat_tables(seen), tables[_MEMBERS])
        for uri in self._outputs:
            if uri.startswith("kafka:") and alerts:
                from transforms.sinks.kafka import send_rows

                with span("write", output=scheme_of(uri)):
                    send_rows(uri, alerts)
        self._clusters.note(clusters, alerts)
        if counts != self.written.health:
            write_whole(self._counts, {"run_id": self._run_id, "counts": counts})
        self.written.health = counts
        self.written.add(tables, clusters)
        self._remember(digests)
        self._stragglers.done(here, said[_CLUSTERS], said[_MEMBERS])
        return sum(rows.num_rows for rows in tables.values())

    def _write_tables(
        self, uri: str, batch: Batch, tables: Mapping[str, pa.Table], counted: bool
    ) -> None:
        # Counts are all of the run's, or none: what was left by a crash has not all of them.
        whole = {n: t for n, t in tables.items() if batch.fresh or n != _HEALTH}
        if uri.startswith("duckdb:"):
            path = duckdb_path(uri)
            whole_run = self._run_id if batch.fresh and counted else None
            define = uri not in self._defined or not path.exists()
            write_tables(path, tables, whole_run, define, _PATIENCE_S)
            self._defined.add(uri)
        elif uri.startswith("parquet:"):
            add_parquet(parquet_folder(uri), self._run_id, batch.name, whole)
        elif uri.startswith("bigquery:"):
            sink = self._sink(uri)
            sink.write(whole, batch.fresh)
            self.written.delivered[sink.connection.uri.place] = sink.total

    def _sink(self, uri: str) -> BigQuerySink:
        from transforms.sinks.bigquery.write import BigQuerySink

        if uri not in self._sinks:
            self._sinks[uri] = BigQuerySink(uri, self._run_id, self._bigquery)
        return self._sinks[uri]

    def _worth_saying(
        self, tables: dict[str, pa.Table], last: bool
    ) -> tuple[dict[str, pa.Table], dict[Key, bool]]:
        """The rows that are worth it, and of each cluster whether it is."""
        rows = tables[_CLUSTERS].to_pylist()
        keep = self._clusters.worth_saying(rows)
        here: dict[Key, bool] = {}
        for row, worth_it in zip(rows, keep, strict=True):
            key = str(row["cluster_id"]), row["window_start"], int(row["revision"])
            here[key] = here.get(key, False) or worth_it
        worth = {_CLUSTERS: tables[_CLUSTERS].filter(pa.array(keep, pa.bool_()))}
        known = self._clusters.is_flagged
        self._stragglers.begin()
        for name in (_MEMBERS, _EVIDENCE):
            worth[name] = self._stragglers.sorted(name, tables[name], here, known, last)
        return tables | worth, here

    def _health_rows(self, counts: Mapping[str, int]) -> pa.Table:
        """All counts of the run: those of an earlier process that was stopped count no more."""
        rows = [{"run_id": self._run_id, "metric": m, "value": n} for m, n in counts.items()]
        return TABLES[_HEALTH].to_arrow(rows)

    def _changed(self, name: str, rows: pa.Table) -> tuple[pa.Table, dict[tuple[str, ...], bytes]]:
        """Rows that the tables do not hold yet as they are, with their digests by key."""
        table, keep, new = TABLES[name], [], {}
        for i, row in enumerate(rows.to_pylist()):
            key = (name, *(str(row[k]) for k in table.key))
            digest = blake2b(repr(row).encode(), digest_size=16).digest()
            if self._known.get(key) != digest:
                keep.append(i)
                new[key] = digest
        return (rows if len(keep) == rows.num_rows else rows.take(pa.array(keep, pa.int64()))), new

    def _remember(self, digests: Mapping[tuple[str, ...], bytes]) -> None:
        for key, digest in digests.items():
            self._known.pop(key, None)
            self._known[key] = digest
        for key in list(self._known)[: max(0, len(self._known) - _REMEMBERED)]:
            del self._known[key]
