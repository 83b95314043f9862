"""The outbox: what is still to be told, in the file of the book of alerts.

A message is sent at least once: it is marked as sent only after the receiver took it, so that a
process that is killed in between sends it again, under the same key, by which the receiver can tell
(PagerDuty's dedup_key, the id of a webhook, an e-mail's Message-ID).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from schemas.errors import DistilwatchError
from transforms.alerts.book_file import BookFile, as_json

_HIDDEN_AFTER = 300
_FIRST_WAITING = (  # place of the first message of an alert and channel that waits beyond a time
    "SELECT min(place) FROM outbox AS held WHERE held.alert_id = outbox.alert_id "
    "AND held.channel = outbox.channel AND held.state = 'pending' AND held.attempts = 0 "
    "AND held.not_before > ?"
)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a message is tried again, and how often.

    Attributes:
      first_ms, most_ms: the wait doubles from the first to the longest.
      limit: attempts, after which a message is dead; by default an outage of a day is outlived.
    """

    first_ms: int = 2_000
    most_ms: int = 900_000
    limit: int = 210

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


class Replayed(NamedTuple):
    """What became of dead messages that were to be tried again.

    Attributes:
      again: wait now.
      overtaken: were dropped, since what came later says all, or that it is over.
    """

    again: int
    overtaken: int


