"""Drops what was overtaken on its way through a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam import coders
from apache_beam.transforms import userstate

Keyed = tuple[str, tuple[int, Any]]


@dataclass(eq=False)
class DropOvertaken(beam.PTransform):  # type: ignore[misc]
    """From (key, (version, value)) to values: of each key and window none that is older than one
    that has passed.

    Different ways through a pipeline take different times. Whoever keeps what comes last of several
    with the same key needs the newest last.
    """

    def expand(self, keyed: beam.PCollection[Keyed]) -> beam.PCollection[Any]:
        typed: Any = beam.Map(lambda one: one).with_output_types(tuple[str, Any])
        return keyed | "Typed" >> typed | "Newest" >> beam.ParDo(_DropFn())


class _DropFn(beam.DoFn):  # type: ignore[misc]
    PASSED = userstate.BagStateSpec("passed", coders.PickleCoder())

    def process(self, element: Keyed, passed: Any = beam.DoFn.StateParam(PASSED)) -> Iterator[Any]:
        _, (version, value) = element
        newest = max(passed.read(), default=None)
        if newest is not None and version < newest:
            return
        if version != newest:
            passed.clear()
            passed.add(version)
        yield value
