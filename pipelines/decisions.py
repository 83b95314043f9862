"""Decisions of staff by command: on a cluster of the tables, into the tables."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol

from pipelines.durations import parse_duration
from pipelines.tables import check_tables, columns, connect, rows
from pipelines.user import user_here
from schemas.errors import DistilwatchError
from transforms.alerts.decision_store import Decisions, DispositionStore
from transforms.alerts.dispositions import HOLDS_DAYS, WITHDRAW, Disposition, decide
from transforms.sinks import scheme_of

DAY_MS = 86_400_000
_LAST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z


def decide_cluster(
    output: str,
    cluster_id: str,
    decision: str,
    why: str,
    until: str | None = None,
    by: str | None = None,
    split_accounts: Sequence[str] = (),
    merge_with: Sequence[str] = (),
    source: str = "command",
) -> Disposition:
    """Decides about a cluster of the tables.

    Args:
      output: duckdb:///file, or bigquery://project/dataset.
      cluster_id: or its first letters.
      decision: see `transforms.alerts.dispositions.DECISIONS`.
      until: a day, a time, or a span from now; None: 90 days to dismiss, 14 to watch, for ever
        otherwise.
      by: who; None: the user of this machine.
      split_accounts, merge_with: of a split, of a merge.

    Raises:
      DistilwatchError: there is no such cluster, or the decision makes no sense.
    """
    tables, at_ms = tables_of(output), int(time.time() * 1000)
    cluster, accounts = tables.cluster_of(cluster_id)
    merged = [tables.cluster_of(other) for other in merge_with]
    until_ms = None if until is None else until_of(until, at_ms)
    if until_ms is None and decision in HOLDS_DAYS:
        until_ms = at_ms + HOLDS_DAYS[decision] * DAY_MS
    made = decide(
        cluster, accounts, decision, by=by or user_here(), why=why, at_ms=at_ms,
        until_ms=until_ms, split_accounts=split_accounts,
        merge_with=[row["cluster_id"] for row, _ in merged], source=source, merged=merged,
    )  # fmt: skip
    return tables.decisions.append(made)[0]


def undo_decision(
    output: str, disposition_id: str, why: str, by: str | None = None, source: str = "command"
) -> Disposition:
    """Takes a decision back; the first letters of its name are enough where they fit one.

    Raises:
      DistilwatchError: there is none, or it is taken back already.
    """
    store = tables_of(output).decisions
    near = {r.disposition_id for r in store.rows() if r.disposition_id.startswith(disposition_id)}
    full = near.pop() if len(near) == 1 and disposition_id else disposition_id
    return store.withdraw(full, by or user_here(), why, source)


def decisions_on(output: str, cluster_id: str) -> list[Disposition]:
    """What was decided about a cluster, oldest first."""
    tables = tables_of(output)
    return tables.decisions.history(tables.cluster_of(cluster_id)[0]["cluster_id"])


def decisions_in(output: str) -> list[Disposition]:
    """All decisions of the tables that hold now."""
    return tables_of(output).decisions.current()


class DecidedTables(Protocol):
    """Tables in which clusters are looked up and decided about.

    Attributes:
      decisions: their table `dispositions`.
    """

    decisions: Decisions

    def cluster_of(self, cluster_id: str) -> tuple[dict[str, Any], list[str]]:
        """The newest row of a cluster, and its accounts.

        Args:
          cluster_id: or its first letters.

        Raises:
          DistilwatchError: no cluster, or more than one, begins like that.
        """


def tables_of(output: str) -> DecidedTables:
    """The tables of an output.

    Raises:
      DistilwatchError: it holds none, or cannot keep decisions.
    """
    if scheme_of(output) == "bigquery":
        from pipelines.decisions_bigquery import BigQueryTables

        return BigQueryTables(output)
    path = check_tables(output)
    if path.is_dir():
        raise DistilwatchError(
            "a folder of Parquet files keeps no decisions",
            f"--output {output}",
            "give the duckdb:/// or bigquery:// output of the same run",
        )
    return LocalTables(path)


class LocalTables:
    """A DuckDB file; see `DecidedTables`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.decisions: Decisions = DispositionStore(path)

    def cluster_of(self, cluster_id: str) -> tuple[dict[str, Any], list[str]]:
        return cluster_of(self._path, cluster_id)


def the_one(found: list[dict[str, Any]], cluster_id: str, place: str) -> dict[str, Any]:
    """The one row of those that begin like that; see `DecidedTables.cluster_of`."""
    exact = [row for row in found if row["cluster_id"] == cluster_id] or found
    if len(exact) != 1 or not cluster_id:  # a variable of a script may be empty
        raise DistilwatchError(
            f"{len(found)} clusters begin with {cluster_id!r}",
            place,
            "give the whole id" if found else "`distilwatch explain` lists them",
        )
    return exact[0]


def cluster_of(path: Path, cluster_id: str) -> tuple[dict[str, Any], list[str]]:
    """The newest row of a cluster, and its accounts; see `DecidedTables`."""
    with connect(path) as connection:
        found = rows(
            connection,
            f"""SELECT {columns("flagged_clusters")} FROM flagged_clusters
                WHERE starts_with(cluster_id, ?)
                QUALIFY row_number() OVER (
                    PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1""",
            (cluster_id,),
        )
        cluster = the_one(found, cluster_id, str(path))
        members = rows(
            connection,
            """SELECT account_id FROM cluster_members WHERE cluster_id = ?
               AND (window_start IS NULL OR epoch_ms(window_start) = ?)
               QUALIFY rank() OVER (ORDER BY revision DESC) = 1 ORDER BY account_id""",
            (cluster["cluster_id"], cluster["window_start"]),
        )
    return cluster, [member["account_id"] for member in members]


def until_of(text: str, now_ms: int) -> int:
    """Milliseconds UTC of the end of a day, of a time, or of a span from now.

    Raises:
      DistilwatchError: it is none.
    """
    try:
        return end_of_day(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now_ms + parse_duration(text)
        except ValueError:
            raise DistilwatchError(
                f"{text!r} is no time", "--until", "write 2026-12-31, or '30 d' from now"
            ) from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def end_of_day(text: str) -> int:
    """Milliseconds UTC of the end of a day as of ISO 8601; that of 9999-12-31, which people write
    for "for ever", is the last moment that tables and Python's calendar have.

    Raises:
      ValueError: it is none.
    """
    start = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    return min(round(start.timestamp() * 1000) + DAY_MS, _LAST_MS)


def told(row: Disposition) -> str:
    """A decision in a line."""
    until = "" if row.valid_until is None else f" until {_time(row.valid_until)}"
    more = f", {len(row.split_accounts)} accounts" if row.split_accounts else ""
    more += f" with {', '.join(row.merged_clusters)}" if row.merged_clusters else ""
    what = "taken back" if row.decision == WITHDRAW else f"{row.decision}{more}{until}"
    return (
        f"{_time(row.decided_at)}  {row.cluster_id}: {what}, by {row.decided_by}: {row.reason} "
        f"({row.disposition_id})"
    )


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
