"""`detect` on a topic without an end, as a process.

`World` has a topic of its own, what is simulated and trained for it, and what its tables must hold;
`Stream` is one process over a topic, bundle and settings that a test brings.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import orjson

from infra.local.services import KafkaBroker
from tests.support.commands import result
from tests.support.kafka import new_topic
from tests.support.program import COMMAND

SETTINGS = """
scoring:
  detectors:
    - {name: KNN, params: {n_neighbors: 5}}
    - {name: IForest, params: {n_estimators: 30}}
coverage: {cells: 256, codebook_sample: 3000}
clusters: {null_groups: 1000}
alerts: {max_p: 0.05, pages_per_day: 1000, false_discovery_rate: 0.9}
ingest: {idle_after: 2 s, allowed_lateness: 20 min, batch_records: 200}
sessions: {early_firing: 2 s}
profiles: {window: 1 d}
run: {commit_every: 1 s}
"""
LATE = "late-account"
PATIENCE_S = 480  # reached on failure only; a busy machine takes its time

SESSIONS = """
    SELECT session_id, request_count, score, p_value FROM current_sessions
    WHERE level <> 'profile' AND key <> ?"""
CLOSED = SESSIONS + " AND pane <> 'early'"
# What a cluster is called depends on which of its accounts was seen first, and stays so: clusters
# are told by their members.
PROFILES = """
    WITH newest AS (
        SELECT * FROM session_scores WHERE level = 'profile' AND key <> ?
        QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1)
    SELECT session_id, request_count, score, p_value, combined_p_value, CASE WHEN
        cluster_id IS NOT NULL THEN min(key) OVER (PARTITION BY window_start, cluster_id) END
    FROM newest"""
_OPEN = """
    WITH newest AS (
        SELECT * FROM flagged_clusters
        QUALIFY row_number() OVER (
            PARTITION BY cluster_id, window_start ORDER BY revision DESC) = 1),
    opened AS (SELECT * FROM newest WHERE status <> 'resolved'),
    members AS (
        SELECT o.window_start, m.* EXCLUDE (window_start), min(m.account_id) OVER (
            PARTITION BY o.window_start, m.cluster_id) AS first_account
        FROM cluster_members m JOIN opened o USING (cluster_id, revision))"""
CLUSTERS = (
    _OPEN
    + """
    SELECT DISTINCT m.first_account, o.window_start, o.request_count, severity, o.score, o.p_value,
        account_count
    FROM opened o JOIN members m USING (cluster_id, window_start) WHERE m.account_id <> ?"""
)
MEMBERS = (
    _OPEN
    + """
    SELECT window_start, account_id, first_account, request_count, p_value
    FROM members WHERE account_id <> ?"""
)
NAMES = "SELECT cluster_id, cluster_id FROM current_clusters WHERE status <> 'resolved'"
BALANCE = "SELECT records_read, unaccounted FROM run_balance"


def rows_by_now(
    database: Path, sql: str, parameters: Sequence[object] = ()
) -> list[tuple[Any, ...]]:
    """Rows of a query while somebody else writes; none before there is a table."""
    for _ in range(100):
        with (
            suppress(duckdb.IOException, duckdb.CatalogException),
            duckdb.connect(str(database), read_only=True) as connection,
        ):
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(sql, parameters).fetchall()
        time.sleep(0.05)
    return []


class World:
    """A topic of four partitions, the last of them idle, and what `detect` wrote about it.

    Attributes:
      runner: options of the command that choose one; none for the default.
      traffic: what is simulated.
    """

    runner: tuple[str, ...] = ()
    traffic: tuple[object, ...] = (
        "--accounts", 110, "--events", 5_000, "--days", 6, "--history-days", 4,
        "--attack", "hydra-disjoint:m=8,rate=60,links=1",
    )  # fmt: skip

    def __init__(
        self,
        folder: Path,
        broker: KafkaBroker,
        environment: dict[str, str] | None = None,
        more_settings: str = "",
    ) -> None:
        self.folder = folder
        self.home, self.bundle = folder / "home", folder / "bundle"
        self.database, self.settings = folder / "out.duckdb", folder / "settings.yaml"
        self.told = new_topic(broker)
        channels = folder / "channels.yaml"
        channels.write_text(
            f"channels: {{told: {{kind: kafka, uri: '{self.told.uri}'}}}}\n"
            "routes: [{channels: [told]}]\n"
        )
        on_call = f", channels: '{channels}'}}\ningest"
        self.settings.write_text(SETTINGS.replace("}\ningest", on_call, 1) + more_settings)
        self.channels = f", channels: '{channels}'"
        self.environment = (environment or {}) | {"DISTILWATCH_HOME": str(self.home)}
        self.requests, self.alerts = new_topic(broker, 4), new_topic(broker)
        result(
            "simulate", "--out", folder / "live.jsonl", "--history", folder / "history.jsonl",
            "--labels", folder / "labels.jsonl", *self.traffic,
            home=self.home,
        )  # fmt: skip
        result(
            "train", "--input", folder / "history.jsonl", "--bundle", self.bundle,
            "--config", self.settings, home=self.home,
        )  # fmt: skip
        self.records = [
            (zlib.crc32(orjson.loads(line)["account_id"].encode()) % 3, line)
            for line in (folder / "live.jsonl").read_bytes().splitlines()
        ]
        labels = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
        self.campaign = {x["account_id"] for x in labels if x["label"] == "attack"}

    def detect(self, *more: str) -> subprocess.Popen[str]:
        """Starts detect on the topic without an end."""
        return subprocess.Popen(
            [
                str(COMMAND), "detect", "--input", f"{self.requests.uri}?bounded=false",
                "--bundle", str(self.bundle), "--config", str(self.settings),
                "--output", f"duckdb:///{self.database}", "--output", self.alerts.uri,
                *self.runner, *(more or ("--run-id", "endless")), "--json",
            ],
            stdout=subprocess.PIPE, stderr=(self.folder / "errors.txt").open("a"), text=True,
            env=os.environ | self.environment,
        )  # fmt: skip

    def bounded(self) -> Path:
        """What a run over all that is in the topic says."""
        out, quiet = self.folder / "bounded.duckdb", self.folder / "quiet.yaml"
        # A run that is only compared with tells nobody.
        quiet.write_text(self.settings.read_text().replace(self.channels, ""))
        result(
            "detect", "--input", self.requests.uri, "--bundle", self.bundle,
            "--config", quiet, "--output", f"duckdb:///{out}", home=self.home,
        )  # fmt: skip
        return out

    def rows(self, sql: str, database: Path | None = None) -> list[tuple[Any, ...]]:
        """Rows by now, while detect is at work; none before there is a table."""
        parameters = [LATE] if "?" in sql else []
        return sorted(rows_by_now(database or self.database, sql, parameters), key=str)

    def until_rows(
        self, wanted: dict[str, list[tuple[Any, ...]]], process: subprocess.Popen[str]
    ) -> None:
        """Waits until the tables hold these rows; says which are missing when they never do."""

        def differing() -> dict[str, tuple[list[Any], list[Any]]]:
            found = {sql: self.rows(sql) for sql in wanted}
            return {
                sql: (
                    [row for row in rows if row not in found[sql]][:3],
                    [row for row in found[sql] if row not in rows][:3],
                )
                for sql, rows in wanted.items()
                if found[sql] != rows
            }

        try:
            until(lambda: not differing(), PATIENCE_S, process, self)
        except AssertionError as error:
            # The difference first, and alone: what a runner prints of a failure has an end.
            said = f"missing, and too many: {differing()}; balance {self.rows(BALANCE)}; {error}"
            raise AssertionError(said) from None

    def errors(self) -> str:
        return (self.folder / "errors.txt").read_text()[-3000:]


def until(
    condition: Callable[[], bool], seconds: float, process: subprocess.Popen[str], world: World
) -> None:
    """Waits for a condition while a process runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, world.errors()
        assert time.monotonic() < deadline, world.errors()
        time.sleep(1)


