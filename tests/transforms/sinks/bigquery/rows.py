"""Rows to write."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from schemas.tables import TABLES

T0 = 1_780_272_000_000


def session(name: str, revision: int = 1, **columns: Any) -> dict[str, Any]:
    return {
        "session_id": name, "revision": revision, "level": "session_account",
        "key_kind": "account", "key": name, "session_start": T0, "session_end": T0 + revision,
        "pane": "on_time", "request_count": revision, "input_tokens": 0,
        "features": [{"name": "breadth", "value": 0.25, "z": 1.5}], "score": 0.5, "p_value": 0.5,
    } | columns  # fmt: skip


def sessions(count: int, **columns: Any) -> pa.Table:
    return TABLES["session_scores"].to_arrow([session(f"s{i:04}", **columns) for i in range(count)])


def counts(run_id: str = "run-1", **values: int) -> pa.Table:
    rows = [{"run_id": run_id, "metric": m, "value": v} for m, v in values.items()]
    return TABLES["run_health"].to_arrow(rows)


def letter(offset: int) -> pa.Table:
    row = {"source": "a.jsonl", "partition": 0, "offset": offset, "reason": "not_json"}
    return TABLES["dead_letters"].to_arrow([row])
