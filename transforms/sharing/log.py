"""An append-only log whose entries are chained by their hashes.

Each line is a JSON object with `seq`, `at`, `action`, what was done, `prev` (hash of the line
before) and `hash` (of the line without it). A line that was changed, taken out or put in breaks the
chain; that the last lines are missing is seen by who has kept a newer `hash`, which every command
prints.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from schemas.errors import DistilwatchError
from transforms.sharing.canonical import canonical, digest

FIRST = "0" * 64
Entry = dict[str, Any]


class ShareLog:
    """The log in a file; several processes may use it.

    Args:
      path: of the file; made with the first entry, its folder must be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> list[Entry]:
        """All entries, oldest first, after their chain was checked.

        Raises:
          DistilwatchError: when the log was changed.
        """
        if not self._path.exists():
            return []
        found: list[Entry] = []
        before = FIRST
        for number, line in enumerate(self._path.read_bytes().splitlines(), 1):
            entry = self._parsed(line, number)
            claimed = entry.pop("hash", None)
            if entry.get("prev") != before or entry.get("seq") != number:
                raise self._broken(number, "does not follow the line before")
            if claimed != digest(canonical(entry)):
                raise self._broken(number, "was changed")
            before = claimed
            found.append({**entry, "hash": claimed})
        return found

    def head(self) -> str:
        """Hash of the last entry."""
        entries = self.entries()
        return str(entries[-1]["hash"]) if entries else FIRST

    def append(self, action: str, at_ms: int, **what: Any) -> Entry:
        """Adds an entry and returns it; it is on the disk afterwards."""
        with self.locked():
            return self._append(action, at_ms, what)

    def append_if(self, known: int, action: str, at_ms: int, **what: Any) -> Entry | None:
        """Adds an entry when the log still has `known` entries, else None: somebody was faster."""
        with self.locked():
            if len(self.entries()) != known:
                return None
            return self._append(action, at_ms, what)

    def _append(self, action: str, at_ms: int, what: Mapping[str, Any]) -> Entry:
        entries = self.entries()
        entry: Entry = {
            **what,
            "seq": len(entries) + 1,
            "at": at_ms,
            "action": action,
            "prev": entries[-1]["hash"] if entries else FIRST,
        }
        entry["hash"] = digest(canonical(entry))
        try:
            with self._path.open("ab") as file:
                file.write(canonical(entry) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DistilwatchError(
                f"the log of sharing cannot be written ({error.strerror})",
                str(self._path),
                "nothing may leave without it: make the file writable",
            ) from error
        return entry

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from adding meanwhile."""
        with self._path.with_suffix(".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _parsed(self, line: bytes, number: int) -> Entry:
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            entry = None
        if not isinstance(entry, dict):
            raise self._broken(number, "is no entry")
        return entry

    def _broken(self, number: int, what: str) -> DistilwatchError:
        return DistilwatchError(
            f"the log of sharing is broken: line {number} {what}",
            str(self._path),
            "find out who did that; restore the file from a copy, and compare the hash of its end",
        )
