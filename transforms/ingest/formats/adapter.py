"""One format with its places: what the decoder reads records with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from schemas.errors import DistilwatchError
from schemas.events import EVENT_FIELDS
from transforms.ingest.formats import kong, litellm, otlp
from transforms.ingest.formats.reading import Fields, Read
from transforms.ingest.formats.values import settled
from transforms.ingest.refusals import Refused

__all__ = ["Adapter", "adapter_of", "defaults_of", "names"]

Places = dict[str, tuple[str, ...]]


class _Format(NamedTuple):
    defaults: Mapping[str, tuple[str, ...]]
    read: Callable[[bytes, Places], Read]


_FORMATS = {
    "otlp": _Format(otlp.DEFAULTS, otlp.read),
    "litellm": _Format(litellm.DEFAULTS, litellm.read),
    "kong": _Format(kong.DEFAULTS, kong.read),
}
_MADE = frozenset({"prompt_text", "turn_index", "system_prompt_hash", "tool_names", "embedding",
                   "embedding_dtype", "embedding_model"})  # fmt: skip


def names() -> tuple[str, ...]:
    """Formats beside contract 1's own."""
    return tuple(_FORMATS)


def defaults_of(name: str) -> dict[str, tuple[str, ...]]:
    """Places by field of a format, where nothing else is set."""
    return dict(_FORMATS[name].defaults)


def settable() -> tuple[str, ...]:
    """Fields whose places can be set; the others are made of a request's messages."""
    return tuple(f.name for f in EVENT_FIELDS if f.name not in _MADE)


@dataclass(frozen=True)
class Adapter:
    """Reads records of a format.

    Attributes:
      name: of the format.
      places: (field, places) in which it is looked for, in order.
    """

    name: str
    places: tuple[tuple[str, tuple[str, ...]], ...]

    def __call__(self, raw: bytes) -> tuple[list[dict[str, Any] | Refused], int]:
        """Fields of each request in a record, and how many of its documents are none.

        Raises:
          Refused: the record is not of the format.
        """
        found, others = _FORMATS[self.name].read(raw, dict(self.places))
        return [self._settled(one) for one in found], others

    @staticmethod
    def _settled(one: Fields | Refused) -> dict[str, Any] | Refused:
        return one if isinstance(one, Refused) else settled(one)


def adapter_of(name: str, places: Mapping[str, tuple[str, ...]]) -> Adapter | None:
    """The adapter of a format; None for contract 1, which needs none.

    Args:
      name: "events", or of a format.
      places: that replace the format's own, by field.

    Raises:
      DistilwatchError: there is no such format, or a field's place cannot be set.
    """
    if name == "events":
        if places:
            raise DistilwatchError(
                "events of contract 1 have their fields where they are",
                "ingest.fields",
                "take it out, or set ingest.format",
            )
        return None
    if name not in _FORMATS:
        raise DistilwatchError(
            f"there is no input format {name!r}",
            "ingest.format",
            f"choose events, {', '.join(_FORMATS)}",
        )
    for field in places:
        if field not in settable():
            raise DistilwatchError(
                f"the place of {field!r} cannot be set",
                "ingest.fields",
                f"fields are {', '.join(settable())}",
            )
    return Adapter(name, tuple({**_FORMATS[name].defaults, **places}.items()))
