"""Labs of the drill: each has its own folder, keys, bundle, tables and, if it has one, broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from transforms.alerts.decision_store import DispositionStore
from transforms.sinks.duckdb_gate import connect_to_read
from transforms.sinks.kafka import RecordProducer

NAMES = ("lab-a", "lab-b", "lab-c")


def command(home: Path, *arguments: object) -> dict[str, Any]:
    """What a command of ours prints with --json, run in a process of its own with its own keys.

    Raises:
      RuntimeError: when it fails, with all that it said.
    """
    done = process([*map(str, arguments), "--json"], home)
    if done.returncode:
        raise RuntimeError(f"{arguments}\n{done.stdout}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def process(words: Sequence[str], home: Path) -> subprocess.CompletedProcess[str]:
    """Runs `distilwatch …` with its keys in `home`."""
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *words], capture_output=True, text=True,
        check=False, env=os.environ | {"DISTILWATCH_HOME": str(home)},
    )  # fmt: skip


@dataclass
class Lab:
    """One lab.

    Attributes:
      name: as others know it.
      folder: where all of it is.
      settings: of its runs.
      broker: "host:port" of its own Kafka broker; "" to read files.
      campaign: its events here, by account; only the drill knows.
      requests: share of them that are made, 0 to 1; see `slow_down`.
      space_of: bundle whose embedding space it takes over; None: its own.
    """

    name: str
    folder: Path
    settings: Mapping[str, Any]
    broker: str = ""
    campaign: Mapping[str, Sequence[str]] = field(default_factory=dict)
    requests: float = 1.0
    space_of: Path | None = None
    accounts: frozenset[str] = field(default_factory=frozenset)
    _topics: int = 0

    @property
    def members(self) -> frozenset[str]:
        """Accounts of the campaign."""
        return frozenset(self.campaign)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def live(self) -> Path:
        """Its stream, as a file."""
        return self.folder / "live.jsonl"

    @property
    def watch_list(self) -> Path:
        return self.folder / "watch.json"

    @property
    def input(self) -> str:
        """Where detection reads."""
        return f"kafka://{self.broker}/requests-{self._topics}" if self.broker else str(self.live)

    def build(self, benign_accounts: int, events: int, seed: int) -> None:
        """Makes the lab's customers, its bundle, and its stream with its part of the campaign."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command(
            self.home, "simulate", "--out", self._benign,
            "--history", self.folder / "history.jsonl",
            "--labels", self.folder / "labels.jsonl", "--accounts", benign_accounts,
            "--events", events, "--days", 12, "--history-days", 6, "--benign-only", "--seed", seed,
        )  # fmt: skip
        with self._benign.open() as lines:
            own = frozenset(json.loads(line)["account_id"] for line in lines)
        self.accounts = own | self.members
        self._write("settings.yaml", {})
        command(
            self.home, "train", "--input", self.folder / "history.jsonl",
            "--bundle", self.bundle, "--config", self.folder / "settings.yaml",
            *(["--space-of", self.space_of] if self.space_of else []),
        )  # fmt: skip
        self._stream()

    def slow_down(self) -> None:
        """The campaign makes seven requests where it made ten; the stream is another then."""
        self.requests *= 0.7
        self._stream()

    @property
    def _benign(self) -> Path:
        return self.folder / "benign.jsonl"

    def _stream(self) -> None:
        share = self.requests
        with self.live.open("w") as out:
            out.write(self._benign.read_text())
            for lines in self.campaign.values():
                out.writelines(
                    line for i, line in enumerate(lines) if int((i + 1) * share) > int(i * share)
                )
        if self.broker:
            self._topics += 1
            self._produce(f"requests-{self._topics}")

    def detect(
        self,
        name: str,
        changes: Mapping[str, Any] | None = None,
        decided: Path | None = None,
    ) -> Path:
        """Runs detection over its stream, into new tables.

        Args:
          name: of the tables.
          changes: of the settings.
          decided: tables with what people decided so far; None: nothing.

        Returns:
          The tables.
        """
        out = self.folder / f"{name}.duckdb"
        decisions = [] if decided is None else DispositionStore(decided).rows()
        for stale in self.folder.glob(f"{out.name}*"):  # of a stream that was another
            stale.unlink()
        if decisions:
            DispositionStore(out).append(*decisions)
        config = self._write(f"{name}.yaml", changes or {})
        command(
            self.home, "detect", "--input", self.input, "--bundle", self.bundle,
            "--config", config, "--output", f"duckdb:///{out}", "--run-id", f"{self.name}-{name}",
        )  # fmt: skip
        return out

    def _write(self, name: str, changes: Mapping[str, Any]) -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump(together(self.settings, changes)), encoding="utf-8")
        return path

    def _produce(self, topic: str) -> None:
        from kafka import KafkaAdminClient

        admin = KafkaAdminClient(bootstrap_servers=self.broker)
        admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1}})
        admin.close()
        # At its end all have arrived, or it raises: a record that is lost would be a lab that has
        # not seen what it is judged by.
        with (
            RecordProducer(f"kafka://{self.broker}/{topic}") as producer,
            self.live.open("rb") as lines,
        ):
            for i, line in enumerate(lines):
                producer.send(line.rstrip(b"\n"), None, partition=i % 2)


def together(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with changes, which replace them one by one within a section."""
    merged = {name: dict(section) for name, section in settings.items()}
    for name, section in changes.items():
        merged[name] = {**merged.get(name, {}), **section}
    return merged


def query(database: Path, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    with connect_to_read(database) as connection:
        return connection.execute(sql, list(parameters)).fetchall()


def flagged(database: Path) -> dict[str, frozenset[str]]:
    """Accounts of each cluster that is flagged."""
    found: dict[str, set[str]] = {}
    for name, account in query(
        database,
        "SELECT c.cluster_id, m.account_id FROM current_clusters c "
        "JOIN cluster_members m ON m.cluster_id = c.cluster_id AND m.revision = c.revision "
        "AND (m.window_start IS NULL OR m.window_start = c.window_start) "
        "WHERE c.status <> 'resolved'",
    ):
        found.setdefault(name, set()).add(account)
    return {name: frozenset(members) for name, members in found.items()}


def campaign_events(folder: Path, attack: str, seed: int, labs: int) -> list[dict[str, list[str]]]:
    """Events of one campaign, by account, dealt out to labs account by account."""
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "campaign.jsonl"
    command(
        folder / "home", "simulate", "--out", out, "--history", folder / "quiet.jsonl",
        "--accounts", 0, "--days", 12, "--history-days", 6, "--attack", attack, "--seed", seed,
    )  # fmt: skip
    events: dict[str, list[str]] = {}
    with out.open() as lines:
        for line in lines:
            events.setdefault(json.loads(line)["account_id"], []).append(line)
    names = sorted(events)
    return [{name: events[name] for name in names[i::labs]} for i in range(labs)]
