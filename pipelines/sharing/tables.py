"""What sharing reads from the tables, and writes to them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from pipelines.decisions import cluster_of
from pipelines.tables import columns, connect, rows
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.alerts.decision_store import DispositionStore
from transforms.sharing.indicators import Direction, Indicator, Sighting
from transforms.sinks.duckdb import write_tables

_LOCKED_S = 30.0


class Confirmed(NamedTuple):
    """A cluster that somebody has confirmed.

    Attributes:
      cluster: its newest row.
      evidence: its newest row of `cluster_evidence`.
      accounts: that the evidence is about.
      decided_by: who confirmed it.
    """

    cluster: dict[str, Any]
    evidence: dict[str, Any]
    accounts: list[str]
    decided_by: str


def confirmed(path: Path, cluster_id: str) -> Confirmed:
    """A cluster that may be told of.

    Raises:
      DistilwatchError: it is not confirmed, some of its accounts were taken out, or nothing was
        gathered of it.
    """
    cluster, _ = cluster_of(path, cluster_id)
    name = cluster["cluster_id"]
    decisions = [d for d in DispositionStore(path).current() if d.cluster_id == name]
    confirm = [d for d in decisions if d.decision == "confirm"]
    if not confirm:
        said = ", ".join(d.decision for d in decisions) or "nothing"
        raise DistilwatchError(
            f"nobody has confirmed {name}: what holds of it is {said}",
            str(path),
            f"look at it, then `distilwatch alerts decide {name} --as confirm --why …`",
        )
    if any(d.decision == "split" for d in decisions):
        raise DistilwatchError(
            f"some accounts were taken out of {name}, and what was gathered has them in it",
            str(path),
            "run `distilwatch detect` again, which does not put them together",
        )
    with connect(path) as connection:
        if not _has(connection, "cluster_evidence"):
            found = []
        else:
            found = rows(
                connection,
                f"""SELECT {columns("cluster_evidence")} FROM cluster_evidence
                    WHERE cluster_id = ? ORDER BY window_start DESC, revision DESC LIMIT 1""",
                [name],
            )
        if not found:
            raise DistilwatchError(
                f"nothing was gathered of {name} that others could use",
                str(path),
                "a cluster of one account gives nothing; of others, run `distilwatch detect` again",
            )
        members = connection.execute(
            "SELECT DISTINCT account_id FROM cluster_members "
            "WHERE cluster_id = ? AND revision = ? ORDER BY 1",
            [name, found[0]["revision"]],
        ).fetchall()
    return Confirmed(cluster, found[0], [m[0] for m in members], confirm[-1].decided_by)


def payment_names(path: Path, words: Sequence[str]) -> list[str]:
    """Which of some words are pseudonyms of payment instruments."""
    with connect(path) as connection:
        found = connection.execute(
            "SELECT DISTINCT key FROM session_scores "
            "WHERE key_kind = 'payment' AND list_contains(?, key)",
            [list(words)],
        ).fetchall()
    return [row[0] for row in found]


def read_indicators(path: Path, direction: Direction) -> list[Indicator]:
    """Indicators of the tables, by id."""
    with connect(path) as connection:
        if not _has(connection, "indicators"):
            return []
        there = {row[0] for row in connection.execute("DESCRIBE indicators").fetchall()}
        known = [c for c in TABLES["indicators"].columns if c.name in there]
        select = ", ".join(
            f'epoch_ms("{c.name}") AS "{c.name}"' if c.type == "TIMESTAMP" else f'"{c.name}"'
            for c in known
        )
        found = rows(
            connection,
            f"SELECT {select} FROM indicators WHERE direction = ? ORDER BY indicator_id",
            [direction],
        )
    return [Indicator.from_row(row) for row in found]


def read_sightings(path: Path) -> list[Sighting]:
    """Sightings of the tables, by id."""
    with connect(path) as connection:
        if not _has(connection, "sightings"):
            return []
        select = f"SELECT {columns('sightings')} FROM sightings ORDER BY sighting_id"
        return [Sighting.from_row(row) for row in rows(connection, select)]


def write_indicators(path: Path, indicators: Sequence[Indicator], direction: Direction) -> None:
    """Puts indicators into the tables; waits for half a minute while somebody else writes.

    Raises:
      DistilwatchError: the tables cannot be written.
    """
    table = TABLES["indicators"].to_arrow([one.to_row(direction) for one in indicators])
    deadline = time.monotonic() + _LOCKED_S
    while True:
        try:
            write_tables(path, {"indicators": table})
            return
        except DistilwatchError as error:
            busy = isinstance(error.__cause__, duckdb.IOException | duckdb.ConnectionException)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _has(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    found = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE table_name = ?", [table]
    ).fetchone()
    return bool(found and found[0])
