"""Vectors that events bring, decoded a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
_EXPONENT = np.uint16(0x7C00)  # all ones in a float16 that is infinite or not a number


class Vectors(NamedTuple):
    """Vectors of n events.

    Attributes:
      values: float32 of shape (n, dim), zero rows where there is none; None if there is none at
        all.
      present: bool of shape (n,), False for vectors of zeros, too.
      refused: reason and detail by index.
    """

    values: Float32 | None
    present: NDArray[np.bool_]
    refused: dict[int, tuple[str, str]]

    def take(self, index: list[int]) -> Vectors:
        """The accepted rows at `index`."""
        present = self.present[index]
        values = self.values[index] if self.values is not None and present.any() else None
        return Vectors(values, present, {})


def decode_vectors(
    brought: Sequence[bytes | str | list[float] | None],
    dtypes: Sequence[str | None],
    dim: int,
) -> Vectors:
    """Decodes vectors.

    Args:
      brought: for each event the bytes of little-endian numbers, a list of numbers, a text that was
        not base64, or None.
      dtypes: "float32", anything else means float16; of bytes only.
      dim: length that vectors must have.
    """
    n = len(brought)
    refused: dict[int, tuple[str, str]] = {}
    halves: list[int] = []
    others: list[int] = []
    rows: list[Float32] = []
    for i, value in enumerate(brought):
        if not value:
            continue
        if isinstance(value, bytes) and len(value) == 2 * dim and dtypes[i] != "float32":
            halves.append(i)
            continue
        try:
            row = _decode_one(value, dtypes[i])
        except ValueError:
            refused[i] = ("vector_undecodable", "embedding")
            continue
        if len(row) == dim:
            others.append(i)
            rows.append(row)
        else:
            refused[i] = ("vector_wrong_length", f"{len(row)} values, expected {dim}")
    present: NDArray[np.bool_] = np.zeros(n, bool)
    if not halves and not others:
        return Vectors(None, present, refused)
    whole = len(halves) == n
    values = np.empty((n, dim), np.float32) if whole else np.zeros((n, dim), np.float32)
    if halves:
        # The length was checked: every value of `halves` is bytes.
        raw = b"".join([brought[i] for i in halves])  # type: ignore[misc]
        bits = np.frombuffer(raw, np.dtype("<u2")).reshape(-1, dim)
        endless = ((bits & _EXPONENT) == _EXPONENT).any(axis=1)
        if whole:
            np.take(_float16_table(), bits, out=values, mode="clip")
        else:
            values[halves] = np.take(_float16_table(), bits, mode="clip")
        _refuse(np.array(halves)[endless], values, refused)
    if others:
        values[others] = rows
        _refuse(np.array(others)[~np.isfinite(values[others]).all(axis=1)], values, refused)
    present = np.any(values, axis=1)
    return Vectors(values if present.any() else None, present, refused)


def _refuse(
    not_finite: NDArray[np.int64], values: Float32, refused: dict[int, tuple[str, str]]
) -> None:
    for i in not_finite.tolist():
        values[i] = 0
        refused[i] = ("vector_not_finite", "embedding")


def _decode_one(value: bytes | str | list[float], dtype: str | None) -> Float32:
    """One vector as float32 of any length.

    Raises:
      ValueError: when it is a text, or no whole number of values.
    """
    if isinstance(value, str):
        raise ValueError
    if isinstance(value, bytes):
        return np.frombuffer(value, "<f4" if dtype == "float32" else "<f2").astype(np.float32)
    with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused
        return np.array(value, np.float32)


@lru_cache(maxsize=1)
def _float16_table() -> Float32:
    """float32 of every float16, by its bits: four times as fast as numpy's conversion."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
