"""From settings to the desk: what is told, to whom, and where it is remembered."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from pipelines.config import Config
from pipelines.live_rules import LiveRules
from pipelines.parts import bigquery_options
from pipelines.settings import AlertsConfig
from pipelines.tables import columns, rows
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.alerts.allowlist import Allowlist
from transforms.alerts.book import Book
from transforms.alerts.channels import Channel, open_channel
from transforms.alerts.decision_store import Decisions, DispositionStore
from transforms.alerts.desk import Desk
from transforms.alerts.outbox import Backoff
from transforms.alerts.paging import read_policies
from transforms.alerts.part import read_part
from transforms.alerts.restore import restored
from transforms.alerts.routing import Channels
from transforms.alerts.rules import Rules
from transforms.alerts.sender import Background, Sender
from transforms.alerts.standing import GrowthRule
from transforms.bigquery import parse_bigquery_uri
from transforms.sinks import duckdb_path
from transforms.sinks.duckdb import opened, write_tables
from transforms.sinks.parquet import add_parquet, parquet_folder

if TYPE_CHECKING:
    from transforms.sinks.bigquery.write import BigQuerySink

Warn = Callable[[str], None]
_PATIENCE_S = 30.0  # people at the triage pages have the file open for a moment, now and then


def now_ms() -> int:
    """Milliseconds UTC."""
    return int(time.time() * 1000)


def rules_of(alerts: AlertsConfig, namespace: str = "") -> Rules:
    """The rules of a house, read from the files that its settings name.

    Raises:
      DistilwatchError: naming the first mistake.
    """

    channels = _path(alerts.channels)
    return Rules(
        read_policies(_path(alerts.policies)),
        read_part(channels, Channels) if channels else Channels(),
        allowlist_of(alerts),
        growth_of(alerts),
        alerts.case_url,
        alerts.runbook_url,
        namespace,
    )


def allowlist_of(alerts: AlertsConfig) -> Allowlist:
    """The allowlist of a house.

    Raises:
      DistilwatchError: naming the first mistake.
    """
    allow = _path(alerts.allow)
    return read_part(allow, Allowlist) if allow else Allowlist()


def growth_of(alerts: AlertsConfig) -> GrowthRule:
    """When a cluster of a house outgrows what was decided of it."""
    own = alerts.reopen
    return GrowthRule(own.new_share, own.new_accounts, own.exposure_times, own.exposure_usd)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).expanduser()


def open_channels(rules: Rules) -> dict[str, Channel]:
    """The channels that are named, by name.

    Raises:
      DistilwatchError: a secret is not where the settings say.
    """
    return {name: open_channel(own) for name, own in rules.channels.channels.items()}


def check_rules(alerts: AlertsConfig) -> None:
    """Raises DistilwatchError when policies, channels, allowlist or a secret cannot be used."""
    open_channels(rules_of(alerts))


def book_path(alerts: AlertsConfig, outputs: Sequence[str]) -> Path | None:
    """Where alerts are remembered; None where there is no local output, and no setting."""
    if alerts.book is not None:
        return Path(alerts.book).expanduser()
    for scheme, path_of in (("duckdb:", duckdb_path), ("parquet:", parquet_folder)):
        for uri in outputs:
            if uri.startswith(scheme):
                path = path_of(uri)
                return path.with_name(f"{path.name}.alerts")
    return None


class Untold(NamedTuple):
    """Messages to people on call that have not reached them.

    Attributes:
      failing: tried in vain, and tried again later.
      dead: given up.
    """

    failing: int = 0
    dead: int = 0


def untold(alerts: AlertsConfig, outputs: Sequence[str]) -> Untold:
    """What is so in the book by now; nothing where there is no book."""
    path = book_path(alerts, outputs)
    if path is None or not path.exists():
        return Untold()
    with Book(path) as book:
        return Untold(book.outbox.tried_and_waiting(), book.outbox.counts().get("dead", 0))


class OnCall:
    """The desk of a run: looks at what is in the tables, and writes the table `alerts`."""

    def __init__(
        self,
        config: Config,
        outputs: Sequence[str],
        book: Book,
        rules: Rules,
        run_id: str,
        warn: Warn = lambda text: None,
    ) -> None:
        """Args:
        config: that names the files of the rules, which are read anew when they change.
        outputs: with the tables.
        book: that everything is kept in.
        rules: read from the files just now.
        run_id: of the run.
        warn: takes a line when other rules count, or cannot be used.
        """
        self.steps = 0
        self._live = LiveRules(config.alerts, rules, warn)
        self._rules = rules
        self._outputs = outputs
        self._book = book
        self._desk = Desk(book, rules, now_ms)
        self._run_id = run_id
        self._config = config
        self._sinks: dict[str, BigQuerySink] = {}
        kept = [uri for uri in outputs if uri.startswith(("duckdb:", "bigquery:"))]
        # People decide in one place: in the database where there is one, else in BigQuery.
        kept.sort(key=lambda uri: uri.startswith("bigquery:"))
        self._decisions = _decisions_of(kept[0]) if kept else None
        if book.is_new() and kept:
            self._restore(kept[0], rules.namespace or None)

    def look(self, clusters: pa.Table, members: pa.Table) -> None:
        """Looks at rows that are in the tables by now.

        Raises:
          DistilwatchError: what people decided cannot be read, or alerts cannot be written.
        """
        accounts: dict[str, tuple[tuple[int, int], list[str]]] = {}
        for row in plain_rows(members):
            at = row["window_start"] or 0, row["revision"]
            held = accounts.setdefault(row["cluster_id"], (at, []))
            if at > held[0]:
                held = accounts[row["cluster_id"]] = (at, [])
            if at == held[0]:
                held[1].append(row["account_id"])
        self.look_at(plain_rows(clusters), {name: held for name, (_, held) in accounts.items()})

    def look_at(
        self, clusters: list[dict[str, Any]], accounts: dict[str, list[str]]
    ) -> list[dict[str, Any]]:
        """As `look`, of rows with times in milliseconds UTC; returns rows of `alerts`."""
        decisions = self._decisions.current() if self._decisions is not None else []
        rules = self._live.look().rules
        if rules is not self._rules:
            self._rules, self._desk = rules, Desk(self._book, rules, now_ms)
        try:
            made = self._desk.look(clusters, accounts, decisions)
            self.steps += len(made)
            self._desk.export(self._write)
        except sqlite3.Error as error:
            raise DistilwatchError(
                f"the book of alerts cannot be used: {error}",
                str(self._book.path),
                "look whether its disk is full, or another process holds it",
            ) from error
        return made

    def tick(self) -> None:
        """Looks whether people decided something, or changed policies or allowlist."""
        self.look_at([], {})

    def _write(self, steps: list[dict[str, Any]]) -> None:
        table = TABLES["alerts"].to_arrow(steps)
        for uri in self._outputs:
            if uri.startswith("duckdb:"):
                write_tables(duckdb_path(uri), {"alerts": table}, patience_s=_PATIENCE_S)
            elif uri.startswith("parquet:"):
                # Named after what is in it, so that a repeat after a crash replaces itself.
                name = f"batch-{min(s['changed_at'] for s in steps):020d}-{steps[0]['alert_id']}"
                add_parquet(parquet_folder(uri), self._run_id, name, {"alerts": table})
            elif uri.startswith("bigquery:"):
                self._sink(uri).write_table("alerts", table)

    def _sink(self, uri: str) -> BigQuerySink:
        from transforms.sinks.bigquery.write import BigQuerySink

        if uri not in self._sinks:
            # When days expire is said by the run's own output, of which this is only a part.
            options = replace(bigquery_options(self._config), expire_ms=None)
            self._sinks[uri] = BigQuerySink(uri, self._run_id, options)
        return self._sinks[uri]

    def _restore(self, uri: str, namespace: str | None) -> None:
        """What the table says, into a book that was lost: nobody is told again."""
        told = [
            row
            for row in _alerts_in(uri)
            if row["storm_id"] != row["alert_id"] and row["namespace"] == namespace
        ]
        with self._book.writing():
            for name, known in restored(told).items():
                self._book.keep(name, known)


def _decisions_of(uri: str) -> Decisions:
    if uri.startswith("duckdb:"):
        return DispositionStore(duckdb_path(uri))
    from transforms.alerts.decision_store_bigquery import BigQueryDispositions
    from transforms.bigquery.client import Connection

    return BigQueryDispositions(Connection(parse_bigquery_uri(uri)))


def _alerts_in(uri: str) -> list[dict[str, Any]]:
    """Rows of the table `alerts`, times in milliseconds UTC; none where there is no table."""
    if uri.startswith("bigquery:"):
        from transforms.sinks.bigquery.read import tables_of

        names = [column.name for column in TABLES["alerts"].columns]
        found = tables_of(uri, {"alerts": (names, "TRUE")})
        if found is None:
            return []
        return plain_rows(TABLES["alerts"].to_arrow(found["alerts"].to_pylist()))
    path = duckdb_path(uri)
    if not path.is_file():
        return []
    with opened(path, _PATIENCE_S, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        there = connection.execute(
            "SELECT 1 FROM duckdb_tables() WHERE table_name = 'alerts'"
        ).fetchone()
        return rows(connection, f"SELECT {columns('alerts')} FROM alerts") if there else []


@contextmanager
def on_call(
    config: Config, outputs: Sequence[str], run_id: str, warn: Warn, namespace: str = ""
) -> Iterator[tuple[OnCall, Sender] | None]:
    """The desk of a run, and its sender; None where nothing can be remembered.

    Raises:
      DistilwatchError: the rules or the book cannot be used.
    """
    path = book_path(config.alerts, outputs)
    if path is None:
        yield None
        return
    rules = rules_of(config.alerts, namespace)
    make = sender_of(config, rules, warn)
    with Book(path) as book:
        yield OnCall(config, outputs, book, rules, run_id, warn), make(book)


def sender_of(config: Config, rules: Rules, warn: Warn) -> Callable[[Book], Sender]:
    """Makes senders of the rules' channels."""
    channels, backoff = open_channels(rules), Backoff(limit=config.alerts.attempts)
    return partial(Sender, channels=channels, backoff=backoff, clock_ms=now_ms, warn=warn)


@contextmanager
def on_call_meanwhile(
    config: Config, outputs: Sequence[str], run_id: str, warn: Warn
) -> Iterator[OnCall | None]:
    """As `on_call`, and sends in a thread of its own for as long as it lasts."""
    with ExitStack() as stack:
        both = stack.enter_context(on_call(config, outputs, run_id, warn))
        if both is None:
            yield None
            return
        desk, sender = both
        path = book_path(config.alerts, outputs)
        assert path is not None
        make = sender_of(config, rules_of(config.alerts), warn)
        with Background(path, make):
            yield desk
        sender.send_due()


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows with times in milliseconds UTC, as rows are made."""
    for i, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            table = table.set_column(i, column.name, table[column.name].cast(pa.int64()))
    plain: list[dict[str, Any]] = table.to_pylist()
    return plain


def waiting_line(book: Book) -> str:
    """What is in the outbox, in words; "" for nothing that matters."""
    counts = book.outbox.counts()
    parts = [
        f"{counts[state]:,} {words}"
        for state, words in (("pending", "wait to be sent"), ("dead", "could not be sent"))
        if counts.get(state)
    ]
    return f"Of the messages {' and '.join(parts)}." if parts else ""
