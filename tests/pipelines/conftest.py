"""A small run, made as users make one, that several tests look at and none changes; engines."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from infra.local.flink_cluster import FlinkCluster, WorkerPool, flink_libs
from tests.support.commands import result, run
from tests.support.engines import Engine, cancel_jobs


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
def small_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> SmallRun:
    """Made once; each of several workers has its copy, for DuckDB's files are of one process."""
    own = tmp_path_factory.getbasetemp()
    everyones = own if worker_id == "master" else own.parent
    folder = everyones / "small-run"
    with FileLock(everyones / "small-run.lock"):
        if not (folder / "made" / "log.txt").exists():
            shutil.rmtree(folder, ignore_errors=True)
            make_small_run(SmallRun(folder))
    if worker_id == "master":
        return SmallRun(folder)
    # Tests of another folder that take this fixture have one of their own.
    return SmallRun(shutil.copytree(folder, tmp_path_factory.mktemp("small") / "run"))


def make_small_run(small: SmallRun) -> None:
    """Runs the commands; the log is written last."""
    small.folder.mkdir()
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
        "--attack", "hydra-disjoint:m=12,rate=46,links=1",
        "--attack", "reasoning:m=10,rate=60,links=1",
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


@pytest.fixture(
    params=[
        pytest.param("prism", marks=pytest.mark.prism),
        pytest.param("flink", marks=pytest.mark.flink),
    ]
)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Prism, and Flink with workers in processes of their own."""
    if request.param == "prism":
        yield Engine(request.getfixturevalue("prism"))
        return
    cluster: FlinkCluster = request.getfixturevalue("flink")
    workers: WorkerPool = request.getfixturevalue("workers")
    monkeypatch.setenv("DISTILWATCH_FLINK_LIBS", str(flink_libs().absolute()))
    yield Engine(
        None,
        ("--runner", "flink", "--flink-master", cluster.master, "--run-id", "hot"),
        f'flink: {{workers: "{workers.address}", checkpoint_every: 2 s, read_for: 1 s}}\n',
        goes_on=True,
    )
    cancel_jobs(cluster)
