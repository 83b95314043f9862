"""Rows of dead_letters with their status, and rows of what replays did."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.tables import connect, rows
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.ingest.dead_letters import letter_id
from transforms.ingest.sealing import LetterKeys
from transforms.sinks.duckdb import write_tables
from transforms.sinks.parquet import add_parquet

OPEN, REPLAYED, STILL_REFUSED, GONE = "open", "replayed", "still_refused", "gone"
STATUSES = (OPEN, STILL_REFUSED, GONE, REPLAYED)
NEEDED = ("dead_letters", "dead_letter_replays")


@dataclass(frozen=True, slots=True)
class Letter:
    """A refused record.

    Attributes:
      source, partition, offset: its place.
      reason, detail: why it was refused.
      sha256, size: of its bytes.
      event_ms: its time, where that could be read.
      schema_id: in the schema registry, of a record that brought one.
      run_id: of the run that refused it.
      sealed: its bytes, encrypted; None where no key was configured, or it was too long.
      status: one of STATUSES.
      replay_reason: why it is still refused, or gone.
      to: where it was replayed to.
    """

    source: str
    partition: int
    offset: int
    reason: str
    detail: str
    sha256: str
    size: int
    event_ms: int | None
    schema_id: int | None
    run_id: str
    sealed: bytes | None
    status: str
    replay_reason: str
    to: str

    @property
    def place(self) -> tuple[str, int, int]:
        """Source, partition and offset."""
        return self.source, self.partition, self.offset

    @property
    def id(self) -> str:
        """Its name on the command line."""
        return letter_id({"source": self.source, "partition": self.partition,
                          "offset": self.offset})  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """For machines: everything but its bytes."""
        when = self.event_ms
        return {
            "id": self.id,
            "source": self.source,
            "partition": self.partition,
            "offset": self.offset,
            "reason": self.reason,
            "detail": self.detail,
            "raw_sha256": self.sha256,
            "raw_bytes": self.size,
            "event_time": datetime.fromtimestamp(when / 1000, UTC).isoformat() if when else None,
            "schema_id": self.schema_id,
            "run_id": self.run_id,
            "kept": self.sealed is not None,
            "status": self.status,
            "replay_reason": self.replay_reason,
            "to": self.to,
        }


@dataclass(frozen=True)
class Which:
    """Which letters are meant; empty for all.

    Attributes:
      reasons: words such as not_json.
      sources: topics as kafka://topic, or files.
      statuses: of STATUSES.
      runs: ids of runs.
      ids: names of letters, or their first letters.
    """

    reasons: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()

    def meets(self, letter: Letter) -> bool:
        """Whether a letter is meant."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.sources or letter.source in self.sources)
            and (not self.statuses or letter.status in self.statuses)
            and (not self.runs or letter.run_id in self.runs)
            and (not self.ids or letter.id.startswith(self.ids))
        )


def read_letters(path: Path, which: Which | None = None) -> list[Letter]:
    """Letters in the order of their places.

    Raises:
      DistilwatchError: when the tables cannot be read.
    """
    with connect(path, NEEDED) as connection:
        found = rows(
            connection,
            """SELECT source, partition, "offset", reason, detail, raw_sha256, raw_bytes,
                 epoch_ms(event_time) AS event_ms, schema_id, run_id, raw, status, replay_reason,
                 to_source, to_partition, to_offset
               FROM dead_letter_status ORDER BY source, partition, "offset" """,
        )
    letters = [
        Letter(
            row["source"], row["partition"], row["offset"], row["reason"], row["detail"] or "",
            row["raw_sha256"] or "", row["raw_bytes"] or 0, row["event_ms"], row["schema_id"],
            row["run_id"] or "", row["raw"], row["status"], row["replay_reason"] or "",
            _to(row),
        )
        for row in found
    ]  # fmt: skip
    return [letter for letter in letters if which is None or which.meets(letter)]


def _to(row: dict[str, Any]) -> str:
    if row["to_source"] is None:
        return ""
    if row["to_offset"] is None:
        return str(row["to_source"])
    return f"{row['to_source']}, partition {row['to_partition']}, offset {row['to_offset']}"


def find_letter(path: Path, name: str) -> Letter:
    """The letter of a name, or of its first letters.

    Raises:
      DistilwatchError: there is none, or more than one.
    """
    found = read_letters(path, Which(ids=(name,)))
    if len(found) == 1:
        return found[0]
    if not found:
        raise DistilwatchError(f"no dead letter is called {name}", str(path), "see `dlq list`")
    named = ", ".join(letter.id for letter in found[:3])
    raise DistilwatchError(
        f"{len(found)} dead letters begin with {name}: {named} …", str(path), "give more of it"
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a letter in a replay; as in the table dead_letter_replays."""

    letter: Letter
    status: str
    reason: str = ""
    to_source: str | None = None
    to_partition: int | None = None
    to_offset: int | None = None


def write_outcomes(path: Path, replay_id: str, at_ms: int, outcomes: Sequence[Outcome]) -> None:
    """Puts what a replay did into the tables.

    Raises:
      DistilwatchError: when they cannot be written.
    """
    made = [
        {
            "source": o.letter.source,
            "partition": o.letter.partition,
            "offset": o.letter.offset,
            "replay_id": replay_id,
            "status": o.status,
            "replayed_at": at_ms,
            "reason": o.reason or None,
            "to_source": o.to_source,
            "to_partition": o.to_partition,
            "to_offset": o.to_offset,
        }
        for o in outcomes
    ]
    if made:
        _write(path, replay_id, {"dead_letter_replays": made})


def reseal(path: Path, keys: LetterKeys) -> tuple[int, int]:
    """Seals letters under the newest key that an older one has sealed.

    Returns:
      Letters that were sealed anew, and letters that were kept in all.

    Raises:
      DistilwatchError: one does not open, or the tables cannot be written; nothing is changed then.
    """
    kept = [letter for letter in read_letters(path) if letter.sealed is not None]
    anew = []
    for letter in kept:
        assert letter.sealed is not None
        if not keys.is_newest(letter.sealed):
            raw = keys.open(letter.sealed, letter.place)
            anew.append(replace(letter, sealed=keys.seal(raw, letter.place)))
    if anew:
        made = [
            {
                "source": x.source, "partition": x.partition, "offset": x.offset,
                "reason": x.reason, "detail": x.detail, "raw_sha256": x.sha256,
                "raw_bytes": x.size, "event_time": x.event_ms, "run_id": x.run_id,
                "schema_id": x.schema_id, "raw": x.sealed,
            }
            for x in anew
        ]  # fmt: skip
        _write(path, f"rekey-{time.time_ns():020d}", {"dead_letters": made})
    return len(anew), len(kept)


def _write(path: Path, name: str, made: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Puts rows into a database, or beside the files of a folder, where the newest of a key count.

    Args:
      path: of the file or folder.
      name: of what brings them.
      made: rows by table.
    """
    rows_of = {table: TABLES[table].to_arrow(rows) for table, rows in made.items()}
    if path.is_dir():
        add_parquet(path, "dlq", f"batch-{name}", rows_of)
    else:
        write_tables(path, rows_of, patience_s=60)
