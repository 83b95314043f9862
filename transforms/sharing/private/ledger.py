"""What the server keeps: keys by epoch, confirmed identifiers, quotas, and a log that only grows.

One SQLite file. The log is chained by hashes, so that a row that was changed, taken out or put in
shows; that the newest rows were cut off shows only to somebody who wrote the last digest down.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from schemas.errors import DistilwatchError
from transforms.sharing.private.identifiers import Sealed

_BEGINNING = "0" * 64
_IN_CLEAR = 14  # digits of `local_name`
_TABLES = """
    CREATE TABLE IF NOT EXISTS epochs (
        epoch INTEGER PRIMARY KEY, seed BLOB NOT NULL, begins_ms INTEGER, ends_ms INTEGER);
    CREATE TABLE IF NOT EXISTS confirmed (
        kind TEXT, point BLOB, local TEXT, PRIMARY KEY (kind, point));
    CREATE TABLE IF NOT EXISTS nonces (
        peer TEXT, nonce TEXT, at_ms INTEGER, PRIMARY KEY (peer, nonce));
    CREATE TABLE IF NOT EXISTS log (
        number INTEGER PRIMARY KEY, at_ms INTEGER, peer TEXT, act TEXT, epoch INTEGER, kind TEXT,
        elements INTEGER, granted INTEGER, reason TEXT, previous TEXT, digest TEXT);
    CREATE TRIGGER IF NOT EXISTS log_stays BEFORE UPDATE ON log
        BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
    CREATE TABLE IF NOT EXISTS sealed_by (mark TEXT);
    CREATE TRIGGER IF NOT EXISTS log_keeps BEFORE DELETE ON log
        BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
