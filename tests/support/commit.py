"""A spool beside a database, committers on them, and rows to stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from transforms.sinks.commit import Committer, OnCall
from transforms.sinks.spool import Spool, spool_folder
from transforms.sinks.staging import _StageFn

T0 = 1_780_272_000_000
Row = dict[str, Any]


def session(name: str, revision: int, pane: str = "early", **columns: Any) -> Row:
    return {
        "session_id": name, "revision": revision, "level": "session_account",
        "key_kind": "account", "key": name, "session_start": T0, "session_end": T0 + revision,
        "pane": pane, "request_count": revision, "input_tokens": 0, "output_tokens": 0,
        "features": [], "score": 0.5, "p_value": 0.5,
    } | columns  # fmt: skip


def cluster(name: str, revision: int, severity: str = "low") -> Row:
    return {
        "cluster_id": name, "revision": revision, "window_start": T0, "window_end": T0 + 1,
        "status": "open", "severity": severity, "score": 1.0, "p_value": 0.001, "first_seen": T0,
        "last_seen": T0, "account_count": 3, "request_count": revision, "reasons": [],
        "tactics": [],
    }  # fmt: skip


def count(metric: str, value: int, run_id: str = "run-1") -> Row:
    return {"run_id": run_id, "metric": metric, "value": value}


def stage(spool: Spool, table: str, *rows: Row) -> None:
    """Stages rows as a worker does."""
    worker = _StageFn(table, spool.staging)
    worker.start_bundle()
    for row in rows:
        list(worker.process(row))
    worker.finish_bundle()


class Place:
    """A spool beside a database, and committers on them."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "out.duckdb"
        self.parquet = folder / "tables"
        self.outputs = [f"duckdb:///{self.database}", f"parquet:///{self.parquet}"]
        self.warnings: list[str] = []
        self.now = 0.0
        self.spool = self.new_spool()

    def new_spool(self) -> Spool:
        return Spool(spool_folder(self.outputs, None, "run-1"))

    def committer(self, *more: str, on_call: OnCall | None = None) -> Committer:
        return Committer(
            self.spool, [*more, *self.outputs], "run-1", self.warnings.append, lambda: self.now,
            on_call=on_call,
        )  # fmt: skip

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.database), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def files(self, table: str) -> list[Path]:
        return sorted((self.parquet / table).rglob("*.parquet"))
