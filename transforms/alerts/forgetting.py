"""Takes an account out of the book of alerts (`transforms.alerts.outbox`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Any

import orjson

from schemas.errors import DistilwatchError
from schemas.mention import mentions
from transforms.alerts.book import Book
from transforms.alerts.book_file import as_json

# Where a step or a message repeats what people wrote.
_FREE_TEXT = ("reason", "cost")
_ROWS = (("steps", "row", ("alert_id", "revision")), ("outbox", "notice", ("key",)))


def forget_in_book(
    path: Path, account: str, clusters: Collection[str], dry_run: bool = False
) -> int:
    """Takes an account out, also of the blocks of the file that are free.

    A cluster of several loses the account; one that is the account alone goes, with its alerts and
    messages. Texts that name the account are emptied; a message that waits is sent without them.

    Args:
      path: of the book.
      account: its id.
      clusters: that were the account's alone, as far as the tables know.
      dry_run: only count.

    Returns:
      Clusters, steps, messages and threads that were changed or removed.

    Raises:
      DistilwatchError: when it cannot be opened or changed.
    """
    with Book(path):
        pass  # one of an older version gets what it lacks
    try:
        database = sqlite3.connect(path, timeout=60, isolation_level=None)
        try:
            database.execute("PRAGMA secure_delete = ON")
            database.execute("BEGIN IMMEDIATE")
            changed = _forget(database, account, set(clusters))
            database.execute("ROLLBACK" if dry_run else "COMMIT")
            if changed and not dry_run:
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            database.close()
    except sqlite3.Error as error:
        raise DistilwatchError(
            f"the book of alerts cannot be changed: {error}",
            str(path),
            "stop the run that has it open, and repeat the command",
        ) from error
    return changed


def _forget(database: sqlite3.Connection, account: str, alone: set[str]) -> int:
    changed = 0
    for name, text in database.execute("SELECT cluster_id, accounts FROM clusters").fetchall():
        accounts = orjson.loads(text)
        left = [other for other in accounts if other != account]
        if accounts and not left:
            alone.add(name)
        elif left != accounts:
            database.execute(
                "UPDATE clusters SET accounts = ? WHERE cluster_id = ?", [as_json(left), name]
            )
            changed += 1
    named = "cluster_id IN (SELECT value FROM json_each(?))"
    steps = "SELECT alert_id, row ->> 'cluster_id' AS cluster_id FROM steps"
    alerts = f"SELECT alert_id FROM ({steps}) WHERE {named}"
    for where, tables in (
        (f"alert_id IN ({alerts})", ("threads", "outbox", "steps")),  # steps, which are asked, last
        (named, ("clusters",)),
    ):
        for table in tables:
            cursor = database.execute(
                f"DELETE FROM {table} WHERE {where}", [as_json(sorted(alone))]
            )
            changed += cursor.rowcount
    for table, column, key in _ROWS:
        changed += _empty_texts(database, account, table, column, key)
    for key, error in database.execute("SELECT key, error FROM outbox").fetchall():
        if mentions(error, account):
            database.execute("UPDATE outbox SET error = '' WHERE key = ?", [key])
            changed += 1
    return changed


def _empty_texts(
    database: sqlite3.Connection, account: str, table: str, column: str, key: tuple[str, ...]
) -> int:
    changed = 0
    where = " AND ".join(f"{name} = ?" for name in key)
    select = f"SELECT {column}, {', '.join(key)} FROM {table}"
    for text, *values in database.execute(select).fetchall():
        said: dict[str, Any] = orjson.loads(text)
        naming = [name for name in _FREE_TEXT if mentions(said.get(name) or "", account)]
        if naming:
            new = as_json(said | dict.fromkeys(naming, ""))
            database.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", [new, *values])
            changed += 1
    return changed
