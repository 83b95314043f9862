"""State as a runner keeps it, for steps that are called by hand."""

from __future__ import annotations

import pickle
from typing import Any

from apache_beam.utils.timestamp import Timestamp


class Bag:
    """State of one key, as a runner keeps it."""

    def __init__(self, *held: Any) -> None:
        self.held = [pickle.dumps(one) for one in held]

    def read(self) -> list[Any]:
        return [pickle.loads(one) for one in self.held]

    def clear(self) -> None:
        self.held = []

    def add(self, one: Any) -> None:
        self.held.append(pickle.dumps(one))


class Timer:
    """Remembers what it was set to, by tag."""

    def __init__(self) -> None:
        self.at: dict[str, Timestamp] = {}

    def set(self, at: Timestamp, dynamic_timer_tag: str = "") -> None:
        self.at[dynamic_timer_tag] = at
