"""How long a Python worker of Flink takes to connect, and what memory is its own.

`python -m bench.workers` asks our pool for workers, one after the other, each for a task manager
with nothing to do, and beside them starts a process that does a worker's imports by itself, which
is what a worker was before they were forked. Memory is Linux's: a page that n processes share
counts 1/n to each (PSS).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench.throughput import machine
from infra.local.flink_cluster import WorkerPool
from infra.local.task_manager import TaskManager
from pipelines.flink.forked_worker import IMPORTED

_IMPORTS = "; ".join(f"import {name}" for name in IMPORTED)
_ALONE = f"{_IMPORTS}; print(flush=True); input()"


def memory_mib(pid: int, kind: str) -> float:
    """MiB of a process, of the kind Pss or Rss."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) / 1024


def forked(workers: int, folder: Path) -> tuple[list[float], list[float], list[float]]:
    """Seconds until each worker of a pool was connected, and PSS and RSS in MiB of each once all
    are."""
    pool, seconds = WorkerPool(folder), []
    with ExitStack() as stack:
        stack.callback(pool.stop)
        pool.start()
        # The first is not counted: it waits for the imports, which begin with the pool.
        for _ in range(workers + 1):
            task_manager = TaskManager()
            stack.callback(task_manager.end)
            began = time.monotonic()
            if problem := task_manager.ask(pool.address):
                raise RuntimeError(problem)
            while not task_manager.workers:
                time.sleep(0.005)
            seconds.append(time.monotonic() - began)
        pids = pool.workers()
        return (
            seconds[1:],
            [memory_mib(pid, "Pss") for pid in pids],
            [memory_mib(pid, "Rss") for pid in pids],
        )


def alone() -> tuple[float, float, float]:
    """The same of a process that does the imports by itself, without connecting."""
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _ALONE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.monotonic() - began
        found = seconds, memory_mib(process.pid, "Pss"), memory_mib(process.pid, "Rss")
        process.stdin.write(b"\n")
        process.stdin.flush()
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser("python -m bench.workers", description=__doc__)
    parser.add_argument("--workers", type=int, default=4)
    args = parser.parse_args(argv)
    alone()  # so that files are in memory for both
    with tempfile.TemporaryDirectory(prefix="distilwatch-workers-") as folder:
        seconds, own, resident = forked(args.workers, Path(folder))
    by_itself = alone()
    print(f"{machine()}; medians of {args.workers} workers of one pool\n")
    print("| a worker | s until it is there | MiB of its own (PSS) | MiB it can see (RSS) |")
    print("|---|---:|---:|---:|")
    print(f"| forked | {median(seconds):.2f} | {median(own):.0f} | {median(resident):.0f} |")
    print("| that imports by itself | {:.2f} | {:.0f} | {:.0f} |".format(*by_itself))
    return 0


if __name__ == "__main__":
    sys.exit(main())
