"""What sharing reads from the tables, and writes to them; in BigQuery: `tables_bigquery`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import duckdb

from pipelines.decisions import DecidedTables, LocalTables
from pipelines.tables import check_tables, columns, connect, rows
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.alerts.dispositions import Disposition
from transforms.sharing.indicators import Direction, Indicator, Sighting
from transforms.sinks import duckdb_path, scheme_of
from transforms.sinks.duckdb import write_tables

_LOCKED_S = 30.0


class SharedTables(Protocol):
    """Tables that campaigns are told from, and that those of others are kept in.

    Attributes:
      place: of the tables, for people.
      decided: their clusters, and what people said of them.
    """

    place: str
    decided: DecidedTables

    def evidence(self, cluster_id: str) -> dict[str, Any] | None:
        """The newest row of `cluster_evidence` of a cluster, times in milliseconds UTC; None where
        nothing was gathered."""

    def members(self, cluster_id: str, window_start_ms: int, revision: int) -> list[str]:
        """Accounts of a revision of a cluster in a window, sorted."""

    def payment_names(self, words: Sequence[str]) -> list[str]:
        """Which of some words are pseudonyms of payment instruments."""

    def account_names(self, words: Sequence[str]) -> list[str]:
        """Which of some words are names of accounts, whatever their case."""

    def has_accounts(self) -> bool:
        """Whether there are accounts to compare words with."""

    def indicators(self, direction: Direction) -> list[Indicator]:
        """Indicators by id; none where there is no such table."""

    def sightings(self) -> list[Sighting]:
        """Sightings by id; none where there is no such table."""

    def write(self, indicators: Sequence[Indicator], direction: Direction) -> None:
        """Puts indicators into the tables, where those of the same id are replaced.

        Raises:
          DistilwatchError: the tables cannot be written.
        """


def tables_at(output: str, folder_will_do: bool = False, new_will_do: bool = False) -> SharedTables:
    """The tables of an output.

    Args:
      output: duckdb:///file or bigquery://project/dataset.
      folder_will_do: also parquet:///folder, of which only what `detect` wrote can be read.
      new_will_do: also a duckdb:///file that is not there yet, which is made, without rows.

    Raises:
      DistilwatchError: it holds none, or keeps no decisions.
    """
    if scheme_of(output) == "bigquery":
        from pipelines.sharing.tables_bigquery import BigQueryShared

        return BigQueryShared(output)
    if new_will_do and scheme_of(output) == "duckdb" and not duckdb_path(output).exists():
        write_tables(duckdb_path(output), {})
    path = check_tables(output)
    if path.is_dir() and not folder_will_do:
        raise DistilwatchError(
            "a folder of Parquet files keeps neither decisions nor what others tell",
            f"--output {output}",
            "give the duckdb:/// or bigquery:// output of the same run",
        )
    return LocalShared(path)


def tables_if_there(output: str) -> SharedTables | None:
    """As `tables_at`; None where somebody has removed them since.

    Raises:
      DistilwatchError: they cannot be read.
    """
    if scheme_of(output) != "bigquery":
        path = duckdb_path(output)
        return LocalShared(path) if path.exists() else None
    from google.api_core.exceptions import NotFound

    try:
        return tables_at(output)
    except DistilwatchError as refused:
        if isinstance(refused.__cause__, NotFound):
            return None
        raise


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


def confirmed(tables: SharedTables, cluster_id: str) -> Confirmed:
    """A cluster that may be told of.

    Raises:
      DistilwatchError: it is not confirmed, some of its accounts were taken out, or nothing was
        gathered of it.
    """
    cluster, _ = tables.decided.cluster_of(cluster_id)
    name = cluster["cluster_id"]
    decisions, decided_by = _confirmation(tables, name)
    evidence = tables.evidence(name)
    if evidence is None:
        raise DistilwatchError(
            f"nothing was gathered of {name} that others could use",
            tables.place,
            "a cluster of one account gives nothing; of others, run `distilwatch detect` again",
        )
    accounts = tables.members(name, evidence["window_start"], evidence["revision"])
    if not _taken_out(decisions).isdisjoint(accounts):
        raise DistilwatchError(
            f"some accounts were taken out of {name}, and what was gathered has them in it",
            tables.place,
            "run `distilwatch detect` again over the same requests and into the same tables; it "
            "does not put them together",
        )
    return Confirmed(cluster, evidence, accounts, decided_by)


def accounts_now(tables: SharedTables, cluster_id: str, suspects: bool = False) -> list[str]:
    """Accounts of the newest revision of a cluster that nobody has taken out of it, sorted.

    Args:
      tables: in which it is.
      cluster_id: or its first letters.
      suspects: also of a cluster that nobody has confirmed.

    Raises:
      DistilwatchError: there is no such cluster, or it is not confirmed and has to be.
    """
    cluster, accounts = tables.decided.cluster_of(cluster_id)
    name = cluster["cluster_id"]
    decisions = _decisions(tables, name) if suspects else _confirmation(tables, name)[0]
    return sorted(set(accounts) - _taken_out(decisions))


def _decisions(tables: SharedTables, name: str) -> list[Disposition]:
    """What holds of a cluster."""
    return [d for d in tables.decided.decisions.current() if d.cluster_id == name]


def _confirmation(tables: SharedTables, name: str) -> tuple[list[Disposition], str]:
    """What holds of a cluster, and who has confirmed it.

    Raises:
      DistilwatchError: nobody has.
    """
    decisions = _decisions(tables, name)
    confirm = [d for d in decisions if d.decision == "confirm"]
    if not confirm:
        said = ", ".join(d.decision for d in decisions) or "nothing"
        raise DistilwatchError(
            f"nobody has confirmed {name}: what holds of it is {said}",
            tables.place,
            f"look at it, then `distilwatch alerts decide {name} --as confirm --why …`",
        )
    return decisions, confirm[-1].decided_by


def _taken_out(decisions: Sequence[Disposition]) -> set[str]:
    return {a for d in decisions if d.decision == "split" for a in d.split_accounts}


class LocalShared:
    """A DuckDB file; see `SharedTables`."""

    def __init__(self, path: Path) -> None:
        self.place = str(path)
        self.decided: DecidedTables = LocalTables(path)
        self._path = path

    def evidence(self, cluster_id: str) -> dict[str, Any] | None:
        with connect(self._path) as connection:
            if not _has(connection, "cluster_evidence"):
                return None
            found = rows(
                connection,
                f"""SELECT {columns("cluster_evidence")} FROM cluster_evidence
                    WHERE cluster_id = ? ORDER BY window_start DESC, revision DESC LIMIT 1""",
                [cluster_id],
            )
        return found[0] if found else None

    def members(self, cluster_id: str, window_start_ms: int, revision: int) -> list[str]:
        with connect(self._path) as connection:
            found = connection.execute(
                "SELECT DISTINCT account_id FROM cluster_members "
                "WHERE cluster_id = ? AND revision = ? "
                "AND (window_start IS NULL OR epoch_ms(window_start) = ?) ORDER BY 1",
                [cluster_id, revision, window_start_ms],
            ).fetchall()
        return [row[0] for row in found]

    def payment_names(self, words: Sequence[str]) -> list[str]:
        return self._keys("payment", words)

    def account_names(self, words: Sequence[str]) -> list[str]:
        return self._keys("account", words)

    def _keys(self, kind: str, words: Sequence[str]) -> list[str]:
        with connect(self._path) as connection:
            found = connection.execute(
                "SELECT DISTINCT key FROM session_scores "
                "WHERE key_kind = ? AND (list_contains(?, key) OR list_contains(?, lower(key)))",
                [kind, list(words), list(words)],
            ).fetchall()
        return [row[0] for row in found]

    def has_accounts(self) -> bool:
        with connect(self._path) as connection:
            some = "SELECT 1 FROM session_scores WHERE key_kind = 'account' LIMIT 1"
            return connection.execute(some).fetchone() is not None

    def indicators(self, direction: Direction) -> list[Indicator]:
        with connect(self._path) as connection:
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

    def sightings(self) -> list[Sighting]:
        with connect(self._path) as connection:
            if not _has(connection, "sightings"):
                return []
            select = f"SELECT {columns('sightings')} FROM sightings ORDER BY sighting_id"
            return [Sighting.from_row(row) for row in rows(connection, select)]

    def write(self, indicators: Sequence[Indicator], direction: Direction) -> None:
        """See `SharedTables`; waits for half a minute while somebody else writes."""
        table = TABLES["indicators"].to_arrow([one.to_row(direction) for one in indicators])
        deadline = time.monotonic() + _LOCKED_S
        while True:
            try:
                write_tables(self._path, {"indicators": table})
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
