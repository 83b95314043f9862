"""A forked worker has no more threads than it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.test_forked_commands import THREADS

WORKER = f"""
from pipelines.flink import forked_worker
if __name__ == "__main__":
    forked_worker.get_ready()
    process = forked_worker._context.Process(target=exec, args=({THREADS!r},))
    process.start()
    process.join()
"""


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
