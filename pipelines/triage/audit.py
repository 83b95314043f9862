"""Who did what, when: a file that is only appended to.

A line is a JSON object. Each holds the SHA-256 of the line before, so that a line that was changed
or taken out shows; the newest lines can still be cut off, against which only a copy elsewhere
helps: let your log shipper follow the file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas.errors import DistilwatchError

_BLOCK = 8_192
_FIRST = "0" * 64


class AuditLog:
    """The file; several processes may write to it."""

    def __init__(self, path: Path) -> None:
        """Raises DistilwatchError when it cannot be written."""
        self._path = path
        try:
            with path.open("ab"):
                pass
            path.chmod(0o600)
        except OSError as error:
            raise DistilwatchError(
                f"the audit log cannot be written ({error.strerror})",
                str(path),
                "set triage.audit_log to a file that may be written",
            ) from error

    def note(self, what: str, who: str, sure: bool = False, **more: Any) -> None:
        """Adds a line.

        Args:
          what: was done, one stable word.
          who: did it.
          sure: whether it must be on the disk before anything else is done.
          more: details; never prompt text.

        Raises:
          DistilwatchError: it cannot be written; what is not noted is not shown either.
        """
        try:
            self._note(what, who, sure, more)
        except OSError as error:
            raise DistilwatchError(
                f"the audit log cannot be written ({error.strerror})",
                str(self._path),
                f"free some space on the disk of {self._path.name}, or mend its permissions",
            ) from error

    def _note(self, what: str, who: str, sure: bool, more: dict[str, Any]) -> None:
        with self._path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            before, whole = _last_line(file)
            if not whole:  # a process died while it wrote: its line is left as it is
                file.write(b"\n")
            line = {
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "what": what,
                "who": who,
                **more,
                "previous": hashlib.sha256(before).hexdigest() if before else _FIRST,
            }
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            file.flush()
            if sure:
                os.fsync(file.fileno())

    def newest(self, most: int) -> list[dict[str, Any]]:
        """The last lines, newest first; of one that is no entry what can be read of it."""
        with self._path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            at, tail = file.tell(), b""
            while at and tail.count(b"\n") <= most:
                step = min(at, 16 * _BLOCK)
                at -= step
                file.seek(at)
                tail = file.read(step) + tail
        return [_entry(line) for line in tail.splitlines()[-most:][::-1]]

    def broken(self) -> int:
        """Number of the first line that does not follow from the one before; 0 for none."""
        before = b""
        for number, line in enumerate(self._lines(), 1):
            wanted = hashlib.sha256(before).hexdigest() if before else _FIRST
            try:
                if json.loads(line)["previous"] != wanted:
                    return number
            except (ValueError, KeyError, TypeError):
                return number
            before = line
        return 0

    def _lines(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            for line in file:
                yield line.rstrip(b"\n")


def _entry(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if isinstance(found, dict) and {"at", "what", "who"} <= found.keys():
        return found
    shown = line.decode(errors="replace")
    return {"at": "", "what": "unreadable", "who": "", "line": shown}


def _last_line(file: Any) -> tuple[bytes, bool]:
    """Without its end, and whether it had one."""
    file.seek(0, os.SEEK_END)
    at, tail = file.tell(), b""
    while at and tail.rstrip(b"\n").count(b"\n") == 0:
        step = min(at, _BLOCK)
        at -= step
        file.seek(at)
        tail = file.read(step) + tail
    file.seek(0, os.SEEK_END)
    found: bytes = tail.rstrip(b"\n").rpartition(b"\n")[2]
    return found, not tail or tail.endswith(b"\n")
