"""Of what is said again and again, the newest: a larger version replaces a smaller one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import apache_beam as beam

V = TypeVar("V")


class Versioned(NamedTuple, Generic[V]):
    """A named value; of two with the same name the larger version counts."""

    name: str
    version: int
    value: V


class NewestByName(beam.CombineFn):  # type: ignore[misc]
    """Keeps the newest version of each name; its output is in the order of names."""

    def order(self, element: Versioned[Any]) -> Any:
        """What grows with each version."""
        return element.version

    def create_accumulator(self) -> dict[str, Versioned[Any]]:
        return {}

    def add_input(
        self, accumulator: dict[str, Versioned[Any]], element: Versioned[Any]
    ) -> dict[str, Versioned[Any]]:
        known = accumulator.get(element.name)
        if known is None or self.order(element) >= self.order(known):
            accumulator[element.name] = element
        return accumulator

    def merge_accumulators(
        self, accumulators: Iterable[dict[str, Versioned[Any]]]
    ) -> dict[str, Versioned[Any]]:
        merged: dict[str, Versioned[Any]] = {}
        for accumulator in accumulators:
            for element in accumulator.values():
                self.add_input(merged, element)
        return merged

    def extract_output(self, accumulator: dict[str, Versioned[Any]]) -> list[Versioned[Any]]:
        return [accumulator[name] for name in sorted(accumulator)]


Pair = tuple[Any, Any, bool]


class NewestPair(beam.CombineFn):  # type: ignore[misc]
    """The newest element of each of two kinds, None where there is none yet; and whether any
    element was remarkable, be it the newest or not."""

    def which(self, element: Any) -> tuple[int, int]:
        """The kind of an element, 0 or 1, and its version."""
        raise NotImplementedError

    def is_remarkable(self, element: Any) -> bool:
        """Whether it is to be remembered that there was such an element."""
        raise NotImplementedError

    def create_accumulator(self) -> Pair:
        return None, None, False

    def add_input(self, accumulator: Pair, element: Any) -> Pair:
        first, second, remarkable = accumulator
        remarkable = remarkable or self.is_remarkable(element)
        kind, version = self.which(element)
        known = accumulator[kind]
        if known is not None and version < self.which(known)[1]:
            return first, second, remarkable
        return (first, element, remarkable) if kind else (element, second, remarkable)

    def merge_accumulators(self, accumulators: Iterable[Pair]) -> Pair:
        merged = self.create_accumulator()
        for *pair, remarkable in accumulators:
            for element in pair:
                if element is not None:
                    merged = self.add_input(merged, element)
            merged = *merged[:2], merged[2] or remarkable
        return merged

    def extract_output(self, accumulator: Pair) -> Pair:
        return accumulator
