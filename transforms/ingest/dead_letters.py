"""Refused records as rows: where they are, why, and their bytes only under a key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from transforms.ingest.batch import DeadLetter
from transforms.ingest.sealing import LetterKeys

_LATEST_MS = 1 << 45


@dataclass(frozen=True)
class LetterRows:
    """Makes rows of the table dead_letters.

    Attributes:
      run_id: for the rows.
      keys: that seal the records; None: only hash and place are kept.
      max_bytes: longer records are not kept; their place is.
    """

    run_id: str
    keys: LetterKeys | None = None
    max_bytes: int = 1 << 20

    def __call__(self, letter: DeadLetter) -> dict[str, Any]:
        """The row of a letter, the same each time."""
        raw = letter.raw
        sealed = None
        if self.keys is not None and len(raw) <= self.max_bytes:
            sealed = self.keys.seal(raw, (letter.source, letter.partition, letter.offset))
        return {
            "source": letter.source,
            "partition": letter.partition,
            "offset": letter.offset,
            "reason": letter.reason,
            "detail": letter.detail,
            "raw_sha256": sha256(raw).hexdigest(),
            "raw_bytes": len(raw),
            "event_time": letter.event_time_ms if 0 < letter.event_time_ms < _LATEST_MS else None,
            "run_id": self.run_id,
            "schema_id": letter.schema_id,
            "raw": sealed,
        }


def letter_id(row: Mapping[str, Any]) -> str:
    """Name of a letter: d- and 12 hex digits, made from its place."""
    place = f"{row['source']}\x1f{row['partition']}\x1f{row['offset']}"
    return "d-" + sha256(place.encode()).hexdigest()[:12]
