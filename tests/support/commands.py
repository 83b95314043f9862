"""The command as its users run it: in a process of its own.

The process is forked from one that has imported what commands import, which takes seconds each
time; tests/pipelines/test_cli.py starts the installed command itself.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import duckdb

from tests.support.program import COMMAND

_context = multiprocessing.get_context("forkserver")
_PRELOAD = ["tests.support.program", "pipelines.detect.build", "pipelines.train", "pipelines.cli"]


def get_ready() -> None:
    """Lets the imports begin, before anybody else starts the process that all are forked from."""
    _context.set_forkserver_preload(_PRELOAD)
    forkserver.ensure_running()


def forked(target: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """Starts a function in a process whose imports are done."""
    process = _context.Process(target=target, args=arguments)
    process.start()
    return process


def run(*arguments: object, home: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs `distilwatch …` with its keys in `home`."""
    words = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        environment = os.environ | {"DISTILWATCH_HOME": str(home)}
        process = forked(_command, words, environment, os.getcwd(), out, err)
        process.join()
        code = process.exitcode
        assert code is not None
        done = subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())
    assert not check or code == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done


def _command(
    words: Sequence[str], environment: Mapping[str, str], folder: str, out: Path, err: Path
) -> None:
    """What `distilwatch` does, in a process that was just forked."""
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [str(COMMAND), *words]
    from pipelines.cli import main

    sys.exit(main())


def result(*arguments: object, home: Path) -> dict[str, Any]:
    """The JSON object that `distilwatch … --json` prints."""
    found: dict[str, Any] = json.loads(run(*arguments, "--json", home=home).stdout)
    return found


def table(database: Path, name: str) -> list[tuple[Any, ...]]:
    """All rows of a table, in the order of its columns."""
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall()


def query(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(sql).fetchall()
