"""Sessions of accounts from rows of `session_scores`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipelines.report.story import Session


def sessions_in(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Session, ...]]:
    """Sessions by account, in order of time, at their newest revision, without those that a late
    event has joined to a newer one."""
    newest: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        known = newest.get(row["session_id"])
        if known is None or row["revision"] > known["revision"]:
            newest[row["session_id"]] = row
    by_key: dict[str, list[Mapping[str, Any]]] = {}
    # What joined a session began no later, ended no earlier, and is newer: it comes before it.
    for row in sorted(
        newest.values(), key=lambda r: (r["session_start"], -r["session_end"], -r["revision"])
    ):
        by_key.setdefault(row["key"], []).append(row)
    return {
        key: tuple(
            Session(
                r["session_start"],
                r["session_end"],
                r["request_count"] or 0,
                r["output_tokens"] or 0,
            )
            for r in _standing(own)
        )
        for key, own in sorted(by_key.items())
    }


def _standing(rows: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    under_way: list[Mapping[str, Any]] = []
    for row in rows:
        under_way = [o for o in under_way if o["session_end"] >= row["session_start"]]
        if not any(
            o["revision"] > row["revision"] and o["session_end"] >= row["session_end"]
            for o in under_way
        ):
            yield row
        under_way.append(row)