class Stream:
    """One process of `detect`; ended with its `with` block.

    Without Prism's binary `more` has the options that choose another engine.
    """

    def __init__(
        self, folder: Path, prism: Path | None, source: str, bundle: Path, settings: Path,
        *more: object, database: str = "out.duckdb",
    ) -> None:  # fmt: skip
        self.database = folder / database
        self.log = folder / f"{database}.log"
        self._command = [
            str(COMMAND), "detect", "--input", source, "--bundle", str(bundle),
            "--config", str(settings), "--output", f"duckdb:///{self.database}",
            *map(str, more), "--json",
        ]  # fmt: skip
        self._env = os.environ | ({} if prism is None else {"DISTILWATCH_PRISM": str(prism)})
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Stream:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=self.log.open("a"), text=True,
            env=self._env,
        )  # fmt: skip
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def process(self) -> subprocess.Popen[str]:
        """The command at work."""
        assert self._process is not None
        return self._process

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows by now; none before there is a table."""
        return rows_by_now(self.database, sql)

    def errors(self) -> str:
        """The end of what it said, and how it ended."""
        end = ""
        if self._process is not None and self._process.poll() is not None:
            assert self._process.stdout is not None
            with suppress(ValueError):
                end = self._process.stdout.read()
        return self.log.read_text()[-3000:] + end

    def until(self, condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
        """Waits for a condition while it runs."""
        assert self._process is not None
        deadline = time.monotonic() + seconds
        while not condition():
            assert self._process.poll() is None, self.errors()
            assert time.monotonic() < deadline, self.errors()
            time.sleep(0.3)

    def until_said(self, words: str) -> None:
        """Waits until it has said something."""
        self.until(lambda: words in self.log.read_text())

    def until_read(self, records: int) -> None:
        """Waits until so many records were read, and all are accounted for."""
        balance = "SELECT max(records_read), max(unaccounted) FROM run_balance"
        self.until(lambda: self.rows(balance) == [(records, 0)])

    def stop(self) -> dict[str, Any]:
        """Interrupts it, and returns its summary."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        out, _ = self._process.communicate(timeout=480)
        assert self._process.returncode == 130, self.errors()
        summary: dict[str, Any] = json.loads(out)
        return summary
