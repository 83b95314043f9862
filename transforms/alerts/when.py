"""Which flagged clusters a policy is about: conditions on a row of `flagged_clusters`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from pydantic import Field

from transforms.alerts.part import Part


class AnyOf(Part):
    """Holds where one of the values is there."""

    any_of: tuple[str, ...] = Field(min_length=1)

    def holds(self, values: Iterable[str]) -> bool:
        """Whether a value matches; `*` stands for anything."""
        return any(fnmatchcase(value, wanted) for value in values for wanted in self.any_of)


class NoneOf(Part):
    """Holds where none of the values is there."""

    none_of: tuple[str, ...] = Field(min_length=1)

    def holds(self, values: Iterable[str]) -> bool:
        """Whether no value matches; `*` stands for anything."""
        return not any(fnmatchcase(value, wanted) for value in values for wanted in self.none_of)


class Between(Part):
    """Holds for a number within bounds; a number that is not known is in none."""

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float | None) -> bool:
        """Whether it is within."""
        if value is None:
            return False
        low = self.at_least is None or value >= self.at_least
        return low and (self.at_most is None or value <= self.at_most)


Words = AnyOf | NoneOf


class When(Part):
    """Which flagged clusters; all that is given must hold, by columns of `flagged_clusters`."""

    severity: Words | None = None
    tactics: Words | None = None
    capabilities: Words | None = Field(None, description="names of those that it clearly took")
    known_texts: Words | None = Field(None, description="names or kinds of collections")
    links: Words | None = Field(None, description="kinds of things that members share")
    account_count: Between | None = None
    payment_count: Between | None = None
    request_count: Between | None = None
    exposure_usd: Between | None = None
    p_value: Between | None = None
    q_value: Between | None = None

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of `flagged_clusters` is meant."""
        for name in type(self).model_fields:
            condition = getattr(self, name)
            if condition is None:
                continue
            seen = row.get(name) if isinstance(condition, Between) else _words(row, name)
            if not condition.holds(seen):
                return False
        return True


def _words(row: Mapping[str, Any], name: str) -> list[str]:
    value = row.get(name)
    if name == "severity":
        return [str(value)]
    if name == "capabilities":
        return [str(c["name"]) for c in value or () if c["taken"]]
    if name == "known_texts":
        return [str(t[field]) for t in value or () for field in ("name", "kind")]
    if name == "links":
        return [str(link["kind"]) for link in value or ()]
    return [str(word) for word in value or ()]
