"""What a format makes of a record."""

from __future__ import annotations

from typing import Any, NamedTuple

Fields = dict[str, Any]
"""Values by field of contract 1, as they were found; types are looked at afterwards."""


class Unreadable(Exception):
    """A record, or one document of it, is not what its format says.

    Attributes:
      reason: of the dead letter.
      detail: names and types, never values.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class Read(NamedTuple):
    """Documents of one record.

    Attributes:
      found: fields of each that is a request, or why it cannot be read.
      others: documents that are no requests to a model.
    """

    found: list[Fields | Unreadable]
    others: int = 0
