"""Why DuckDB refuses a file, in words; without Beam, so that commands that only read start fast."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import NamedTuple

import duckdb

from schemas.errors import DistilwatchError
from transforms.sinks.duckdb_gate import connected_to_write


class Refusal(NamedTuple):
    """Why DuckDB refuses a file, in words."""

    what: str
    mend: str
    locked: bool = False


RETRY_S = 0.02
"""Between two tries at a file that others have open; readers rest for longer than that."""
_NO_DATABASE = Refusal("the file is no DuckDB database", "give another file")
_PATIENCE_S = 10.0  # people at the triage pages have the file open for a moment, now and then
_HOLDER = re.compile(r"held in (?P<program>.+?) \(PID (?P<process>\d+)\)")


def why_not(error: duckdb.Error) -> Refusal:
    """What is wrong with a database's file, and what to do about it."""
    said = str(error).splitlines()[0]
    if "Could not set lock" in said:
        holder = _HOLDER.search(said)
        by = ""
        if holder is not None:
            by = f" by {os.path.basename(holder['program'])} (process {holder['process']})"
        return Refusal(
            f"the file is in use{by}",
            "close the program that has it open, or give another file",
            True,
        )
    if "with a different configuration" in said:  # to read where we write, or the other way round
        return Refusal("this program has the file open itself", "try again in a moment", True)
    # A file of JSON or CSV is opened as tables in memory, which a reader may not have.
    if "not a valid DuckDB database" in said or "Cannot launch in-memory database" in said:
        return _NO_DATABASE
    if "No space left" in said:
        return Refusal("no space is left on the disk", "free some space, or choose another file")
    return Refusal(said, "check the file and its folder, or choose another file")


def may_be_database(path: Path) -> bool:
    """Whether a file is DuckDB's, or is not there yet, or empty.

    DuckDB itself opens files of JSON and CSV, too, as tables in memory; what is written to these is
    nowhere afterwards.
    """
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return True  # which opening it will tell better
    return not head or head[8:] == b"DUCK"  # after a checksum


def check_database(path: Path, wait: bool = False) -> None:
    """Raises DistilwatchError when rows could not be written to a file; changes nothing.

    Args:
      path: of the database, which need not be there.
      wait: whether a lock does not matter, because writing waits until it is gone.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    if not may_be_database(path):
        place = f"--output duckdb:///{path}"
        raise DistilwatchError(_NO_DATABASE.what, place, _NO_DATABASE.mend)
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with connected_to_write(path):
                return
        except duckdb.Error as error:
            refused = why_not(error)
            if refused.locked and wait:
                return
            if not refused.locked or time.monotonic() > deadline:
                place = f"--output duckdb:///{path}"
                raise DistilwatchError(refused.what, place, refused.mend) from None
        time.sleep(RETRY_S)
