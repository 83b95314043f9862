"""Puts what workers have staged into the tables while the run goes on; no Beam here.

The launcher calls `Committer.commit` every few seconds. It takes what is staged by then as a batch,
writes it to every output, tables before alerts, and only then forgets it. An output that cannot be
written just now delays the batch: nothing is lost, and nothing is written twice, because rows are
replaced by key.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import duckdb
import pyarrow as pa

from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.sinks import duckdb_path, scheme_of
from transforms.sinks.delivery import Delivery
from transforms.sinks.duckdb import write_tables
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
RESOLVED = "resolved"
# Tables whose rows are made anew, mostly unchanged, whenever anything changes nearby.
_REPEATING = ("session_scores", _CLUSTERS, _MEMBERS, _EVIDENCE, "sightings")
Row = Mapping[str, Any]
_NOTHING: Mapping[int, Mapping[str, int]] = {}


class KnownClusters:
    """What has been said of clusters, kept in a file, so that a restart goes on from there, also
    one with other settings, bundles or watch lists, which is another run. What was said to other
    outputs is nothing to these.

    An alert is sent when a cluster is flagged first, and again when it reaches a severity that it
    did not have before: at most once for each cluster, window and severity. A cluster that was
    flagged and is so no more gets one row more, which says resolved.

    Rows come in any order, also in one batch after the other: what takes a cluster back goes
    another way through the pipeline than the cluster does. The largest revision counts.
    """

    def __init__(
        self,
        path: Path,
        earlier: Mapping[int, Mapping[str, int]] = _NOTHING,
        outputs: Sequence[str] = (),
    ) -> None:
        """Args:
        path: of the file.
        earlier: start of a window, milliseconds UTC, to the newest revision of each cluster that
          the outputs have as open, for where the file is gone, or others wrote to them since.
        outputs: URIs that are written to.
        """
        self._path = path
        self._outputs = {blake2b(uri.encode(), digest_size=8).hexdigest() for uri in outputs}
        topics = [uri for uri in outputs if uri.startswith("kafka:")]
        of_topics = {blake2b(uri.encode(), digest_size=8).hexdigest() for uri in topics}
        self._sent: set[tuple[str, ...]] = set()
        # Newest revision in the tables, and whether it is flagged, of all that were flagged once.
        self._said: dict[tuple[str, ...], tuple[int, bool]] = {}
        # Newest revision that says resolved and was not worth saying; flagged rows that are older
        # come too late. Of this process only: the rows of all accounts are among them.
        self._unsaid: dict[tuple[str, ...], int] = {}
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            known = set(kept.get("outputs", self._outputs))  # an older version did not say
            if of_topics <= known:
                self._sent = {tuple(alert) for alert in kept["sent"]}
            if self._outputs - of_topics <= known:
                for key in kept.get("open", ()):  # of an older version
                    self._said[tuple(key)] = 0, True
                for *key, revision, flagged in kept.get("said", ()):
                    self._said[tuple(key)] = revision, flagged
                # A backfill writes to no topics; what they were sent stays known.
                self._outputs |= known
        for start_ms, clusters in earlier.items():
            start = datetime.fromtimestamp(start_ms / 1000, UTC).isoformat()
            for name, revision in clusters.items():
                if revision > self._said.get((name, start), (-1, False))[0]:
                    self._said[name, start] = revision, True

    def worth_saying(self, rows: Iterable[Row]) -> list[bool]:
        """Of each row whether it is flagged, or takes back what was flagged before.

        In a stream there is a row of every cluster and account that was judged; nobody asked for
        those that were never flagged.
        """
        numbered = sorted(enumerate(rows), key=lambda pair: int(pair[1]["revision"]))
        said, found = dict[tuple[str, ...], tuple[int, bool]](), [False] * len(numbered)
        for i, row in numbered:
            key: tuple[str, ...] = _cluster(row)
            revision = int(row["revision"])
            before = said.get(key) or self._said.get(key, (0, False))
            if row["status"] != RESOLVED:
                found[i] = revision >= self._unsaid.get(key, 0)
            else:
                found[i] = before[1]
                if not found[i]:
                    self._unsaid[key] = max(revision, self._unsaid.pop(key, 0))
            if found[i]:
                said[key] = _newer(before, row)
        for key in list(self._unsaid)[: max(0, len(self._unsaid) - _REMEMBERED)]:
            del self._unsaid[key]
        return found

    def flagged(self) -> set[str]:
        """Ids of clusters that are flagged by now."""
        return {name for (name, _), (_, flagged) in self._said.items() if flagged}

    def is_flagged(self, name: str, window_start: Any) -> bool:
        """Whether a cluster is flagged by now in a window; None: in any, of an older version."""
        if window_start is None:
            return name in self.flagged()
        return self._said.get((name, _text(window_start)), (0, False))[1]

    def flagged_windows(self) -> list[tuple[int, str]]:
        """Begin of the window, milliseconds UTC, and id of clusters that are flagged by now."""
        return sorted(
            (_milliseconds(start), name)
            for (name, start), (_, flagged) in self._said.items()
            if flagged
        )

    def due(self, rows: Iterable[Row]) -> list[Row]:
        """Of each cluster and window the newest row, where it is flagged and its severity news."""
        newest = {_cluster(row): row for row in _by_revision(rows)}
        return [
            row
            for key, row in newest.items()
            if row["status"] != RESOLVED
            and int(row["revision"]) >= self._said.get(key, (0, False))[0]
            and _alert(row) not in self._sent
        ]

    def note(self, rows: Sequence[Row], sent: Sequence[Row]) -> None:
        """Remembers rows that are in the tables, and alerts that were sent."""
        if not rows and not sent:
            return
        for row in _by_revision(rows):
            before = self._said.get(_cluster(row), (0, False))
            self._said[_cluster(row)] = _newer(before, row)
        self._sent.update(_alert(row) for row in sent)
        said = sorted((*key, *newest) for key, newest in self._said.items())
        kept = {"outputs": sorted(self._outputs), "sent": sorted(self._sent), "said": said}
        _replace(self._path, kept)


def _newer(before: tuple[int, bool], row: Row) -> tuple[int, bool]:
    revision = int(row["revision"])
    return before if revision < before[0] else (revision, row["status"] != RESOLVED)


def _replace(path: Path, kept: Mapping[str, Any]) -> None:
    """Writes a file that is there whole or as it was."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(kept), encoding="utf-8")
    partial.replace(path)


def _by_revision(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: int(row["revision"]))


def _text(moment: Any) -> str:
    return moment.isoformat() if isinstance(moment, datetime) else str(moment)


def _milliseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _cluster(row: Row) -> tuple[str, str]:
    return str(row["cluster_id"]), _text(row["window_start"])


def _alert(row: Row) -> tuple[str, str, str]:
    return *_cluster(row), str(row["severity"])


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
        for row in _by_revision(clusters):
            key, revision = _cluster(row), int(row["revision"])
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
        earlier: Mapping[int, Mapping[str, int]] = _NOTHING,
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
            _replace(self._counts, {"run_id": self._run_id, "counts": counts})
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
