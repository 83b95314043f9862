"""Events a second of `detect` on each engine of this machine, over a file that ends.

`python -m bench.engines` makes traffic and a bundle, starts a Flink cluster, runs the command on
each engine, and prints a table. Starting a job and its workers counts, as it does for users.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from infra.local.flink_cluster import FlinkCluster, WorkerPool, flink_libs

_HEAD = "| engine | workers | events/s | seconds in all |\n|---|---|---|---|"


def _command(*arguments: object, home: Path) -> dict[str, object]:
    environment = os.environ | {"DISTILWATCH_HOME": str(home)}
    environment["DISTILWATCH_FLINK_LIBS"] = str(flink_libs())
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *map(str, arguments), "--json"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{arguments}: {done.stderr[-2000:]}")
    found: dict[str, object] = json.loads(done.stdout)
    return found


def measure(events: int, folder: Path) -> list[tuple[str, int, float, float]]:
    """(engine, workers, events a second, seconds) of each way to run.

    Args:
      events: to simulate; those of the history count, too.
      folder: for what is passing.
    """
    home, live, bundle = folder / "home", folder / "live.jsonl", folder / "bundle"
    _command(
        "simulate", "--out", live, "--history", folder / "history.jsonl",
        "--labels", folder / "labels.jsonl", "--events", events, home=home,
    )  # fmt: skip
    _command("train", "--input", folder / "history.jsonl", "--bundle", bundle, home=home)
    found = []
    with FlinkCluster(folder / "flink") as cluster:
        pool = WorkerPool(folder)
        pool.start()
        try:
            for engine, workers in (("direct", 1), ("direct", 2), ("flink", 1), ("flink", 2)):
                settings = folder / f"{engine}-{workers}.yaml"
                settings.write_text(
                    f"run: {{parallelism: {workers if engine == 'direct' else 1}}}\n"
                    f"flink: {{parallelism: {workers}, workers: '{pool.address}'}}\n"
                )
                more = ("--flink-master", cluster.master) if engine == "flink" else ()
                began = time.monotonic()
                said = _command(
                    "detect", "--input", live, "--bundle", bundle, "--config", settings,
                    "--output", f"duckdb:///{folder / f'{engine}-{workers}.duckdb'}",
                    "--runner", engine, *more, home=home,
                )  # fmt: skip
                took = time.monotonic() - began
                health = said["health"]
                assert isinstance(health, dict)
                found.append((engine, workers, health["read"] / took, took))
        finally:
            pool.stop()
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="distilwatch-engines-") as folder:
        print(_HEAD)
        for engine, workers, rate, took in measure(options.events, Path(folder)):
            print(f"| {engine} | {workers} | {rate:,.0f} | {took:,.0f} |")


if __name__ == "__main__":
    main()
