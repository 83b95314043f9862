"""Why a record is no event: what a decoder says of it, before it is a dead letter."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

FORGOTTEN = "forgotten"
EMPTY = "empty"  # only counted


class Refused(Exception):
    """A record is not accepted.

    Attributes:
      reason: of the dead letter.
      detail: names and types, never values.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def refused_by(error: msgspec.ValidationError) -> Refused:
    """What the parser says of a field. It names it and types, and never quotes a value of ours."""
    text = str(error)
    reason = "missing_field" if "missing required" in text else "wrong_type"
    return Refused(reason, text if "Invalid value" not in text else "")


class Refusal(NamedTuple):
    """What is noted of a record that was not accepted.

    Attributes:
      reason, detail: as of `Refused`.
      time_ms: event time, 0 where it could not be read.
    """

    reason: str
    detail: str
    time_ms: int = 0
