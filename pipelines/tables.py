"""Reads what `detect` wrote to DuckDB or Parquet."""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from pipelines.judge import Account, Alert
from pipelines.labels import Label, read_labels
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.sinks import duckdb_path, scheme_of
from transforms.sinks.duckdb_gate import connect_to_read
from transforms.sinks.duckdb_refusal import why_not
from transforms.sinks.parquet_views import has_tables, make_views

NEEDED = ("session_scores", "flagged_clusters", "cluster_members", "run_health")

# The newest revision of each profile: one row per account and window.
PROFILES = """
    SELECT * FROM session_scores WHERE level = 'profile'
    QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1"""


_PATIENCE_S = 10.0  # a run that goes on has its database open for a moment, now and then


def check_tables(uri: str) -> Path:
    """The DuckDB file or Parquet folder of a URI, after looking whether it holds what `detect`
    writes.

    Raises:
      DistilwatchError: when it does not.
    """
    scheme = scheme_of(uri)
    if scheme == "bigquery":
        raise DistilwatchError(
            "this command reads DuckDB and Parquet, not BigQuery",
            f"--output {uri}",
            f"copy what it needs: distilwatch tables fetch --output '{uri}' --into copy.duckdb; "
            "docs/bigquery.md lists the commands that work in BigQuery itself",
        )
    if scheme not in ("duckdb", "parquet"):
        near = difflib.get_close_matches(scheme, ("duckdb", "parquet"), n=1)
        raise DistilwatchError(
            f"tables cannot be read from {scheme + '://' if scheme else 'a plain path'}",
            f"--output {uri}",
            f"did you mean {near[0]}:///?"
            if near
            else f"give duckdb:///{'' if scheme else uri}, or parquet:///folder",
        )
    path = duckdb_path(uri)  # a folder is written in the same way
    if not (path.is_file() if scheme == "duckdb" else path.is_dir()):
        raise DistilwatchError(
            f"there is no such {'file' if scheme == 'duckdb' else 'folder'}",
            f"--output {uri}",
            f"`distilwatch detect … --output {uri}` writes it; one slash more makes the path "
            "absolute",
        )
    with connect(path):
        return path


@contextmanager
def connect(path: Path, needed: Sequence[str] = NEEDED) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens tables for reading, after looking whether all are there.

    Args:
      path: DuckDB file, or folder of Parquet tables.
      needed: tables that must be there, of a file.

    Raises:
      DistilwatchError: when it holds no tables of ours, or is locked for longer than a run that
        writes there has it open.
    """
    connection = _open_folder(path) if path.is_dir() else _open_file(path, needed)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


@contextmanager
def open_tables(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens tables for reading, whatever is there; see `connect`."""
    connection = _open_folder(path) if path.is_dir() else _when_free(path)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


def _open_folder(folder: Path) -> duckdb.DuckDBPyConnection:
    if not has_tables(folder):
        raise DistilwatchError(
            "there are no tables", str(folder), "give the folder that `distilwatch detect` wrote"
        )
    connection = duckdb.connect()
    try:
        make_views(connection, folder.absolute())
    except duckdb.Error as error:
        connection.close()
        raise _unreadable(folder, error) from error
    return connection


def _open_file(path: Path, needed: Sequence[str]) -> duckdb.DuckDBPyConnection:
    connection = _when_free(path)
    try:
        there = {
            row[0]
            for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        }
        missing = [name for name in needed if name not in there]
        if missing:
            raise DistilwatchError(
                f"there is no table {', '.join(missing)}",
                str(path),
                "give the file that `distilwatch detect` wrote; one of an older version gets "
                "what is missing when it writes there once",
            )
        _check_columns(connection, path, needed)
    except BaseException:
        connection.close()
        raise
    return connection


def _when_free(path: Path) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return connect_to_read(path)
        except duckdb.Error as error:
            if not why_not(error).locked or time.monotonic() >= deadline:
                raise _unreadable(path, error) from error
            time.sleep(0.05)


def _unreadable(path: Path, error: duckdb.Error) -> DistilwatchError:
    refused = why_not(error)
    return DistilwatchError(f"the tables cannot be read: {refused.what}", str(path), refused.mend)