"""


class Epoch(NamedTuple):
    """A time with keys of its own: its number, from 1, secret seed, and bounds."""

    number: int
    seed: bytes
    begins_ms: int
    ends_ms: int


class Entry(NamedTuple):
    """A row of the log.

    Attributes:
      number: from 1.
      at_ms: milliseconds UTC.
      peer: who asked.
      act: evaluate, confirmed or rotate.
      epoch, kind, elements: of what was asked; padding counts.
      granted: whether it was answered.
      reason: why not.
      digest: of this row and, through it, of all before; who has kept one sees whether rows that
        came before it were changed or cut off.
    """

    number: int
    at_ms: int
    peer: str
    act: str
    epoch: int
    kind: str
    elements: int
    granted: int
    reason: str
    digest: str


class Ledger:
    """The server's file; every method is one transaction."""

    def __init__(self, path: Path) -> None:
        """Opens a file, made when there is none, for this user only.

        Raises:
          DistilwatchError: when it cannot be.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            with self._transaction() as db:
                # One statement at a time: `executescript` would leave the transaction.
                for statement in _statements(_TABLES):
                    db.execute(statement)
        except (OSError, sqlite3.Error) as error:
            raise DistilwatchError(
                f"the ledger of private matching cannot be used ({error})",
                str(path),
                "choose another --state",
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        try:
            db.execute("PRAGMA secure_delete = ON")  # a seed that is gone is gone from the disk
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        finally:
            db.close()

    def epoch(self, now_ms: int, length_ms: int) -> Epoch:
        """The epoch of now; one that is over is destroyed with its seed, and a new one begins."""
        with self._transaction() as db:
            row = db.execute("SELECT * FROM epochs ORDER BY epoch DESC LIMIT 1").fetchone()
            if row is not None and now_ms < row[3]:
                return Epoch(*row)
            return self._rotate(db, now_ms, length_ms)

    def rotate(self, now_ms: int, length_ms: int) -> Epoch:
        """Begins a new epoch at once, such as after a leak."""
        with self._transaction() as db:
            return self._rotate(db, now_ms, length_ms)

    def _rotate(self, db: sqlite3.Connection, now_ms: int, length_ms: int) -> Epoch:
        logged = db.execute("SELECT max(epoch) FROM log").fetchone()[0] or 0
        last = db.execute("SELECT max(epoch) FROM epochs").fetchone()[0] or 0
        found = Epoch(max(last, logged) + 1, secrets.token_bytes(32), now_ms, now_ms + length_ms)
        db.execute("DELETE FROM epochs")
        db.execute("INSERT INTO epochs VALUES (?, ?, ?, ?)", found)
        _append(db, now_ms, "", "rotate", found.number, "", 0, True, "")
        return found

    def bind(self, mark: str) -> None:
        """Ties the file to the key that its identifiers are sealed with.

        Args:
          mark: of the key; see `Sealer.mark`.

        Raises:
          DistilwatchError: they were sealed with another one: evaluated with this one they would
            match nothing, and nobody would know.
        """
        with self._transaction() as db:
            known = db.execute("SELECT mark FROM sealed_by").fetchone()
            if known is None:
                db.execute("INSERT INTO sealed_by VALUES (?)", (mark,))
        if known is not None and known[0] != mark:
            raise DistilwatchError(
                "the identifiers in it were sealed with another key",
                str(self._path),
                "give the DISTILWATCH_SEAL_KEY that sealed them; or begin with another --state, "
                "and confirm what was sealed anew",
            )

    def hide(self, hidden: Callable[[str], str]) -> int:
        """Replaces names in clear, which earlier versions have left, by hidden ones; returns how
        many there were.

        Args:
          hidden: a name as it may be kept; see `Sealer.hidden`.
        """
        with self._transaction() as db:
            rows = db.execute(
                "SELECT kind, point, local FROM confirmed WHERE length(local) = ?", (_IN_CLEAR,)
            ).fetchall()
            db.executemany(
                "UPDATE confirmed SET local = ? WHERE kind = ? AND point = ?",
                [(hidden(local), kind, point) for kind, point, local in rows],
            )
            return len(rows)

    def confirm(self, identifiers: Iterable[Sealed]) -> None:
        """Adds identifiers to those that peers may find."""
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO confirmed VALUES (?, ?, ?)",
                [(one.kind, one.point, one.local) for one in identifiers],
            )

    def withdraw(self, locals_: Iterable[str]) -> int:
        """Takes identifiers back, by this lab's own names; returns how many there were."""
        with self._transaction() as db:
            return sum(
                db.execute("DELETE FROM confirmed WHERE local = ?", (name,)).rowcount
                for name in locals_
            )

    def confirmed(self, kind: str) -> list[bytes]:
        """Sealed points of a kind, in order."""
        with self._transaction() as db:
            rows = db.execute("SELECT point FROM confirmed WHERE kind = ? ORDER BY point", (kind,))
            return [bytes(point) for (point,) in rows]

    def fresh(self, peer: str, nonce: str, now_ms: int, keep_ms: int) -> bool:
        """Whether a peer has not used a nonce before; it has now."""
        with self._transaction() as db:
            db.execute("DELETE FROM nonces WHERE at_ms < ?", (now_ms - keep_ms,))
            done = db.execute(
                "INSERT OR IGNORE INTO nonces VALUES (?, ?, ?)", (peer, nonce, now_ms)
            )
            return done.rowcount == 1

    def used(self, peer: str, since_ms: int) -> int:
        """Elements that were evaluated for a peer since then."""
        with self._transaction() as db:
            return _used(db, peer, since_ms)

    def spend(
        self,
        peer: str,
        kind: str,
        elements: int,
        epoch: int,
        now_ms: int,
        period_ms: int,
        quota: int,
    ) -> bool:
        """Takes elements from a peer's quota where that is enough, and logs it either way."""
        with self._transaction() as db:
            granted = _used(db, peer, now_ms - period_ms) + elements <= quota
            reason = "" if granted else "quota"
            _append(db, now_ms, peer, "evaluate", epoch, kind, elements, granted, reason)
            return granted

    def note(
        self,
        peer: str,
        act: str,
        epoch: int,
        kind: str,
        elements: int,
        now_ms: int,
        reason: str = "",
    ) -> None:
        """Logs what took no quota; with a reason, that it was refused."""
        with self._transaction() as db:
            _append(db, now_ms, peer, act, epoch, kind, elements, not reason, reason)

    def log(self) -> list[Entry]:
        """All that was logged.

        Raises:
          DistilwatchError: when it is not as it was written.
        """
        with self._transaction() as db:
            rows = db.execute("SELECT * FROM log ORDER BY number").fetchall()
        previous = _BEGINNING
        for expected, row in enumerate(rows, 1):
            if row[0] != expected or row[-2] != previous or row[-1] != _digest(row[:-1]):
                raise DistilwatchError(
                    f"row {expected} of the log is not what was written",
                    str(self._path),
                    "find out who changed it; a copy from before shows what it was",
                )
            previous = row[-1]
        return [Entry._make((*row[:-2], row[-1])) for row in rows]


def _statements(script: str) -> list[str]:
    found, part = [], ""
    for line in script.strip().splitlines():
        part += line + "\n"
        if sqlite3.complete_statement(part):
            found.append(part)
            part = ""
    return found


def _used(db: sqlite3.Connection, peer: str, since_ms: int) -> int:
    return int(
        db.execute(
            "SELECT coalesce(sum(elements), 0) FROM log "
            "WHERE peer = ? AND act = 'evaluate' AND granted AND at_ms > ?",
            (peer, since_ms),
        ).fetchone()[0]
    )


def _digest(row: tuple[object, ...]) -> str:
    return sha256(json.dumps(row).encode()).hexdigest()


def _append(
    db: sqlite3.Connection, at_ms: int, peer: str, act: str, epoch: int, kind: str, elements: int,
    granted: bool, reason: str,
) -> None:  # fmt: skip
    last = db.execute("SELECT number, digest FROM log ORDER BY number DESC LIMIT 1").fetchone()
    number, previous = (last[0] + 1, last[1]) if last else (1, _BEGINNING)
    row = (number, at_ms, peer, act, epoch, kind, elements, int(granted), reason, previous)
    marks = ", ".join("?" * 11)
    db.execute(f"INSERT INTO log VALUES ({marks})", (*row, _digest(row)))
