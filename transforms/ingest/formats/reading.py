"""What a format makes of a record."""

from __future__ import annotations

from typing import Any, NamedTuple

from transforms.ingest.refusals import Refused

Fields = dict[str, Any]
"""Values by field of contract 1, as they were found; types are looked at afterwards."""


class Read(NamedTuple):
    """Documents of one record.

    Attributes:
      found: fields of each that is a request, or why it cannot be read.
      others: documents that are no requests to a model.
    """

    found: list[Fields | Refused]
    others: int = 0
