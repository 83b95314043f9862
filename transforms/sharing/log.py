"""An append-only log whose entries are chained by their hashes.

Each line is a JSON object with `seq`, `at`, `action`, what was done, `prev` (hash of the line
before) and `hash` (of the line without it). A line that was changed, taken out or put in breaks the
chain; that the last lines are missing is seen by who has kept a newer `hash`, which every command
prints.

An entry counts once its line has ended and is on the disk. What a crash or a full disk leaves after
the last end of a line was never said to be done: it is passed over, and the next entry takes its
place.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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
          DistilwatchError: when the log was changed, or cannot be read.
        """
        return self._entries(self._whole_lines())

    def _whole_lines(self) -> bytes:
        try:
            data = self._path.read_bytes() if self._path.exists() else b""
        except OSError as error:
            raise self._unusable("read", error) from error
        return data[: data.rfind(b"\n") + 1]

    def _entries(self, lines: bytes) -> list[Entry]:
        found: list[Entry] = []
        before = FIRST
        for number, line in enumerate(lines.splitlines(), 1):
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
        lines = self._whole_lines()
        entries = self._entries(lines)
        entry: Entry = {
            **what,
            "seq": len(entries) + 1,
            "at": at_ms,
            "action": action,
            "prev": entries[-1]["hash"] if entries else FIRST,
        }
        entry["hash"] = digest(canonical(entry))
        try:
            self._add_line(canonical(entry) + b"\n", len(lines))
        except OSError as error:
            raise self._unusable("written", error) from error
        return entry

    def _add_line(self, line: bytes, at: int) -> None:
        """Puts a line after the first `at` bytes, on the disk or not at all."""
        with self._path.open("ab", buffering=0) as file:
            file.truncate(at)
            try:
                left = memoryview(line)
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(at)
                raise

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from adding meanwhile."""
        try:
            file = self._path.with_suffix(".lock").open("a")
        except OSError as error:
            raise self._unusable("written", error) from error
        with file:
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

    def _unusable(self, how: str, error: OSError) -> DistilwatchError:
        return DistilwatchError(
            f"the log of sharing cannot be {how} ({error.strerror})",
            str(self._path),
            "nothing may leave without it: make room, or give this user the right, then repeat it",
        )

    def _broken(self, number: int, what: str) -> DistilwatchError:
        return DistilwatchError(
            f"the log of sharing is broken: line {number} {what}",
            str(self._path),
            "find out who did that; restore the file from a copy, and compare the hash of its end",
        )
