"""The command as its users run it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb

COMMAND = Path(sys.executable).with_name("distilwatch")


def run(*arguments: object, home: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs `distilwatch …` with its keys in `home`."""
    done = subprocess.run(
        [str(COMMAND), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DISTILWATCH_HOME": str(home)},
    )
    assert not check or done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done


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
