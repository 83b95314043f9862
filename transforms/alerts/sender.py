"""Sends what waits in the outbox: one process at a time, each message until it is taken or dead."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from schemas.errors import DistilwatchError
from transforms.alerts.book import Book
from transforms.alerts.channels import Channel, Refused, TryLater
from transforms.alerts.outbox import Backoff, Message
from transforms.spans import span

_PAUSE_S = 0.5
_NO_BOOK_S = 30.0  # after the book could not be written


@dataclass
class Sent:
    """What became of messages.

    Attributes:
      sent, delayed, dead: how many.
      waiting: tried in vain, in whatever run, and waiting still when it ended.
    """

    sent: int = 0
    delayed: int = 0
    dead: int = 0
    waiting: int = 0


class Sender:
    """See the module.

    Args:
      book: whose outbox it is.
      channels: by name; a message to one that is not there waits until it is.
      backoff: between attempts.
      clock_ms: milliseconds UTC.
      warn: says that a message is dead, or a channel fails for the first time in a row.
    """

    def __init__(
        self,
        book: Book,
        channels: Mapping[str, Channel],
        backoff: Backoff,
        clock_ms: Callable[[], int],
        warn: Callable[[str], None],
    ) -> None:
        self._outbox = book.outbox
        self._channels = channels
        self._backoff = backoff
        self._clock_ms = clock_ms
        self._warn = warn
        self._failing: set[str] = set()

    def send_due(self, stop: Event | None = None) -> Sent:
        """Sends what is due now; nothing where another process sends.

        A channel that fails rests until the next call: each try may take as long as its time
        limit, and the others must not wait for it.
        """
        done = Sent()
        resting: set[str] = set()
        with self._outbox.sending() as ours:
            while ours and (due := self._outbox.due(self._clock_ms(), resting)):
                for message in due:
                    if stop is not None and stop.is_set():
                        return done
                    if message.channel not in resting and not self._send(message, done):
                        resting.add(message.channel)
        return done

    def send_until(self, seconds: float) -> Sent:
        """Sends what is due, and what becomes due, for so long at most."""
        total, deadline = Sent(), time.monotonic() + seconds
        while True:
            done = self.send_due()
            total.sent += done.sent
            total.delayed += done.delayed
            total.dead += done.dead
            total.waiting = self._outbox.tried_and_waiting()
            if not total.waiting or time.monotonic() > deadline:
                return total
            time.sleep(_PAUSE_S)

    def stumbled(self, problem: Exception) -> None:
        """Says that the book itself failed; once until a message is sent again."""
        self._say_once("the outbox", str(problem))

    def _send(self, message: Message, done: Sent) -> bool:
        """Returns whether the channel works."""
        channel = self._channels.get(message.channel)
        asked_ms, for_good = 0, False
        if channel is None:  # another process, with other settings, may have it
            self._say_once(message.channel, "there is no such channel in the settings")
            return False
        try:
            thread = self._outbox.thread(message.alert_id, message.channel)
            with span("tell", channel=message.channel, **self._so_far(message)):
                began = channel.tell(message.key, message.notice, thread)
        except TryLater as problem:
            why, asked_ms = str(problem), problem.after_ms
        except Refused as problem:
            why, for_good = str(problem), True
        except Exception as problem:  # a channel must never stop the others
            why = f"{message.channel} failed ({type(problem).__name__})"
        else:
            self._failing -= {message.channel, "the outbox"}
            self._outbox.sent(message, began, self._clock_ms())
            done.sent += 1
            return True
        dead = self._outbox.failed(
            message, why, self._clock_ms(), self._backoff, asked_ms, for_good
        )
        done.dead += dead
        done.delayed += not dead
        if dead:
            self._warn(
                f"an alert could not be told on {message.channel}: {why}; mend it, then "
                "`distilwatch alerts outbox replay`"
            )
        else:
            self._say_once(message.channel, why)
        return for_good  # refused, but it answers

    def _so_far(self, message: Message) -> dict[str, int]:
        """How old a message is, quiet hours included, and how often it was tried before."""
        return {"age_ms": self._clock_ms() - message.made_ms, "attempts": message.attempts}

    def _say_once(self, channel: str, why: str) -> None:
        if channel not in self._failing:
            self._failing.add(channel)
            self._warn(f"alerts wait for {channel}: {why}; they are tried again")


class Background:
    """A sender in a thread of its own, so that a slow receiver holds up nothing else.

    Args:
      path: of the book.
      make: makes the sender for the thread's own connection to it.
      every_s: between looks into the outbox.
    """

    def __init__(self, path: Path, make: Callable[[Book], Sender], every_s: float = 1.0) -> None:
        self._path = path
        self._make = make
        self._every_s = every_s
        self._stop = Event()
        self._thread = Thread(target=self._run, name="alerts", daemon=True)

    def __enter__(self) -> Background:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        with Book(self._path) as book:
            sender = self._make(book)
            pause_s = self._every_s
            while not self._stop.wait(pause_s):
                pause_s = self._every_s
                try:
                    sender.send_due(self._stop)
                except (DistilwatchError, OSError, sqlite3.Error) as problem:
                    # A full disk, say; alerts must go on after it. What was told but could not be
                    # noted is told again, under the same key.
                    sender.stumbled(problem)
                    pause_s = max(self._every_s, _NO_BOOK_S)
