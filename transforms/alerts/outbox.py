"""The book of alerts: one SQLite file with their states, their steps, and what is still to be sent.

A step of an alert and the messages that tell of it are written in one transaction. From then on a
message is sent at least once: it is marked as sent only after the receiver took it, so that a
process that is killed in between sends it again, under the same key, by which the receiver can tell
(PagerDuty's dedup_key, the id of a webhook, an e-mail's Message-ID).
"""

from __future__ import annotations

import fcntl
import random
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from schemas.errors import DistilwatchError
from transforms.alerts.life import Alert, pack, unpack

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
_HIDDEN_AFTER = 300


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a message is tried again, and how often.

    Attributes:
      first_ms, most_ms: the wait doubles from the first to the longest.
      limit: attempts, after which a message is dead.
    """

    first_ms: int = 2_000
    most_ms: int = 900_000
    limit: int = 12

    def wait_ms(self, attempts: int, asked_ms: int, draw: float) -> int:
        """The wait after some attempts.

        Args:
          attempts: that failed, at least 1.
          asked_ms: what the receiver asked for with Retry-After; 0 for nothing.
          draw: uniform in [0, 1), so that many messages do not come back at once.
        """
        longest: int = min(self.most_ms, self.first_ms << min(attempts - 1, 30))
        return max(asked_ms, round(longest * (0.5 + 0.5 * draw)))


class Message(NamedTuple):
    """What waits in the outbox, or waited.

    Attributes:
      key: of its idempotency, the same whenever it is sent.
      notice: what it says, plain values.
      state: pending, sent, dead, or dropped, which is one that was overtaken before it was sent.
      not_before, made_ms, done_ms: milliseconds UTC.
      error: of the last attempt.
    """

    key: str
    alert_id: str
    channel: str
    notice: dict[str, Any]
    state: str
    attempts: int
    not_before: int
    made_ms: int
    done_ms: int | None
    error: str


class Known(NamedTuple):
    """A cluster as the book has it: its alert, its accounts, and its row in short."""

    alert: Alert
    accounts: list[str]
    about: dict[str, Any]


class Book:
    """See the module. Open it in a `with` statement; several processes may have it open."""

    def __init__(self, path: Path) -> None:
        """Args:
        path: of the file; made where it is not there.

        Raises:
          DistilwatchError: it cannot be opened.
        """
        self.path = path
        try:
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise DistilwatchError(
                f"the book of alerts cannot be opened: {error}",
                str(path),
                "check the file and its folder, or set alerts.book to another path",
            ) from error

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction: all that is written inside is kept, or nothing.

        Raises:
          DistilwatchError: it cannot be written just now, as on a full disk.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has ended it already
                    self._db.execute("ROLLBACK")
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

    # --- clusters and steps ------------------------------------------------------------------

    def is_new(self) -> bool:
        """Whether it has no cluster."""
        return self._db.execute("SELECT 1 FROM clusters LIMIT 1").fetchone() is None

    def known(self, cluster_ids: Iterable[str] | None = None) -> dict[str, Known]:
        """Clusters by id; all of them where none are named."""
        select = "SELECT cluster_id, alert, accounts, about FROM clusters"
        if cluster_ids is None:
            rows = self._db.execute(select)
        else:
            names = orjson.dumps(list(cluster_ids)).decode()
            rows = self._db.execute(
                f"{select} WHERE cluster_id IN (SELECT value FROM json_each(?))", [names]
            )
        return {
            name: Known(unpack(orjson.loads(alert)), orjson.loads(accounts), orjson.loads(about))
            for name, alert, accounts, about in rows
        }

    def keep(self, cluster_id: str, known: Known) -> None:
        """Keeps a cluster as it is now."""
        self._db.execute(
            "INSERT OR REPLACE INTO clusters VALUES (?, ?, ?, ?)",
            [cluster_id, _json(pack(known.alert)), _json(known.accounts), _json(known.about)],
        )

    def add_step(self, row: Mapping[str, Any]) -> None:
        """Adds a step: a row of the table `alerts`; one that is there already stays as it was."""
        self._db.execute(
            "INSERT OR IGNORE INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
            [
                row["alert_id"], row["revision"], row["step"], row["policy"], row["changed_at"],
                row["storm_id"], bool(row["channels"]), _json(row),
            ],
        )  # fmt: skip

    def opened_since(self, policy: str, at_ms: int) -> int:
        """Alerts of a policy that were opened, and told one by one, since a time."""
        found = self._db.execute(
            "SELECT count(*) FROM steps WHERE kind = 'opened' AND policy = ? AND at_ms > ? "
            "AND storm_id IS NULL AND told",
            [policy, at_ms],
        ).fetchone()
        return int(found[0])

    def unexported(self) -> list[dict[str, Any]]:
        """Steps that are not in the tables yet."""
        rows = self._db.execute("SELECT row FROM steps WHERE exported = 0 ORDER BY at_ms, revision")
        return [orjson.loads(row) for (row,) in rows]

    def exported(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Notes that steps are in the tables."""
        with self.writing():
            self._db.executemany(
                "UPDATE steps SET exported = 1 WHERE alert_id = ? AND revision = ?",
                [(row["alert_id"], row["revision"]) for row in rows],
            )

    def fact(self, name: str) -> Any:
        """Something that is remembered by name; None for nothing."""
        found = self._db.execute("SELECT value FROM facts WHERE name = ?", [name]).fetchone()
        return None if found is None else orjson.loads(found[0])

    def remember(self, name: str, value: Any) -> None:
        """Remembers something by name."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", [name, _json(value)])

    # --- the outbox --------------------------------------------------------------------------

    def post(
        self, key: str, channel: str, notice: Mapping[str, Any], now_ms: int, not_before: int
    ) -> None:
        """Puts a message into the outbox; one with a key that is there already is the same."""
        self._db.execute(
            "INSERT OR IGNORE INTO outbox (key, alert_id, channel, notice, not_before, made_ms) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [key, notice["alert_id"], channel, _json(notice), not_before, now_ms],
        )

    def drop_unsent(self, alert_id: str, now_ms: int) -> set[str]:
        """Drops messages of an alert that wait for quiet hours to end.

        Returns:
          Channels that have never heard of the alert, so need not hear of its end.
        """
        self._db.execute(
            "UPDATE outbox SET state = 'dropped', done_ms = ?, error = 'over before it was told' "
            "WHERE alert_id = ? AND state = 'pending' AND attempts = 0 AND not_before > ?",
            [now_ms, alert_id, now_ms],
        )
        rows = self._db.execute(
            "SELECT channel FROM outbox WHERE alert_id = ? GROUP BY channel "
            "HAVING sum(state <> 'dropped') = 0",
            [alert_id],
        )
        return {channel for (channel,) in rows}

    def heard(self, alert_id: str) -> list[str]:
        """Channels that were told of an alert, or are to be."""
        rows = self._db.execute(
            "SELECT DISTINCT channel FROM outbox WHERE alert_id = ? AND state <> 'dropped' "
            "ORDER BY channel",
            [alert_id],
        )
        return [channel for (channel,) in rows]

    def tried_and_waiting(self) -> bool:
        """Whether a message waits that could not be sent before."""
        found = self._db.execute(
            "SELECT 1 FROM outbox WHERE state = 'pending' AND attempts > 0 LIMIT 1"
        )
        return found.fetchone() is not None

    def due(self, now_ms: int, without: Iterable[str] = (), at_most: int = 500) -> list[Message]:
        """Messages to send now, oldest first; of an alert and channel only the first that waits,
        so that its end never overtakes its beginning.

        Args:
          now_ms: milliseconds UTC.
          without: channels that are left out.
        """
        return self._messages(
            "WHERE state = 'pending' AND not_before <= ? "
            "AND channel NOT IN (SELECT value FROM json_each(?)) AND NOT EXISTS ("
            "SELECT 1 FROM outbox AS earlier WHERE earlier.alert_id = outbox.alert_id "
            "AND earlier.channel = outbox.channel AND earlier.state = 'pending' "
            "AND earlier.place < outbox.place) ORDER BY place LIMIT ?",
            [now_ms, _json(list(without)), at_most],
        )

    def messages(self, states: Sequence[str] = (), at_most: int = 1_000) -> list[Message]:
        """Messages, newest first."""
        marks = ", ".join("?" for _ in states)
        where = f"WHERE state IN ({marks}) " if states else ""
        return self._messages(f"{where}ORDER BY place DESC LIMIT ?", [*states, at_most])

    def counts(self) -> dict[str, int]:
        """Messages by state."""
        return dict(self._db.execute("SELECT state, count(*) FROM outbox GROUP BY state"))

    def hurry(self, now_ms: int) -> None:
        """Lets everything that waits be due now, quiet hours or not."""
        self._db.execute(
            "UPDATE outbox SET not_before = ? WHERE state = 'pending' AND not_before > ?",
            [now_ms, now_ms],
        )

    def sent(self, message: Message, thread: Mapping[str, Any] | None, now_ms: int) -> None:
        """Notes that the receiver took a message, and the thread that it began."""
        with self.writing():
            self._db.execute(
                "UPDATE outbox SET state = 'sent', attempts = attempts + 1, done_ms = ?, "
                "error = '' WHERE key = ?",
                [now_ms, message.key],
            )
            if thread is not None:
                self._db.execute(
                    "INSERT OR REPLACE INTO threads VALUES (?, ?, ?)",
                    [message.alert_id, message.channel, _json(thread)],
                )

    def failed(
        self,
        message: Message,
        error: str,
        now_ms: int,
        backoff: Backoff,
        asked_ms: int = 0,
        for_good: bool = False,
    ) -> bool:
        """Notes that a message could not be sent; returns whether it is dead now.

        Args:
          error: why, without secrets.
          asked_ms: of Retry-After.
          for_good: the receiver will never take it.
        """
        attempts = message.attempts + 1
        dead = for_good or attempts >= backoff.limit
        wait_ms = backoff.wait_ms(attempts, asked_ms, random.random())
        with self.writing():
            self._db.execute(
                "UPDATE outbox SET state = ?, attempts = ?, not_before = ?, done_ms = ?, error = ? "
                "WHERE key = ?",
                [
                    "dead" if dead else "pending", attempts, now_ms + wait_ms,
                    now_ms if dead else None, error[:_HIDDEN_AFTER], message.key,
                ],
            )  # fmt: skip
        return dead

    def replay(self, keys: Sequence[str], now_ms: int) -> int:
        """Tries dead messages again, all of them where none are named; returns how many."""
        names = _json(list(keys))
        with self.writing():
            cursor = self._db.execute(
                "UPDATE outbox SET state = 'pending', attempts = 0, not_before = ?, done_ms = NULL "
                "WHERE state = 'dead' AND (json_array_length(?) = 0 OR key IN "
                "(SELECT value FROM json_each(?)))",
                [now_ms, names, names],
            )
        return cursor.rowcount

    def thread(self, alert_id: str, channel: str) -> dict[str, Any] | None:
        """The thread in which a channel tells of an alert."""
        found = self._db.execute(
            "SELECT thread FROM threads WHERE alert_id = ? AND channel = ?", [alert_id, channel]
        ).fetchone()
        return None if found is None else orjson.loads(found[0])

    def _messages(self, rest: str, parameters: Sequence[Any]) -> list[Message]:
        rows = self._db.execute(
            "SELECT key, alert_id, channel, notice, state, attempts, not_before, made_ms, done_ms, "
            f"error FROM outbox {rest}",
            parameters,
        )
        return [Message._make([*row[:3], orjson.loads(row[3]), *row[4:]]) for row in rows]


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()
