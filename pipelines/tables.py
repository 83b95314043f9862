"""Reads what `detect` wrote to DuckDB."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb

from pipelines.judge import Account, Alert
from pipelines.labels import Label, read_labels
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.sinks import duckdb_path
from transforms.sinks.duckdb_refusal import why_not

NEEDED = ("session_scores", "flagged_clusters", "cluster_members", "run_health")

# The newest revision of each profile: one row per account and window.
PROFILES = """
    SELECT * FROM session_scores WHERE level = 'profile'
    QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1"""


def check_tables(uri: str) -> Path:
    """The DuckDB file of a URI, after looking whether it holds what `detect` writes.

    Raises:
      DistilwatchError: when it does not.
    """
    scheme = urlsplit(uri).scheme
    if scheme != "duckdb":
        near = difflib.get_close_matches(scheme, ("duckdb",), n=1)
        raise DistilwatchError(
            f"tables cannot be read from {scheme + '://' if scheme else 'a plain path'}",
            f"--output {uri}",
            "did you mean duckdb:///?" if near else f"give duckdb:///{'' if scheme else uri}",
        )
    path = duckdb_path(uri)
    if not path.is_file():
        raise DistilwatchError(
            "there is no such file",
            f"--output {uri}",
            f"`distilwatch detect … --output {uri}` writes it; one slash more makes the path "
            "absolute",
        )
    with connect(path):
        return path


@contextmanager
def connect(path: Path, needed: Sequence[str] = NEEDED) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens tables for reading.

    Args:
      path: of the database.
      needed: tables that must be there.

    Raises:
      DistilwatchError: when the file is no database of ours, or is locked.
    """
    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        refused = why_not(error)
        raise DistilwatchError(
            f"the tables cannot be read: {refused.what}", str(path), refused.mend
        ) from error
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
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


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
                "ORDER BY account_id",
                (cluster["cluster_id"], cluster["revision"]),
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
