"""Lets alerts live and sends what waits, from tables that are there: `distilwatch alerts send`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.config import Config
from pipelines.console import Console
from pipelines.interrupts import stopped_by_signals
from pipelines.newest import newest_clusters
from pipelines.oncall import book_path, now_ms, on_call, waiting_line
from schemas.errors import DistilwatchError
from transforms.alerts.book import Book
from transforms.alerts.outbox import Message, Replayed

_TRY_S = 20.0
_EVERY_S = 5.0


@dataclass(frozen=True)
class Told:
    """What became of alerts.

    Attributes:
      steps: by kind.
      sent, dead: messages.
      left: what is in the outbox still, in words.
    """

    steps: dict[str, int]
    sent: int
    dead: int
    left: str

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {"steps": self.steps, "sent": self.sent, "dead": self.dead}

    def lines(self) -> list[str]:
        """For people."""
        steps = ", ".join(f"{n:,} {kind}" for kind, n in sorted(self.steps.items()))
        first = f"Alerts: {steps or 'nothing new'}; {self.sent:,} messages sent."
        return [first, *([self.left] if self.left else [])]


def tell(output: str, config: Config, console: Console) -> Told:
    """Once.

    Raises:
      DistilwatchError: tables, rules or the book cannot be used.
    """
    tables, path = newest_clusters(output, config), _book(config, output)
    with on_call(config, [output], "alerts", console.warn) as both:
        assert both is not None  # there is a book
        desk, sender = both
        made = desk.look_at(*tables.read())
        done = sender.send_until(_TRY_S)
        with Book(path) as book:
            left = waiting_line(book)
    return Told(_kinds(made), done.sent, done.dead, left)


def tell_until_stopped(output: str, config: Config, console: Console) -> Told:
    """Until Ctrl-C or SIGTERM; a database that is locked just now is looked at later.

    BigQuery is looked at every `bigquery.commit_every`, and asked when it has changed.
    """
    tables, sent, dead, look_at = newest_clusters(output, config), 0, 0, 0.0
    _book(config, output)
    steps: dict[str, int] = {}
    with (
        on_call(config, [output], "alerts", console.warn) as both,
        stopped_by_signals() as stop,
    ):
        assert both is not None  # there is a book
        desk, sender = both
        while not stop.is_set():
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + tables.every_s
                try:
                    made = desk.look_at(*(tables.news() or ([], {})))  # decisions may be new
                    tables.taken()
                    for kind, number in _kinds(made).items():
                        steps[kind] = steps.get(kind, 0) + number
                except DistilwatchError as problem:
                    console.note(f"later: {problem}")
            try:
                done = sender.send_due(stop)
                sent, dead = sent + done.sent, dead + done.dead
            except (DistilwatchError, OSError, sqlite3.Error) as problem:
                sender.stumbled(problem)  # a full disk, say: it goes on after that
            stop.wait(_EVERY_S)
    return Told(steps, sent, dead, "")


def messages(output: str, config: Config, states: Sequence[str]) -> list[Message]:
    """Messages of the outbox, newest first."""
    with Book(_there(config, output)) as book:
        return book.outbox.messages(states)


def replay_dead(output: str, config: Config, keys: Sequence[str]) -> Replayed:
    """Lets dead messages wait again, all where no keys are given; see `Outbox.replay`.

    Raises:
      DistilwatchError: nothing was ever told, or a key is not of a dead message.
    """
    with Book(_there(config, output)) as book:
        return book.outbox.replay(keys, now_ms())


def message_line(message: Message) -> str:
    """A message in a line."""
    at = datetime.fromtimestamp(message.made_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    tries = f", {message.attempts} attempts" if message.attempts > 1 else ""
    why = f": {message.error}" if message.error else ""
    return (
        f"{at}  {message.state:8} {message.channel}: {message.notice['title']}{tries}{why} "
        f"({message.key})"
    )


def _kinds(made: Sequence[dict[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in made:
        found[row["step"]] = found.get(row["step"], 0) + 1
    return found


def _book(config: Config, output: str) -> Path:
    path = book_path(config.alerts, [output])
    if path is None:
        raise DistilwatchError(
            "nothing says where to remember what was told and what waits",
            output,
            "name a local file in the settings, alerts.book: oncall.alerts, and give the same "
            "settings (--config) to `detect`; beside a DuckDB file or Parquet it needs none",
        )
    return path


def _there(config: Config, output: str) -> Path:
    path = _book(config, output)
    if not path.is_file():
        raise DistilwatchError(
            "no alert was ever made there", str(path), "`distilwatch alerts send` makes them"
        )
    return path
