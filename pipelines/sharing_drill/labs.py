"""Labs of the drill: each has its own folder, keys, bundle, tables and, if it has one, broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import yaml

NAMES = ("lab-a", "lab-b", "lab-c")


def command(home: Path, *arguments: object) -> dict[str, Any]:
    """What a command of ours prints with --json, run in a process of its own with its own keys.

    Raises:
      RuntimeError: when it fails, with all that it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *map(str, arguments), "--json"],
        capture_output=True, text=True, check=False,
        env=os.environ | {"DISTILWATCH_HOME": str(home)},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{arguments}\n{done.stdout}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@dataclass
class Lab:
    """One lab.

    Attributes:
      name: as others know it.
      folder: where all of it is.
      settings: of its runs.
      broker: "host:port" of its own Kafka broker; "" to read files.
      members: accounts of the campaign that are here; only the drill knows.
    """

    name: str
    folder: Path
    settings: Mapping[str, Any]
    broker: str = ""
    members: frozenset[str] = frozenset()
    accounts: frozenset[str] = field(default_factory=frozenset)

    @property
    def home(self) -> Path:
        return self.folder / "home"

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
        return f"kafka://{self.broker}/requests" if self.broker else str(self.live)

    def build(self, campaign: Iterable[str], benign_accounts: int, events: int, seed: int) -> None:
        """Makes the lab's own customers, its share of the campaign's events, and its bundle."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command(
            self.home, "simulate", "--out", self.live, "--history", self.folder / "history.jsonl",
            "--labels", self.folder / "labels.jsonl", "--accounts", benign_accounts,
            "--events", events, "--days", 12, "--history-days", 6, "--benign-only", "--seed", seed,
        )  # fmt: skip
        with self.live.open("a") as out:
            out.writelines(campaign)
        with self.live.open() as lines:
            self.accounts = frozenset(json.loads(line)["account_id"] for line in lines)
        self._write("settings.yaml", {})
        command(
            self.home, "train", "--input", self.folder / "history.jsonl",
            "--bundle", self.folder / "bundle", "--config", self.folder / "settings.yaml",
        )  # fmt: skip
        if self.broker:
            self._produce()

    def detect(self, name: str, changes: Mapping[str, Any] | None = None) -> Path:
        """Runs detection over its stream, with settings of its own; returns the tables."""
        out = self.folder / f"{name}.duckdb"
        config = self._write(f"{name}.yaml", changes or {})
        command(
            self.home, "detect", "--input", self.input, "--bundle", self.folder / "bundle",
            "--config", config, "--output", f"duckdb:///{out}", "--run-id", f"{self.name}-{name}",
        )  # fmt: skip
        return out

    def _write(self, name: str, changes: Mapping[str, Any]) -> Path:
        path = self.folder / name
        merged = dict(self.settings)
        for section, values in changes.items():
            merged[section] = {**merged.get(section, {}), **values}
        path.write_text(yaml.safe_dump(merged), encoding="utf-8")
        return path

    def _produce(self) -> None:
        from kafka import KafkaAdminClient, KafkaProducer

        admin = KafkaAdminClient(bootstrap_servers=self.broker)
        admin.create_topics({"requests": {"num_partitions": 2, "replication_factor": 1}})
        admin.close()
        producer = KafkaProducer(bootstrap_servers=self.broker)
        with self.live.open("rb") as lines:
            for i, line in enumerate(lines):
                producer.send("requests", line.rstrip(b"\n"), partition=i % 2)
        producer.close()


def query(database: Path, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(sql, list(parameters)).fetchall()


def flagged(database: Path) -> dict[str, frozenset[str]]:
    """Accounts of each cluster that is flagged."""
    found: dict[str, set[str]] = {}
    for name, account in query(
        database,
        "SELECT c.cluster_id, m.account_id FROM current_clusters c "
        "JOIN cluster_members m USING (cluster_id, revision) WHERE c.status <> 'resolved'",
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
