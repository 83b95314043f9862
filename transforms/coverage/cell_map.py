"""A picture of the codebook: each cell has a tile on a square, alike cells near one another.

People see at once where a cluster was and where others are. Centres are projected to their two
principal directions, then cut into columns of equal size by the first and sorted by the second
within each, so that tiles neither overlap nor leave gaps. Only for looking at: nothing is measured
on it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transforms.coverage.layout import Bins
from transforms.coverage.sketch import CoverageSketch

_WORTH_SHOWING = 0.5  # expected requests below which an unvisited cell says nothing


def cell_tiles(codebook: NDArray[np.int8]) -> NDArray[np.int64]:
    """Column and row of each cell's tile, from 0.

    Args:
      codebook: int8 of shape (cells, 64).

    Returns:
      int64 of shape (cells, 2), distinct; the same for the same codebook.
    """
    cells = len(codebook)
    tiles = np.zeros((cells, 2), np.int64)
    if not cells:
        return tiles
    centres = codebook.astype(np.float64)
    centres -= centres.mean(axis=0)
    _, directions = np.linalg.eigh(centres.T @ centres)
    plane = directions[:, [-1, -2]]
    # A direction has no sign of its own: the largest part is made positive.
    plane *= np.sign(plane[np.abs(plane).argmax(axis=0), [0, 1]])
    places = np.round(centres @ plane, 6)
    side = math.ceil(math.sqrt(cells))
    by_first = np.lexsort((places[:, 1], places[:, 0]))
    for column, members in enumerate(np.array_split(by_first, side)):
        order = members[np.lexsort((members, places[members, 1]))]
        tiles[order, 0] = column
        tiles[order, 1] = np.arange(len(order))
    return tiles


def coverage_records(
    sketch: CoverageSketch, usual: NDArray[np.float64], tiles: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Where a cluster was, beside where as many requests of others would be.

    Args:
      sketch: of all the cluster's requests.
      usual: float64 of shape (cells,), the part of the requests of others in each cell; of shape
        (0,) where that is not known, and nothing is expected anywhere.
      tiles: of `cell_tiles`.

    Returns:
      As the tables hold it, by cell: those that were visited, and those where at least half a
      request of others would be.
    """
    visits = sketch.histogram(Bins.CELL, Bins.CELL + len(tiles)).astype(np.int64)
    known = len(usual) == len(tiles) and usual.sum() > 0
    expected = usual * visits.sum() if known else np.zeros(len(tiles))
    shown = np.flatnonzero((visits > 0) | (expected >= _WORTH_SHOWING))
    return [
        {
            "cell": int(cell),
            "x": int(tiles[cell, 0]),
            "y": int(tiles[cell, 1]),
            "requests": int(visits[cell]),
            "expected": float(expected[cell]) if known else None,
        }
        for cell in shown
    ]
