"""Puts what workers have staged into the tables while the run goes on; no Beam here.

The launcher calls `Committer.commit` every few seconds. It takes what is staged by then as a batch,
writes it to every output, tables before alerts, and only then forgets it. An output that cannot be
written just now delays the batch: nothing is lost, and nothing is written twice, because rows are
replaced by key.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.sinks import duckdb_path
from transforms.sinks.duckdb import write_tables
from transforms.sinks.parquet import add_parquet, parquet_folder
from transforms.sinks.spool import Batch, Spool

_WARN_EVERY_S = 60.0
_REMEMBERED = 200_000
# Tables whose rows are made anew, mostly unchanged, whenever anything changes nearby.
_REPEATING = ("session_scores", "flagged_clusters", "cluster_members")
_HEALTH = "run_health"
Row = Mapping[str, Any]


class SentAlerts:
    """Which alerts were sent, kept in a file, so that a restart does not send them again.

    A cluster is told of when it is flagged first, and again when it reaches a severity that it did
    not have before: at most once for each cluster, window and severity.
    """

    def __init__(self, path: Path, run_id: str) -> None:
        self._path = path
        self._run_id = run_id
        self._sent: set[tuple[str, str, str]] = set()
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["run_id"] == run_id:
                self._sent = {(c, w, s) for c, w, s in kept["sent"]}

    def due(self, rows: Iterable[Row]) -> list[Row]:
        """Of each cluster and window the newest row, where its severity is news."""
        newest: dict[tuple[str, str], Row] = {}
        for row in rows:
            name = (str(row["cluster_id"]), _text(row["window_start"]))
            if name not in newest or row["revision"] >= newest[name]["revision"]:
                newest[name] = row
        return [row for row in newest.values() if _alert(row) not in self._sent]

    def note(self, rows: Iterable[Row]) -> None:
        """Remembers that these were sent."""
        self._sent.update(_alert(row) for row in rows)
        partial = self._path.with_suffix(".partial")
        kept = {"run_id": self._run_id, "sent": sorted(self._sent)}
        partial.write_text(json.dumps(kept), encoding="utf-8")
        partial.replace(self._path)


def _text(moment: Any) -> str:
    return moment.isoformat() if isinstance(moment, datetime) else str(moment)


def _alert(row: Row) -> tuple[str, str, str]:
    return str(row["cluster_id"]), _text(row["window_start"]), str(row["severity"])


@dataclass
class Written:
    """What a process has put into the tables so far.

    Attributes:
      health: records by metric, of this process only.
      rows: new and changed rows by table.
      members: accounts of the newest revision of every flagged cluster, by cluster and window.
      newest: latest event time among the rows.
    """

    health: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    members: dict[tuple[str, str], int] = field(default_factory=dict)
    newest: datetime | None = None

    def add(self, tables: Mapping[str, pa.Table]) -> None:
        """Counts a batch."""
        for name, rows in tables.items():
            self.rows[name] += rows.num_rows
        for row in tables["flagged_clusters"].to_pylist():
            self.members[row["cluster_id"], _text(row["window_start"])] = row["account_count"]
        times = [t for t in tables["session_scores"]["session_end"].to_pylist() if t is not None]
        self.newest = max([*times, *([self.newest] if self.newest else [])], default=None)


class Committer:
    """Writes a spool's batches to outputs, inside the spool's lock."""

    def __init__(
        self,
        spool: Spool,
        outputs: Sequence[str],
        run_id: str,
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        spool: to take batches from.
        outputs: URIs of duckdb, parquet and kafka.
        run_id: of the run whose counts are kept.
        warn: says that something must wait; at most once a minute.
        clock: seconds.
        """
        self.written = Written()
        self._spool = spool
        # Tables first: an alert must not speak of what cannot be looked up.
        self._outputs = sorted(outputs, key=lambda uri: uri.startswith("kafka:"))
        self._run_id = run_id
        self._warn = warn
        self._clock = clock
        self._warned = -_WARN_EVERY_S
        self._defined: set[str] = set()
        self._known: dict[tuple[str, ...], bytes] = {}
        self._sent = SentAlerts(spool.folder / "alerts.json", run_id)

    def commit(self) -> bool:
        """Writes what is there; returns whether nothing has to wait."""
        for batch in self._spool.batches():
            try:
                self._write(batch)
            except DistilwatchError as problem:
                if self._clock() - self._warned >= _WARN_EVERY_S:
                    self._warned = self._clock()
                    self._warn(f"results wait in {self._spool.folder}: {problem}")
                return False
            batch.done()
        return True

    def _write(self, batch: Batch) -> None:
        tables = batch.rows()
        digests = {}
        for name in _REPEATING:
            tables[name], new = self._changed(name, tables[name])
            digests.update(new)
        counts = dict(self.written.health)
        if batch.fresh:
            for row in tables[_HEALTH].to_pylist():
                counts[row["metric"]] = max(row["value"], counts.get(row["metric"], 0))
            tables[_HEALTH] = self._health_rows(counts)
        alerts = self._sent.due(tables["flagged_clusters"].to_pylist())
        for uri in self._outputs:
            if uri.startswith("duckdb:"):
                path = duckdb_path(uri)
                whole_run = self._run_id if batch.fresh and counts else None
                define = uri not in self._defined or not path.exists()
                write_tables(path, tables, whole_run, define)
                self._defined.add(uri)
            elif uri.startswith("parquet:"):
                # Counts are one file with all of them, which what was left by a crash has not.
                named = {n: t for n, t in tables.items() if batch.fresh or n != _HEALTH}
                add_parquet(parquet_folder(uri), self._run_id, batch.name, named)
            elif alerts:
                from transforms.sinks.kafka import send_rows

                send_rows(uri, alerts)
        if alerts and any(uri.startswith("kafka:") for uri in self._outputs):
            self._sent.note(alerts)
        self.written.health = counts
        self.written.add(tables)
        self._remember(digests)

    def _health_rows(self, counts: Mapping[str, int]) -> pa.Table:
        """All counts of the run: those of an earlier process that was stopped count no more."""
        rows = [{"run_id": self._run_id, "metric": m, "value": n} for m, n in counts.items()]
        return TABLES[_HEALTH].to_arrow(rows)

    def _changed(self, name: str, rows: pa.Table) -> tuple[pa.Table, dict[tuple[str, ...], bytes]]:
        """Rows that the tables do not hold yet as they are, with their digests by key."""
        table, keep, new = TABLES[name], [], {}
        for i, row in enumerate(rows.to_pylist()):
            key = (name, *(str(row[k]) for k in table.key))
            digest = blake2b(pickle.dumps(row), digest_size=16).digest()
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
