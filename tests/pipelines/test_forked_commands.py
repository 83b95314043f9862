"""Commands that tests fork are what a user starts."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import commands

# Also of the workers in tests/pipelines/flink/test_forked_worker.py.
THREADS = """
import numpy, sklearn.cluster
from threadpoolctl import threadpool_info
print({library["num_threads"] for library in threadpool_info()})
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
