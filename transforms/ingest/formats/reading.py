"""What a format makes of a record."""

from __future__ import annotations

from typing import Any, NamedTuple

from transforms.ingest.refusals import Refused

Fields = dict[str, Any]
"""Values by field of contract 1, as they were found; types are looked at afterwards."""


def completed(fields: Fields, others: Fields) -> Fields:
    """Fields, and for those that were not found what is said elsewhere: a place that was set for a
    field comes before that."""
    return fields | {name: said for name, said in others.items() if fields.get(name) is None}


class Read(NamedTuple):
    """Documents of one record.

    Attributes:
      found: fields of each that is a request, or why it cannot be read.
      others: documents that are no requests to a model.
    """

    found: list[Fields | Refused]
    others: int = 0