class Outbox:
    """See the module; `Book` has one.

    Args:
      file: that it is kept in.
    """

    def __init__(self, file: BookFile) -> None:
        self._file = file
        self._db = file.db

    def sending(self) -> AbstractContextManager[bool]:
        """Whether this process is the one that sends; see `BookFile.sending`."""
        return self._file.sending()

    def post(
        self, key: str, channel: str, notice: Mapping[str, Any], now_ms: int, not_before: int
    ) -> None:
        """Puts a message into the outbox; one with a key that is there already is the same."""
        self._db.execute(
            "INSERT OR IGNORE INTO outbox (key, alert_id, channel, notice, not_before, made_ms) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [key, notice["alert_id"], channel, as_json(notice), not_before, now_ms],
        )

    def overtake(self, alert_id: str, channel: str, now_ms: int, not_before: int) -> None:
        """Drops what waits for quiet hours longer than a newer message of the alert and channel,
        and would hold it up; the newer one says all that there is to say."""
        self._drop(
            alert_id,
            now_ms,
            "overtaken before it was told",
            f"AND channel = ? AND attempts = 0 AND place >= ({_FIRST_WAITING})",
            [channel, not_before],
        )

    def drop_unsent(self, alert_id: str, now_ms: int) -> set[str]:
        """Drops messages of an alert that wait for quiet hours to end; and where nothing was tried
        before them, what is behind them, since nobody heard there of what it goes on about.

        What is due already stays: it may be on its way.

        Returns:
          Channels that have never heard of the alert, so need not hear of its end.
        """
        self._drop(
            alert_id,
            now_ms,
            "over before it was told",
            "AND attempts = 0 AND (not_before > ? OR ("
            f"place >= ({_FIRST_WAITING}) AND NOT EXISTS ("
            "SELECT 1 FROM outbox AS tried WHERE tried.alert_id = outbox.alert_id "
            "AND tried.channel = outbox.channel AND tried.state <> 'dropped' AND ("
            "tried.state <> 'pending' OR tried.attempts > 0 OR tried.error <> ''))))",
            [now_ms, now_ms],
        )
        rows = self._db.execute(
            "SELECT channel FROM outbox WHERE alert_id = ? GROUP BY channel "
            "HAVING sum(state <> 'dropped') = 0",
            [alert_id],
        )
        return {channel for (channel,) in rows}

    def _drop(
        self, alert_id: str, now_ms: int, why: str, where: str, parameters: Sequence[Any]
    ) -> None:
        self._db.execute(
            # All that are meant are found before the first is changed: some are by the others.
            "UPDATE outbox SET state = 'dropped', done_ms = ?, error = ? WHERE place IN ("
            f"SELECT place FROM outbox WHERE alert_id = ? AND state = 'pending' {where})",
            [now_ms, why, alert_id, *parameters],
        )

    def heard(self, alert_id: str) -> list[str]:
        """Channels that were told of an alert, or are to be."""
        rows = self._db.execute(
            "SELECT DISTINCT channel FROM outbox WHERE alert_id = ? AND state <> 'dropped' "
            "ORDER BY channel",
            [alert_id],
        )
        return [channel for (channel,) in rows]

    def tried_and_waiting(self) -> int:
        """How many messages wait that could not be sent before."""
        found = self._db.execute(
            "SELECT count(*) FROM outbox WHERE state = 'pending' AND attempts > 0"
        )
        return int(found.fetchone()[0])

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
            [now_ms, as_json(list(without)), at_most],
        )

    def messages(self, states: Sequence[str] = (), at_most: int = 1_000) -> list[Message]:
        """Messages, newest first."""
        marks = ", ".join("?" for _ in states)
        where = f"WHERE state IN ({marks}) " if states else ""
        return self._messages(f"{where}ORDER BY place DESC LIMIT ?", [*states, at_most])

    def untold(self, alert_ids: Iterable[str]) -> list[Message]:
        """Messages of some alerts that wait, or were given up; oldest first."""
        return self._messages(
            "WHERE state IN ('pending', 'dead') "
            "AND alert_id IN (SELECT value FROM json_each(?)) ORDER BY place",
            [as_json(sorted(alert_ids))],
        )

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
        with self._file.writing():
            self._db.execute(
                "UPDATE outbox SET state = 'sent', attempts = attempts + 1, done_ms = ?, "
                "error = '' WHERE key = ?",
                [now_ms, message.key],
            )
            if thread is not None:
                self._db.execute(
                    "INSERT OR REPLACE INTO threads VALUES (?, ?, ?)",
                    [message.alert_id, message.channel, as_json(thread)],
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
        with self._file.writing():
            self._db.execute(
                "UPDATE outbox SET state = ?, attempts = ?, not_before = ?, done_ms = ?, error = ? "
                "WHERE key = ?",
                [
                    "dead" if dead else "pending", attempts, now_ms + wait_ms,
                    now_ms if dead else None, error[:_HIDDEN_AFTER], message.key,
                ],
            )  # fmt: skip
        return dead

    def replay(self, keys: Sequence[str], now_ms: int) -> Replayed:
        """Tries dead messages again, all of them where none are named; but drops those that a
        later message of their alert and channel has overtaken: one that was sent, or says that it
        is over.

        Raises:
          DistilwatchError: a key is not of a dead message; nothing is tried again then.
        """
        names = as_json(list(keys))
        with self._file.writing():
            wrong = self._db.execute(
                "SELECT min(value) FROM json_each(?) WHERE value NOT IN "
                "(SELECT key FROM outbox WHERE state = 'dead')",
                [names],
            ).fetchone()[0]
            if wrong is not None:
                raise DistilwatchError(
                    f"there is no dead message {wrong}",
                    "KEYS",
                    "`distilwatch alerts outbox list --state dead` shows them, in brackets",
                )
            meant = "state = 'dead' AND (json_array_length(?) = 0 OR key IN " + (
                "(SELECT value FROM json_each(?)))"
            )
            overtaken = self._db.execute(
                "UPDATE outbox SET state = 'dropped', done_ms = ?, error = 'overtaken' "
                f"WHERE place IN (SELECT place FROM outbox WHERE {meant} AND EXISTS ("
                "SELECT 1 FROM outbox AS later WHERE later.alert_id = outbox.alert_id "
                "AND later.channel = outbox.channel AND later.place > outbox.place AND ("
                "later.state = 'sent' OR (later.state <> 'dropped' "
                "AND json_extract(later.notice, '$.step') = 'resolved'))))",
                [now_ms, names, names],
            ).rowcount
            again = self._db.execute(
                "UPDATE outbox SET state = 'pending', attempts = 0, not_before = ?, done_ms = NULL "
                f"WHERE {meant}",
                [now_ms, names, names],
            ).rowcount
        return Replayed(again, overtaken)

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
