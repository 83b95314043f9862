"""How long the command takes to answer, and a run to start.

`python -m bench.startup` times `distilwatch --help`, and `detect` over ten events from its first
line to its tables: nearly all of that is the start of a run, because ten events take no time.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import zipf
from bench.case import prepare_zipf
from bench.throughput import ONE_THREAD, machine
from pipelines.config import describe, load_config

_EVENTS, _HISTORY = 10, 5_000


@dataclass(frozen=True)
class Start:
    """One command, run several times.

    Attributes:
      what: it is.
      most_s: it should take.
      wall_s, cpu_s: of each run.
    """

    what: str
    most_s: float
    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]

    def line(self) -> str:
        """A row in Markdown."""
        walls = f"{median(self.wall_s):.2f} | {min(self.wall_s):.2f} to {max(self.wall_s):.2f}"
        return f"| {self.what} | {self.most_s:g} | {median(self.cpu_s):.2f} | {walls} |"


def timed(what: str, most_s: float, command: Sequence[str], runs: int) -> Start:
    """Runs `distilwatch` with some arguments; the first run, which fills caches, does not count.

    Compiled modules are kept, as they are wherever pip installed them; see `main`.

    Raises:
      CalledProcessError: it failed.
    """
    environment = os.environ | ONE_THREAD
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    walls, cpus = [], []
    for _ in range(runs + 1):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *command],
            check=True, capture_output=True, env=environment,
        )  # fmt: skip
        walls.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return Start(what, most_s, tuple(walls[1:]), tuple(cpus[1:]))


def measure(folder: Path, runs: int) -> list[Start]:
    """Both starts.

    Args:
      folder: for what is passing.
      runs: that count.
    """
    history = zipf.Traffic(_HISTORY, 200)
    settings = folder / "settings.yaml"
    settings.write_text(describe(load_config(None, zipf.settings(history))))
    case = prepare_zipf(folder, history, load_config(settings))
    few = folder / "few.jsonl"
    with case.events.open("rb") as lines:
        few.write_bytes(b"".join(next(lines) for _ in range(_EVENTS)))
    detect = [
        "detect", "--input", str(few), "--bundle", str(case.bundle), "--config", str(settings),
        "--output", f"duckdb:///{folder / 'out.duckdb'}", "--json",
    ]  # fmt: skip
    return [
        timed("`distilwatch --help`", 0.5, ["--help"], runs),
        timed("`detect` of ten events, to its tables", 5.0, detect, runs),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser("python -m bench.startup", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="of each command (5)")
    runs = parser.parse_args(argv).runs
    with tempfile.TemporaryDirectory(prefix="distilwatch-startup-") as folder:
        os.environ.update(DISTILWATCH_HOME=folder, PYTHONPYCACHEPREFIX=f"{folder}/compiled")
        found = measure(Path(folder), runs)
    print(f"{machine()}\n")
    print(
        "| command | at most, s | processor s | wall s | least to most |\n|---|---:|---:|---:|---:|"
    )
    print("\n".join(start.line() for start in found))


if __name__ == "__main__":
    main()
