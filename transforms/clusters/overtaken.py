"""Drops what was overtaken on its way through a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam import coders
from apache_beam.transforms import userstate

Keyed = tuple[str, tuple[int, Any]]


def _nothing(_: Any) -> None:
    return None


def _as_it_is(_: Any, value: Any) -> Any:
    return value


@dataclass(eq=False)
class DropOvertaken(beam.PTransform):  # type: ignore[misc]
    """From (key, (version, value)) to values: of each key and window none that is older than one
    that has passed.

    Different ways through a pipeline take different times. Whoever keeps what comes last of several
    with the same key needs the newest last.

    Attributes:
      memo: what is remembered of a value that has passed.
      amend: (memo of the one before, value) to the value that passes.
    """

    memo: Callable[[Any], Any] = _nothing
    amend: Callable[[Any, Any], Any] = _as_it_is

    def expand(self, keyed: beam.PCollection[Keyed]) -> beam.PCollection[Any]:
        typed: Any = beam.Map(lambda one: one).with_output_types(tuple[str, Any])
        return keyed | "Typed" >> typed | "Newest" >> beam.ParDo(_DropFn(self.memo, self.amend))


class _DropFn(beam.DoFn):  # type: ignore[misc]
    PASSED = userstate.BagStateSpec("passed", coders.PickleCoder())

    def __init__(self, memo: Callable[[Any], Any], amend: Callable[[Any, Any], Any]) -> None:
        self._memo, self._amend = memo, amend

    def process(self, element: Keyed, passed: Any = beam.DoFn.StateParam(PASSED)) -> Iterator[Any]:
        _, (version, value) = element
        newest, memo = next(iter(passed.read()), (None, None))
        if newest is not None:
            if version < newest:
                return
            value = self._amend(memo, value)
        now = version, self._memo(value)
        if now != (newest, memo):
            passed.clear()
            passed.add(now)
        yield value
