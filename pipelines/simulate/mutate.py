"""Spoils a share of the records, each in one known way, to see that nothing is lost or skewed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import orjson

from schemas.errors import DistilwatchError

Event = dict[str, object]
Spoil = Callable[[Event, np.random.Generator], bytes]


def _changed(**changes: object) -> Spoil:
    return lambda event, _: orjson.dumps(event | changes)


def _without(name: str) -> Spoil:
    return lambda event, _: orjson.dumps({k: v for k, v in event.items() if k != name})


def _cut(event: Event, rng: np.random.Generator) -> bytes:
    whole = orjson.dumps(event)
    return whole[: int(rng.integers(1, len(whole)))]


def _noise(_: Event, rng: np.random.Generator) -> bytes:
    # No line end in it, so that files stay lines.
    return b"\xff" + rng.bytes(40).replace(b"\n", b"_").replace(b"\r", b"_")


MUTATIONS: tuple[tuple[str, Spoil], ...] = (
    ("not_json", _cut),
    ("not_json", _noise),
    ("wrong_type", lambda event, _: orjson.dumps([event])),
    ("missing_field", _without("event_id")),
    ("missing_field", _without("event_time")),
    ("missing_field", _without("account_id")),
    ("wrong_type", _changed(account_id=17)),
    ("empty_id", _changed(event_id="")),
    ("time_in_future", _changed(event_time=4_102_444_800_000)),
    ("time_too_old", _changed(event_time=86_400_000)),
    ("time_unparseable", _changed(event_time="yesterday at noon")),
    ("vector_wrong_length", _changed(embedding=[0.25, 0.5])),
    ("unknown_schema_version", _changed(schema_version=99)),
)
"""Ways to spoil an event, each with the reason that its dead letter must have."""


class Mutator:
    """Spoils records and repeats records, and counts what it did.

    Args:
      share: of records that are spoilt, and as many again that are sent twice; 0 to 0.5.
      seed: of its choices.

    Attributes:
      did: spoilt records by expected reason, and `duplicate`.

    Raises:
      DistilwatchError: the share is out of range.
    """

    def __init__(self, share: float, seed: int) -> None:
        if not 0 <= share <= 0.5:
            raise DistilwatchError(f"{share:g} is no share", "--mutate", "give 0 to 0.5")
        self._share = share
        self._rng = np.random.default_rng((seed, 3))
        self.did: Counter[str] = Counter()

    def records(self, event: Event) -> Iterator[bytes]:
        """An event as the one or two records that are written for it."""
        draw = self._rng.random()
        if draw < self._share:
            reason, spoil = MUTATIONS[int(self._rng.integers(len(MUTATIONS)))]
            self.did[reason] += 1
            yield spoil(event, self._rng)
            return
        record = orjson.dumps(event)
        yield record
        if draw > 1 - self._share:
            self.did["duplicate"] += 1
            yield record
