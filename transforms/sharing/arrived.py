"""What has arrived of a poll: what nobody would take is dropped at once, and only so much is kept.

Whoever may write to a collection may fill it. Objects are looked at again by `receive`; here it is
about memory, and about going on behind what cannot be had.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from transforms.sharing.canonical import canonical
from transforms.sharing.receive import MAX_OBJECT_BYTES

MOST_BYTES = 256 << 20
Key = tuple[str, datetime | None]
"""Id and version of an object; None where its kind has no versions."""


class FullError(Exception):
    """As much has arrived as one poll may bring; the rest is for the next one.

    Attributes:
      at: place in the manifest of what is the first to be left.
    """

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class Arrived:
    """Objects of a poll, in the order in which they came.

    Args:
      most_bytes: of all that arrive, as canonical JSON.

    Attributes:
      objects: that are worth a look.
      too_large: what was dropped, as (id, what was wrong with it).
      seen: id and version of all that arrived.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.objects: list[Any] = []
        self.too_large: list[tuple[str, str]] = []
        self.seen: set[Key] = set()
        self._left = most_bytes

    def add(self, obj: Any, at: int) -> None:
        """Takes an object, or drops it.

        Args:
          obj: as it came.
          at: its place in the manifest, or that of one before it.

        Raises:
          FullError: it does not fit any more.
        """
        size = _size(obj)
        if size > self._left:
            raise FullError(at)
        self._left -= size
        key = key_of(obj)
        if key is not None:
            self.seen.add(key)
        if size > MAX_OBJECT_BYTES:
            self.too_large.append((key[0] if key else "", f"{size:,} bytes"))
        else:
            self.objects.append(obj)

    def miss(self, key: Key, why: str) -> None:
        """Notes an object that cannot be had at all."""
        self.seen.add(key)
        self.too_large.append((key[0], why))


def key_of(obj: Any) -> Key | None:
    """What tells a version of an object from others; None of what has no id."""
    if not isinstance(obj, Mapping) or not isinstance(obj.get("id"), str):
        return None
    version = obj.get("version", obj.get("modified", obj.get("created")))
    return obj["id"], moment(version)


def moment(text: Any) -> datetime | None:
    """A time with its zone; None of what is none."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None


def _size(obj: Any) -> int:
    try:
        return len(canonical(obj))
    except (orjson.JSONEncodeError, TypeError):
        pass
    try:
        return len(repr(obj))
    except RecursionError:
        return MAX_OBJECT_BYTES + 1
