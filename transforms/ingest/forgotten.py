"""Accounts that were to be forgotten, as keyed hashes: known again, and never told.

The list is a file that is only ever added to, so it is the record of what was done as well. Records
of these accounts are refused where they come in, so neither a second run over old input nor a
topic's retention brings an account back.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from schemas.errors import DistilwatchError
from transforms.ingest.pseudonyms import Pseudonymiser

_FORGET, _ALLOW = "forget", "allow"
_LONGEST = 1_024
# A text that never ends counts, too: looked for anew at each quote in it, it takes long squared.
_VALUES = re.compile(rb'"((?:[^"\\]|\\.)*+)"?|-?[0-9]+', re.DOTALL)
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_RUNS = re.compile(rb"[^\x00-\x1f\x7f]+")


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
    def open(
        cls, path: Path, key: bytes, variable: str | None = None, named: bool = False
    ) -> Forgotten:
        """Reads the list; where there is none, nobody was to be forgotten.

        Args:
          path: of the list.
          key: of its hashes.
          variable: as of `Pseudonymiser`.
          named: whether somebody said that the list is there.

        Raises:
          DistilwatchError: when the list cannot be read, so that nobody comes back in silence.
        """
        if named and not path.exists():
            raise DistilwatchError(
                "the list of forgotten accounts is not there, and who is on it would come back",
                f"ingest.forgotten_file {path}",
                "put it there; where nobody was to be forgotten yet, make an empty file",
            )
        hashes: set[str] = set()
        for entry in _entries(path):
            (hashes.discard if entry["action"] == _ALLOW else hashes.add)(entry["account"])
        return cls(frozenset(hashes), key, variable)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def __contains__(self, account: str) -> bool:
        return self._keyed is not None and self._keyed(f"forgotten\x1f{account}") in self._hashes

    def named_in(self, raw: bytes) -> bool:
        """Whether one of the accounts stands by itself somewhere in a record that nobody could
        read: as a text or a number of JSON, even of broken JSON, or as a text of Avro or protobuf.
        """
        return bool(self._hashes) and any(word in self for word in _words(raw))


def _words(raw: bytes) -> Iterator[str]:
    """What could be an id in a record, each once."""
    told: set[bytes] = set()
    for found in _VALUES.finditer(raw):
        word = found[1] if found[1] is not None else found[0]
        if word in told or len(word) > _LONGEST:
            continue
        told.add(word)
        if b"\\" in word:
            with suppress(msgspec.DecodeError):
                yield msgspec.json.decode(b'"' + word + b'"', type=str)
        yield word.decode("utf-8", "replace")
    if not _BINARY.search(raw):
        return
    for run in _RUNS.finditer(raw):
        # Lengths and tags before and after a text may look like letters of it.
        for start in range(3):
            for stop in (len(run[0]), len(run[0]) - 1):
                word = run[0][start:stop]
                if word and word not in told and len(word) <= _LONGEST:
                    told.add(word)
                    yield word.decode("utf-8", "replace")


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
        entries = [json.loads(line) for line in lines if line.strip()]
        if not all(
            isinstance(one, dict) and {"action", "account"} <= one.keys() for one in entries
        ):
            raise ValueError
        return entries
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise DistilwatchError(
            "the list of forgotten accounts cannot be read", str(path), "restore it"
        ) from error