def rows(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] = ()
) -> list[dict[str, Any]]:
    """Result rows by column name; times are milliseconds UTC, as they are where rows are made."""
    result = connection.execute(query, list(parameters))
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _check_columns(
    connection: duckdb.DuckDBPyConnection, path: Path, needed: Sequence[str]
) -> None:
    for name in needed:
        there = {row[0] for row in connection.execute(f'DESCRIBE "{name}"').fetchall()}
        missing = [c.name for c in TABLES[name].columns if c.name not in there]
        if missing:
            raise DistilwatchError(
                f"the table {name} is of an older version, without {', '.join(missing)}",
                str(path),
                "let `distilwatch detect` write to it once, which adds them",
            )


def columns(table: str, prefix: str = "") -> str:
    """The columns of a table for a SELECT, times as milliseconds."""
    return ", ".join(
        f'epoch_ms({prefix}"{c.name}") AS "{c.name}"'
        if c.type == "TIMESTAMP"
        else f'{prefix}"{c.name}"'
        for c in TABLES[table].columns
    )


def current_clusters(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Newest revision of every cluster that is flagged and was not dismissed, with `first_alert`
    of its first revision."""
    return rows(
        connection,
        f"""SELECT * FROM (SELECT {columns("flagged_clusters")},
              min(epoch_ms(first_alert)) OVER (PARTITION BY cluster_id) AS alerted
            FROM flagged_clusters WHERE status IS DISTINCT FROM 'dismissed'
            QUALIFY row_number() OVER (
              PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1)
            WHERE status IS DISTINCT FROM 'resolved'""",
    )


def read_accounts(
    duckdb_file: Path, labels: Path
) -> tuple[list[Account], list[Alert], dict[str, int]]:
    """Joins tables and labels for `pipelines.judge.judge`.

    Accounts that are labelled for the history only are left out; one that was never scored ranks
    last.

    Returns:
      Accounts; flagged clusters; first request of each scored account in milliseconds UTC.

    Raises:
      DistilwatchError: when tables or labels cannot be read, or have no account in common.
    """
    truth = {a: label for a, label in read_labels(labels).items() if label.split != "history"}
    with connect(duckdb_file) as connection:
        profiles = rows(
            connection,
            f"""SELECT key, min(coalesce(combined_p_value, p_value)) AS combined,
                  arg_max(p_value, request_count) AS own, max(score) AS score,
                  arg_max(peer_group, request_count) AS peer_group,
                  sum(request_count)::BIGINT AS requests,
                  min(epoch_ms(session_start)) AS first_ms
                FROM ({PROFILES}) GROUP BY key""",
        )
        alerts = []
        for cluster in current_clusters(connection):
            members = rows(
                connection,
                "SELECT account_id FROM cluster_members WHERE cluster_id = ? AND revision = ? "
                "AND (window_start IS NULL OR epoch_ms(window_start) = ?) ORDER BY account_id",
                (cluster["cluster_id"], cluster["revision"], cluster["window_start"]),
            )
            accounts = tuple(m["account_id"] for m in members)
            alerted, p_value = cluster["alerted"] or 0, float(cluster["p_value"])
            alerts.append(Alert(cluster["cluster_id"], accounts, alerted, p_value))
    scored = {row["key"]: row for row in profiles}
    if not scored.keys() & truth.keys():
        raise DistilwatchError(
            f"none of the {len(truth):,} labelled accounts is among the {len(scored):,} scored",
            f"--labels {labels}",
            "give the labels of the events that were scored",
        )
    flagged = {account for alert in alerts for account in alert.accounts}
    accounts_ = [
        _account(label, scored.get(name), name in flagged) for name, label in truth.items()
    ]
    return accounts_, alerts, {name: row["first_ms"] for name, row in scored.items()}


def _account(label: Label, row: dict[str, Any] | None, flagged: bool) -> Account:
    def known(name: str, otherwise: float) -> float:
        value = row.get(name) if row is not None else None
        return otherwise if value is None else float(value)

    return Account(
        label.account,
        label.attack,
        label.kind,
        label.campaign,
        known("combined", 1.0),
        known("score", -math.inf),
        known("own", math.nan),
        int(known("requests", 0)),
        flagged,
        (row or {}).get("peer_group") or "",
    )
