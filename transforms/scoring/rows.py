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
    stacked,
)
from transforms.coverage.layout import Items, Sum
from transforms.coverage.sketch import CoverageSketch
from transforms.coverage.stack import SketchStack
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

    def of_all(self, stack: SketchStack) -> list[str]:
        """`of` for each of n sketches."""
        kind = stack.item_key >> np.uint64(layout.HASH_BITS)
        at = np.flatnonzero(kind == int(Items.PEER))
        owner = np.repeat(np.arange(len(stack)), stack.item_size)[at]
        # The first of the most frequent, as argmax has it: hashes ascend within a sketch.
        order = np.lexsort((at, -stack.item_count[at], owner))
        owner, hashes = owner[order], (stack.item_key[at] & layout.HASH_MASK)[order]
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        names = [""] * len(stack)
        for i, peer in zip(owner[first].tolist(), hashes[first].tolist(), strict=True):
            names[i] = self._names.get(peer, "")
        return names


def sketch_rows(
    sketches: Sequence[CoverageSketch] | SketchStack,
    groups: list[str],
    references: Mapping[str, Reference],
) -> FeatureRows:
    """Features of n keys, conditioned on the log of their requests.

    Args:
      sketches: one for each key, in columns or not.
      groups: peer group of each key.
      references: mean Fourier features by peer group; "" stands for everyone.
    """
    everyone = references.get("")
    known = [references.get(group, everyone) for group in groups]
    stack = sketches if isinstance(sketches, SketchStack) else stacked(sketches)
    # math.log, because numpy's differs from it in the last bit on some machines' vector units.
    volume = np.array([[math.log(max(n, 1))] for n in stack.sums[:, Sum.EVENTS].tolist()])
    return FeatureRows(feature_matrix(stack, known), volume.reshape(-1, 1), groups)


def account_rows(
    accounts: Sequence[str],
    sketches: Sequence[CoverageSketch] | SketchStack,
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
