"""A corpus as it lies in a file: one object with `text` a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from schemas.errors import DistilwatchError
from transforms.ingest.packed import opened


class Row(NamedTuple):
    """A prompt, its category, and its place in a conversation; "" and 0 where a line has none."""

    text: str
    category: str
    conversation: str
    turn: int


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a `.jsonl` or `.jsonl.gz` file whose text is not blank.

    Raises:
      DistilwatchError: the file cannot be read, or a line is not such an object.
    """
    with opened(str(path)) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = _row(orjson.loads(line))
            except (ValueError, KeyError, TypeError):
                raise DistilwatchError(
                    "not an object with a 'text', or its 'turn' is no number",
                    f"{path}, line {number}",
                    "mend or remove the line",
                ) from None
            if row.text.strip():
                yield row


def _row(found: dict[str, object]) -> Row:
    text, talk, turn = found["text"], found.get("conv"), found.get("turn")
    if not isinstance(text, str) or not isinstance(turn, int | float | str | None):
        raise TypeError
    conversation = "" if talk is None else str(talk)
    return Row(text, str(found.get("category") or ""), conversation, int(turn or 0))
