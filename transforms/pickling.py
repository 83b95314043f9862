"""Dataclasses that travel between stages, pickled for less."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import TypeVar

C = TypeVar("C", bound=type)


def pickled_by_fields(cls: C) -> C:
    """Class decorator, above `@dataclass`: instances are pickled as a call with their fields.

    What Python makes for frozen dataclasses with slots asks for the fields anew at every pickling,
    which takes longer than the pickling itself.

    Args:
      cls: a dataclass of two fields or more.
    """
    values = attrgetter(*(field.name for field in fields(cls)))
    cls.__reduce__ = lambda self: (cls, values(self))  # type: ignore[misc,assignment]
    return cls
