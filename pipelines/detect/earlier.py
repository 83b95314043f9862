"""What earlier runs called the accounts' clusters, and what staff took out of these, from the
outputs of a run that is to begin."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from pipelines.decisions import tables_of
from schemas.errors import DistilwatchError
from transforms.alerts.decision_store import DispositionStore
from transforms.alerts.dispositions import WITHDRAW, Disposition
from transforms.clusters.cannot_link import CannotLink
from transforms.clusters.membership import KnownIds
from transforms.sinks import duckdb_path
from transforms.sinks.duckdb import opened
from transforms.sinks.duckdb_refusal import why_not
from transforms.sinks.parquet import parquet_folder
from transforms.sinks.parquet_views import has_tables, make_views

_PATIENCE_S = 10.0  # a live job has the file open for a moment, now and then
_NEEDED = ("session_scores", "flagged_clusters", "cluster_members")
# What is asked for below, of a table that is far away.
_COLUMNS = {
    "session_scores": (
        ("session_id", "revision", "level", "window_start", "key", "cluster_id", "request_count"),
        "level = 'profile' AND window_start IS NOT NULL",
    ),
    "flagged_clusters": (
        ("cluster_id", "window_start", "revision", "status", "account_count"),
        "TRUE",
    ),
    "cluster_members": (("cluster_id", "revision", "account_id", "window_start"), "TRUE"),
}
_OPEN = """
    WITH newest AS (
        SELECT * FROM flagged_clusters
        QUALIFY row_number() OVER (
            PARTITION BY cluster_id, window_start ORDER BY revision DESC) = 1)
    SELECT epoch_ms(window_start), cluster_id, revision, account_count FROM newest
    WHERE status <> 'resolved' ORDER BY ALL"""
_PROFILES = """
    WITH newest AS (
        SELECT * FROM session_scores WHERE level = 'profile' AND window_start IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1)
    SELECT epoch_ms(window_start), key, cluster_id FROM newest
    WHERE cluster_id IS NOT NULL ORDER BY ALL"""
_REQUESTS = """
    WITH newest AS (
        SELECT * FROM session_scores WHERE level = 'profile' AND window_start IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1)
    SELECT epoch_ms(window_start), sum(request_count)::BIGINT FROM newest GROUP BY ALL"""
_ALONE = """
    WITH newest AS (
        SELECT * FROM flagged_clusters
        QUALIFY row_number() OVER (
            PARTITION BY cluster_id, window_start ORDER BY revision DESC) = 1)
    SELECT epoch_ms(c.window_start), m.account_id, m.cluster_id
    FROM newest c JOIN cluster_members m ON m.cluster_id = c.cluster_id
      AND m.revision = c.revision AND (m.window_start IS NULL OR m.window_start = c.window_start)
    WHERE c.status <> 'resolved' AND c.account_count = 1 ORDER BY ALL"""


def known_ids(outputs: Sequence[str]) -> KnownIds:
    """Names of clusters in the first output that has any.

    Args:
      outputs: URIs; those that are not there yet, and topics, tell nothing.

    Raises:
      DistilwatchError: when an output is there and cannot be read.
    """
    for uri in outputs:
        try:
            known = _read(uri)
        except duckdb.Error as error:
            refused = why_not(error)
            raise DistilwatchError(
                f"the tables cannot be read: {refused.what}", f"--output {uri}", refused.mend
            ) from error
        if known.ids:
            return known
    return KnownIds()


def cannot_links(outputs: Sequence[str]) -> tuple[CannotLink, ...]:
    """Accounts that do not belong with the rest of a cluster, as decisions in any output say.

    Args:
      outputs: URIs; those that are not there yet, topics, and files of Parquet, tell nothing.

    Raises:
      DistilwatchError: when an output is there and cannot be read.
    """
    rows = [row for uri in outputs for row in _decisions(uri)]
    withdrawn = {row.name for row in rows if row.decision == WITHDRAW}
    return tuple(
        CannotLink(
            frozenset(row.split_accounts),
            frozenset(row.accounts) - frozenset(row.split_accounts),
            row.name not in withdrawn,
        )
        for row in rows
        if row.decision == "split"
    )


def _decisions(uri: str) -> list[Disposition]:
    """All rows, oldest first."""
    if uri.startswith("duckdb:"):
        path = duckdb_path(uri)
        # A database may have nothing but decisions yet.
        return DispositionStore(path).rows() if path.is_file() and path.stat().st_size else []
    return tables_of(uri).decisions.rows() if uri.startswith("bigquery:") else []


def _read(uri: str) -> KnownIds:
    if uri.startswith("duckdb:"):
        path = duckdb_path(uri)
        if not path.is_file() or not path.stat().st_size:
            return KnownIds()
        with opened(path, _PATIENCE_S, read_only=True) as connection:
            there = {name for (name,) in connection.execute("SHOW TABLES").fetchall()}
            return _query(connection) if there.issuperset(_NEEDED) else KnownIds()
    if uri.startswith("parquet:"):
        folder = parquet_folder(uri)
        if not has_tables(folder):
            return KnownIds()
        with duckdb.connect() as connection:
            make_views(connection, folder)
            return _query(connection)
    if uri.startswith("bigquery:"):
        from transforms.sinks.bigquery.read import tables_of

        tables = tables_of(uri, _COLUMNS)
        if tables is None:
            return KnownIds()
        with duckdb.connect() as connection:
            for name, rows in tables.items():
                connection.register(name, rows)
            return _query(connection)
    return KnownIds()


def _query(connection: duckdb.DuckDBPyConnection) -> KnownIds:
    connection.execute("SET TimeZone = 'UTC'")
    ids: dict[int, dict[str, str]] = {}
    revisions: dict[int, dict[str, int]] = {}
    # An account that is in a cluster now may have been flagged alone before.
    for statement in (_ALONE, _PROFILES):
        for start, account, name in connection.execute(statement).fetchall():
            ids.setdefault(start, {})[account] = name
    for start, name, revision, _ in connection.execute(_OPEN).fetchall():
        revisions.setdefault(start, {})[name] = revision
    return KnownIds(ids, revisions, dict(connection.execute(_REQUESTS).fetchall()))
