"""Sends dead letters back, after a fix.

Every letter is decoded first, as `detect` would do today: what is still refused is not sent, so
that a replay never makes new dead letters of old ones. What is sent is noted by letter, and not
sent again; if the note is lost in a crash, the copy is a repeat, which `detect` drops.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.dead_letters.raw import Found
from pipelines.dead_letters.table import GONE, REPLAYED, STILL_REFUSED, Letter, Outcome
from schemas.errors import DistilwatchError
from transforms.ingest.batch import RecordBatch
from transforms.ingest.decode import Decoder
from transforms.ingest.kafka_uri import parse_kafka_uri

DETECT = "detect"
REPLAY_OF = "distilwatch-replay-of"
LATE = "late"
_FRAME = b"\0"


@dataclass(frozen=True)
class Sorted:
    """Letters by what the decoder of today says of them.

    Attributes:
      accepted: letters with their bytes.
      outcomes: of those that are still refused, or gone.
    """

    accepted: list[Found] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


def sort_letters(found: Iterable[Found], decoder: Decoder, batch: int = 500) -> Sorted:
    """Decodes letters as `detect` would today; lateness is not looked at."""
    result = Sorted()
    waiting: list[Found] = []
    for one in found:
        if one.raw is None:
            result.outcomes.append(Outcome(one.letter, GONE, one.why))
            continue
        waiting.append(one)
        if len(waiting) == batch:
            _sort(waiting, decoder, result)
            waiting = []
    _sort(waiting, decoder, result)
    return result


def _sort(waiting: Sequence[Found], decoder: Decoder, result: Sorted) -> None:
    if not waiting:
        return
    values = [one.raw or b"" for one in waiting]
    decoded = decoder.decode(RecordBatch("", 0, np.arange(len(values)), values))
    refused = {letter.offset: letter for letter in decoded.refused}
    for i, one in enumerate(waiting):
        if not one.raw:
            result.outcomes.append(Outcome(one.letter, STILL_REFUSED, "empty"))
        elif i in refused:
            why = refused[i]
            reason = f"{why.reason}: {why.detail}" if why.detail else why.reason
            result.outcomes.append(Outcome(one.letter, STILL_REFUSED, reason))
        else:
            result.accepted.append(one)


def to_topic(uri: str, accepted: Sequence[Found]) -> list[Outcome]:
    """Writes letters to a topic, each to its old partition where it is the old topic.

    The header `distilwatch-replay-of` says where a record was before.

    Raises:
      DistilwatchError: the topic cannot be written; nothing is noted then, and a repeat of what did
        arrive is dropped by `detect`.
    """
    from transforms.sinks.kafka import RecordProducer

    source = parse_kafka_uri(uri).source
    sent: list[tuple[Letter, Any]] = []
    with RecordProducer(uri) as producer:
        for one in accepted:
            letter = one.letter
            before = f"{letter.source}/{letter.partition}/{letter.offset}".encode()
            headers = [(name, value) for name, value in one.headers if name != REPLAY_OF]
            home = letter.partition if letter.source == source else None
            future = producer.send(
                one.raw or b"", one.key, [*headers, (REPLAY_OF, before)], partition=home
            )
            sent.append((letter, future))
        producer.flush()
        places = [(letter, future.get(0)) for letter, future in sent]
    return [
        Outcome(letter, REPLAYED, "", source, int(at.partition), int(at.offset))
        for letter, at in places
    ]


def to_file(path: Path, accepted: Sequence[Found]) -> list[Outcome]:
    """Adds letters to a JSON Lines file that only this user may read.

    Raises:
      DistilwatchError: the file cannot be written.
    """
    outcomes, lines = [], []
    for one in accepted:
        raw = one.raw or b""
        if raw.startswith(_FRAME):
            why = "is in the schema registry's format, which a file does not have; give a topic"
            outcomes.append(Outcome(one.letter, STILL_REFUSED, why))
            continue
        if not raw.lstrip().startswith((b"{", b"[")):
            why = "is protobuf, which lines cannot hold; give a topic"
            outcomes.append(Outcome(one.letter, STILL_REFUSED, why))
            continue
        # Between values JSON may have line ends; within strings it has none.
        lines.append(raw.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n")
        outcomes.append(Outcome(one.letter, REPLAYED, "", str(path)))
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "ab") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DistilwatchError(
            f"the file cannot be written ({error.strerror})", f"--to {path}", "choose another"
        ) from error
    return outcomes


def as_batches(accepted: Sequence[Found], size: int) -> list[RecordBatch]:
    """Letters as batches of records, under the places that they had."""
    batches = []
    places: dict[tuple[str, int], list[Found]] = {}
    for one in accepted:
        places.setdefault((one.letter.source, one.letter.partition), []).append(one)
    for (source, partition), own in sorted(places.items()):
        for start in range(0, len(own), size):
            part = own[start : start + size]
            offsets = np.array([one.letter.offset for one in part], np.int64)
            batches.append(
                RecordBatch(source, partition, offsets, [one.raw or b"" for one in part])
            )
    return batches


def in_detect(accepted: Sequence[Found]) -> list[Outcome]:
    """What is noted of letters that went straight into a run of `detect`."""
    return [Outcome(one.letter, REPLAYED, "", DETECT) for one in accepted]


def without_late(letters: Sequence[Letter]) -> tuple[list[Letter], int]:
    """Letters that can be on time again, and how many cannot: a topic's watermark is past them."""
    rest = [letter for letter in letters if letter.reason != LATE]
    return rest, len(letters) - len(rest)


def new_replay_id() -> tuple[str, int]:
    """A name for a replay that begins now, and the time in milliseconds UTC."""
    now = time.time_ns() // 1_000_000
    text = datetime.fromtimestamp(now / 1000, UTC).strftime("%Y%m%dT%H%M%S")
    return f"replay-{text}-{uuid.uuid4().hex[:6]}", now


def counted(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Letters by what became of them."""
    return {s: sum(o.status == s for o in outcomes) for s in (REPLAYED, STILL_REFUSED, GONE)}
