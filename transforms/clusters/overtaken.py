"""Drops what was overtaken on its way through a stream."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam import coders
from apache_beam.transforms import userstate

from transforms.sessions.shard_log import SHARDS, ShardLog, unpack
from transforms.sessions.sharding import IntoShardsFn, Shard

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
      shards: over which keys are spread; part of a running job's state.
    """

    memo: Callable[[Any], Any] = _nothing
    amend: Callable[[Any, Any], Any] = _as_it_is
    shards: int = SHARDS

    def expand(self, keyed: beam.PCollection[Keyed]) -> beam.PCollection[Any]:
        into = beam.ParDo(_IntoShardsFn(self.shards)).with_output_types(Shard)
        return (
            keyed
            | f"Into{self.shards}Shards" >> into
            | "Newest" >> beam.ParDo(_DropFn(self.memo, self.amend))
        )


class _IntoShardsFn(IntoShardsFn):
    def process(
        self,
        element: Keyed,
        window: Any = beam.DoFn.WindowParam,
        time_of: Any = beam.DoFn.TimestampParam,
    ) -> Iterator[Any]:
        key, versioned = element
        self.add(window, time_of.micros, key, pickle.dumps(versioned))
        yield from self.when_full()


class _DropFn(beam.DoFn):  # type: ignore[misc]
    PASSED = userstate.BagStateSpec("passed", coders.BytesCoder())

    def __init__(self, memo: Callable[[Any], Any], amend: Callable[[Any, Any], Any]) -> None:
        self._memo, self._amend = memo, amend

    def process(self, element: Shard, passed: Any = beam.DoFn.StateParam(PASSED)) -> Iterator[Any]:
        _, piece = element
        log = ShardLog(passed)
        changed: dict[Any, bytes] = {}
        for key, entry in unpack(piece):
            version, value = pickle.loads(entry)  # our own, from the step before
            if before := changed.get(key) or log.get(key):
                newest, memo = pickle.loads(before)
                if version < newest:
                    continue
                value = self._amend(memo, value)
            now = pickle.dumps((version, self._memo(value)))
            if now != before:
                changed[key] = now
            yield value
        log.update(changed)
