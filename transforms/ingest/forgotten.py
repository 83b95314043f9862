"""Accounts that were to be forgotten, as keyed hashes: known again, and never told.

The list is a file that is only ever added to, so it is the record of what was done as well. Records
of these accounts are refused where they come in, so neither a second run over old input nor a
topic's retention brings an account back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from schemas.errors import DistilwatchError
from transforms.ingest.pseudonyms import Pseudonymiser

_FORGET, _ALLOW = "forget", "allow"


class Forgotten:
    """A set of accounts; empty without a key."""

    def __init__(
        self,
        hashes: frozenset[str] = frozenset(),
        key: bytes | None = None,
        variable: str | None = None,
    ) -> None:
        self._hashes = hashes
        self._keyed = Pseudonymiser(key, variable) if key else None

    @classmethod
    def open(cls, path: Path, key: bytes, variable: str | None = None) -> Forgotten:
        """Reads the list; where there is none, nobody was to be forgotten.

        Args:
          path: of the list.
          key: of its hashes.
          variable: as of `Pseudonymiser`.

        Raises:
          DistilwatchError: when the list cannot be read, so that nobody comes back in silence.
        """
        hashes: set[str] = set()
        for entry in _entries(path):
            (hashes.discard if entry["action"] == _ALLOW else hashes.add)(entry["account"])
        return cls(frozenset(hashes), key, variable)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def __contains__(self, account: str) -> bool:
        return self._keyed is not None and self._keyed(f"forgotten\x1f{account}") in self._hashes


def note(
    path: Path, key: bytes, account: str, by: str, removed: Mapping[str, Any], allow: bool = False
) -> None:
    """Adds to the list.

    Args:
      path: of the list.
      key: of the hashes.
      account: its id, of which only the keyed hash is written.
      by: who asked for it.
      removed: what was removed, for the record.
      allow: whether the account may come back instead.

    Raises:
      DistilwatchError: when the list cannot be written.
    """
    entry = {
        "action": _ALLOW if allow else _FORGET,
        "account": Pseudonymiser(key)(f"forgotten\x1f{account}"),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": by,
        "removed": removed,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One write at the end of the file: two commands at a time do not mix their lines.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "ab", buffering=0) as file:
            file.write(json.dumps(entry).encode() + b"\n")
            os.fsync(file.fileno())
    except OSError as error:
        raise DistilwatchError(
            f"the list of forgotten accounts cannot be written ({error.strerror})",
            str(path),
            "make it writable, or name another in ingest.forgotten_file",
        ) from error


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise DistilwatchError(
            "the list of forgotten accounts cannot be read", str(path), "restore it"
        ) from error
