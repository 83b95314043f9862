"""A small run, made as users make one, that several tests look at and none changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import result, run


@dataclass(frozen=True)
class SmallRun:
    """What the commands left in a folder.

    Attributes:
      folder: bundle, tables, page and logs in `made/`; inputs in `inputs/`; keys in `home/`.
    """

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def inputs(self) -> Path:
        return self.folder / "inputs"

    @property
    def made(self) -> Path:
        return self.folder / "made"

    @property
    def database(self) -> Path:
        return self.made / "out.duckdb"

    @property
    def parquet(self) -> Path:
        return self.made / "tables"


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    small = SmallRun(tmp_path_factory.mktemp("small"))
    small.inputs.mkdir()
    small.made.mkdir()
    logs = []

    def say(*arguments: object) -> None:
        done = run(*arguments, home=small.home)
        logs.append(done.stdout + done.stderr)

    result(
        "simulate", "--out", small.inputs / "live.jsonl",
        "--history", small.inputs / "history.jsonl", "--labels", small.inputs / "labels.jsonl",
        "--accounts", 100, "--events", 7000, "--days", 8, "--history-days", 5, "--mutate", 0.05,
        "--attack", "hydra-disjoint:m=12,rate=46,links=1", "--attack", "bulk:rate=600",
        home=small.home,
    )  # fmt: skip
    bundle, uri = small.made / "bundle", f"duckdb:///{small.database}"
    say("train", "--input", small.inputs / "history.jsonl", "--bundle", bundle)
    say(
        "detect", "--input", small.inputs / "live.jsonl", "--bundle", bundle,
        "--output", uri, "--output", f"parquet:///{small.parquet}", "--run-id", "run-1",
    )  # fmt: skip
    say("explain", "--output", uri)
    say("report", "--output", uri, "--html", small.made / "report.html")
    (small.made / "log.txt").write_text("\n".join(logs), encoding="utf-8")
    return small
