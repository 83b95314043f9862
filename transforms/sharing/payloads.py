"""What indicators of compared kinds carry: how a campaign behaves, and what it covers.

Both are written as canonical JSON, so that equal contents have equal bytes, and read strictly:
unknown fields, wrong types, and sizes that no honest sender needs are refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.errors import DistilwatchError
from transforms.coverage.layout import MAX_CELLS
from transforms.sharing.indicators import MAX_PAYLOAD_BYTES, Indicator, Kind

MAX_FEATURES = 200
_MOST_Z = 10.0
T = TypeVar("T")
_MEND = "refuse it, and tell the lab that made it"


class _BehaviourWire(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    features: dict[str, float]


class _CoverageWire(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    space: str
    embedding_model: str
    unit: int
    sigma: float
    epsilon: float
    delta: float
    values: bytes  # little-endian int32


_BEHAVIOUR, _COVERAGE = "behaviour-1", "coverage-1"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a cluster differs from benign groups of its size and volume.

    Attributes:
      features: name of a cluster feature to its standard score, rounded and bounded.
    """

    features: dict[str, float]

    def encode(self) -> bytes:
        """As canonical JSON."""
        ordered = dict(sorted(self.features.items()))
        return msgspec.json.encode(_BehaviourWire(_BEHAVIOUR, ordered))


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """What a campaign covers, with noise that hides each account in it.

    The sum over accounts of the square root of each one's share of requests per codebook cell (of
    unit length, so that the inner product of two accounts is their Bhattacharyya coefficient),
    plus noise from a discrete Gaussian in every cell.

    Attributes:
      space: hash of embedder, projection and codebook; sketches of different spaces cannot be
        compared.
      embedding_model: name of the embedder.
      values: int64 of shape (1024,), in units of 1 / `unit`.
      unit: length of one account's contribution.
      sigma: standard deviation of the noise in each cell, in contributions (`unit` is 1).
      epsilon, delta: what the noise promises to each account.
    """

    space: str
    embedding_model: str
    values: NDArray[np.int64]
    unit: int
    sigma: float
    epsilon: float
    delta: float

    def encode(self) -> bytes:
        """As canonical JSON."""
        return msgspec.json.encode(
            _CoverageWire(
                _COVERAGE, self.space, self.embedding_model, self.unit, self.sigma,
                self.epsilon, self.delta, self.values.astype("<i4").tobytes(),
            )
        )  # fmt: skip

    def sums(self) -> NDArray[np.float64]:
        """The noisy sum of contributions, float64 of shape (1024,)."""
        return self.values / self.unit


def rounded_score(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard scores as they are told: in halves, at most 10, and 0 where unknown. Same shape."""
    known = np.where(np.isfinite(z), z, 0.0)
    # −0.0 would be written as such, and tell the sign of what was rounded away.
    rounded: NDArray[np.float64] = np.clip(np.round(2 * known) / 2, -_MOST_Z, _MOST_Z) + 0.0
    return rounded


def decode_behaviour(payload: bytes) -> Behaviour:
    """Reads what `Behaviour.encode` wrote.

    Raises:
      DistilwatchError: when the bytes are not that.
    """
    wire = _read(payload, _BehaviourWire)
    features = wire.features
    if wire.format != _BEHAVIOUR or not 0 < len(features) <= MAX_FEATURES:
        raise _refuse(f"format {wire.format[:20]!r} with {len(features)} features")
    if any(not math.isfinite(z) or abs(z) > 100 or len(n) > 100 for n, z in features.items()):
        raise _refuse("a feature that is out of range")
    return Behaviour(dict(sorted(features.items())))


def decode_coverage(payload: bytes) -> Coverage:
    """Reads what `Coverage.encode` wrote.

    Raises:
      DistilwatchError: when the bytes are not that.
    """
    wire = _read(payload, _CoverageWire)
    if wire.format != _COVERAGE or len(wire.values) != 4 * MAX_CELLS:
        raise _refuse(f"format {wire.format[:20]!r} with {len(wire.values)} bytes of cells")
    numbers = (wire.sigma, wire.epsilon, wire.delta)
    if not all(math.isfinite(n) and n > 0 for n in numbers) or wire.delta >= 1:
        raise _refuse("noise or privacy loss out of range")
    if not 0 < wire.unit <= 1 << 24 or max(len(wire.space), len(wire.embedding_model)) > 100:
        raise _refuse("a unit or name out of range")
    values = np.frombuffer(wire.values, "<i4").astype(np.int64)
    return Coverage(wire.space, wire.embedding_model, values, wire.unit, *numbers)


def check_payload(one: Indicator) -> None:
    """Raises DistilwatchError when the payload of a compared kind cannot be read."""
    if one.kind is Kind.BEHAVIOUR:
        decode_behaviour(one.payload)
    elif one.kind is Kind.COVERAGE:
        decode_coverage(one.payload)


def _read(payload: bytes, kind: type[T]) -> T:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise _refuse(f"{len(payload):,} bytes")
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refuse(str(error)[:200]) from None


def _refuse(what: str) -> DistilwatchError:
    return DistilwatchError(f"the payload of an indicator cannot be read: {what}", "", _MEND)
