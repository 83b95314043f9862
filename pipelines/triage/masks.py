"""Sets of a few names as bits of one number, so that a database compares thousands at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

_BITS = 62


def mask_of(sets: Sequence[Iterable[str] | None]) -> pa.Array:
    """Each set as a number, int64 of shape (n,).

    The names get their bits in alphabetical order; should there ever be more than 62, some share
    a bit and look alike.
    """
    names = sorted({name for one in sets for name in one or ()})
    bit = {name: 1 << (i % _BITS) for i, name in enumerate(names)}
    masks = []
    for one in sets:
        mask = 0
        for name in one or ():
            mask |= bit[name]
        masks.append(mask)
    return pa.array(masks, pa.int64())
