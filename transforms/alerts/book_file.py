"""The file of the book of alerts: SQLite, with one transaction and one sender at a time."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from schemas.errors import DistilwatchError

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS clusters (
        cluster_id TEXT PRIMARY KEY, alert TEXT NOT NULL, accounts TEXT NOT NULL,
        about TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS steps (
        alert_id TEXT, revision INTEGER, kind TEXT, policy TEXT, at_ms INTEGER, storm_id TEXT,
        told INTEGER, row TEXT NOT NULL, exported INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (alert_id, revision)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS steps_waiting ON steps (exported) WHERE exported = 0;
    CREATE INDEX IF NOT EXISTS steps_opened ON steps (policy, at_ms) WHERE kind = 'opened';
    CREATE TABLE IF NOT EXISTS outbox (
        place INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, alert_id TEXT NOT NULL,
        channel TEXT NOT NULL, notice TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'pending',
        attempts INTEGER NOT NULL DEFAULT 0, not_before INTEGER NOT NULL, made_ms INTEGER NOT NULL,
        done_ms INTEGER, error TEXT NOT NULL DEFAULT '');
    CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (not_before) WHERE state = 'pending';
    CREATE INDEX IF NOT EXISTS outbox_alert ON outbox (alert_id, channel);
    CREATE TABLE IF NOT EXISTS threads (
        alert_id TEXT, channel TEXT, thread TEXT NOT NULL,
        PRIMARY KEY (alert_id, channel)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


# The second is said where there is no room for the file that its readers share.
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


class BookFile:
    """See the module; several processes may have it open.

    Attributes:
      path: of the file.
      db: the connection, which commits by itself outside of `writing`.
    """

    def __init__(self, path: Path) -> None:
        """Args:
        path: made where it is not there.

        Raises:
          DistilwatchError: it cannot be opened.
        """
        self.path = path
        try:
            self.db = sqlite3.connect(path, timeout=60, isolation_level=None)
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.execute("PRAGMA synchronous = FULL")
            self.db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorcode", None) in _FULL
            raise DistilwatchError(
                f"the book of alerts cannot be opened: {'no space left' if full else error}",
                str(path),
                f"{'free some space' if full else 'check the file and its folder'}, or set "
                "alerts.book to another path",
            ) from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction: all that is written inside is kept, or nothing.

        Raises:
          DistilwatchError: it cannot be written just now, as on a full disk.
        """
        try:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:  # a full disk has ended it already
                    self.db.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise DistilwatchError(
                f"the book of alerts cannot be written: {error}",
                str(self.path),
                "free some space, or set alerts.book to a path on another disk",
            ) from error

    @contextmanager
    def sending(self) -> Iterator[bool]:
        """Whether this process is the one that sends; it is until it leaves, or dies."""
        with self.path.with_name(f"{self.path.name}.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True


def as_json(value: Any) -> str:
    """A value as the file keeps it: the same text for the same value."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()
