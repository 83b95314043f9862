"""From sketches to the feature rows that a level's model reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from transforms.coverage import layout
from transforms.coverage.features import (
    PAST_CHANGE,
    Reference,
    SketchBlock,
    column_index,
    feature_matrix,
)
from transforms.coverage.layout import Items
from transforms.coverage.sketch import CoverageSketch
from transforms.ingest.hashing import hash64
from transforms.scoring.model import FeatureRows
from transforms.scoring.past import Past


def peer_hash(name: str) -> int:
    """The 56-bit hash under which a sketch keeps a peer group."""
    return hash64(name) >> 8


class PeerGroups:
    """Names of the peer groups that a bundle knows, found again from a sketch's hashes."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {peer_hash(name): name for name in names if name}

    def of(self, sketch: CoverageSketch) -> str:
        """The peer group of most of the sketch's requests; "" when the bundle does not know it."""
        hashes, counts = sketch.items(Items.PEER)
        if not len(hashes):
            return ""
        return self._names.get(int(hashes[np.argmax(counts)]), "")


def sketch_rows(
    sketches: Sequence[CoverageSketch],
    groups: list[str],
    references: Mapping[str, Reference],
) -> FeatureRows:
    """Features of n keys, conditioned on the log of their requests.

    Args:
      sketches: one for each key.
      groups: peer group of each key.
      references: mean Fourier features by peer group; "" stands for everyone.
    """
    everyone = references.get("")
    known = [references.get(group, everyone) for group in groups]
    volume = np.array([[math.log(max(s.events, 1))] for s in sketches]).reshape(-1, 1)
    return FeatureRows(feature_matrix(sketches, known), volume, groups)


def account_rows(
    accounts: Sequence[str],
    sketches: Sequence[CoverageSketch],
    groups: list[str],
    references: Mapping[str, Reference],
    past: Past,
) -> FeatureRows:
    """Features of n accounts, which have a past of their own; see `sketch_rows`.

    Args:
      accounts: their ids.
      sketches, groups, references: as there.
      past: what they did in the history.
    """
    rows = sketch_rows(sketches, groups, references)
    at = past.find(accounts)
    rows.features[:, column_index()[PAST_CHANGE.name]] = past.change(at, SketchBlock(sketches))
    return replace(rows, excused=past.excused(at, rows.features.shape[1]))


def hour_profile(sketch: CoverageSketch) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Shares of the hours of the week, float64 of shape (168,)."""
    counts = sketch.histogram(layout.Bins.HOUR_OF_WEEK, layout.Bins.PREFIX_SCAFFOLD)
    total = counts.sum()
    shares: np.ndarray[tuple[int], np.dtype[np.float64]] = counts / max(total, 1)
    return shares
