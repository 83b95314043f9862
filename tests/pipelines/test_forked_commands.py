"""Commands that tests fork, and Flink's workers, are what a user starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import commands

THREADS = """
import numpy, sklearn.cluster
from threadpoolctl import threadpool_info
print({library["num_threads"] for library in threadpool_info()})
"""
WORKER = f"""
from pipelines.flink import forked_worker
if __name__ == "__main__":
    forked_worker.get_ready()
    process = forked_worker._context.Process(target=exec, args=({THREADS!r},))
    process.start()
    process.join()
"""


def _forked(path: Path) -> None:
    import duckdb

    [(shown,)] = duckdb.sql("SELECT current_setting('enable_progress_bar')").fetchall()
    with path.open("w") as out:
        os.dup2(out.fileno(), 1)
        exec(THREADS)
        print(shown, flush=True)


def test_forked_commands_have_one_numerical_thread_and_show_no_progress(tmp_path: Path) -> None:
    process = commands.forked(_forked, tmp_path / "said")
    process.join()
    assert (tmp_path / "said").read_text().split() == ["{1}", "False"]


@pytest.mark.parametrize(("given", "threads"), [({}, "{1}"), ({"OMP_NUM_THREADS": "2"}, "2")])
def test_workers_have_one_numerical_thread_unless_somebody_says_otherwise(
    tmp_path: Path, given: dict[str, str], threads: str
) -> None:
    (tmp_path / "pool.py").write_text(WORKER)
    kept = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    found = subprocess.run(
        [sys.executable, tmp_path / "pool.py"], env=kept | given, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert threads in found.stdout
