"""Features of a group of accounts: what they cover together, and how alike they are.

A group is compared with groups of benign accounts of its size and volume, so a value needs no
absolute meaning. Codes are those of the science notes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transforms.clusters.feature_table import POOLED
from transforms.coverage.features import (
    Reference,
    SketchBlock,
    column_index,
    feature_matrix,
    hill_number,
)
from transforms.coverage.layout import MAX_CELLS, Bins, Items, Sum
from transforms.coverage.sketch import CoverageSketch, merge
from transforms.embedding.space import UNIT
from transforms.pickling import pickled_by_fields
from transforms.scoring.rows import hour_profile

Float = NDArray[np.float64]

_CHUNK = 64  # sketches, or groups, at once: bounds the memory of a large cluster, or of many
_BREADTH = ("hill_cells", "own_rank", "chao_cells", "heaps_slope", "log_volume", "unseen_share")


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One account of a group.

    Attributes:
      account: its id.
      sketch: its profile.
      p_value: of the profile alone.
      z: float64 of shape (f,), standard scores of the profile, 0 where unknown.
      degree: weights of the things it shares with other members, added up; NaN where nobody looked.
    """

    account: str
    sketch: CoverageSketch
    p_value: float
    z: Float
    degree: float = math.nan


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class GroupRow:
    """A group's features.

    Attributes:
      features: float64 of shape (len(CLUSTER_FEATURES),), NaN where the group cannot say.
      covariates: float64 of shape (2,), log requests and log members.
      pool: merged sketch of the members.
    """

    features: Float
    covariates: Float
    pool: CoverageSketch


def pool_sketches(sketches: Sequence[CoverageSketch]) -> CoverageSketch:
    """Merges any number of sketches a chunk at a time."""
    parts = list(sketches)
    while len(parts) > 1:
        parts = [merge(parts[i : i + _CHUNK]) for i in range(0, len(parts), _CHUNK)]
    return merge(parts)


def group_rows(groups: Sequence[Sequence[Member]], reference: Reference | None) -> list[GroupRow]:
    """Features of groups of m ≥ 2 accounts each.

    A group's row does not depend, to the bit, on which others it is computed with; many at once
    take less time.

    Args:
      groups: the accounts of each.
      reference: mean Fourier features of everyone, for the pooled MMD².
    """
    rows: list[GroupRow] = []
    for start in range(0, len(groups), _CHUNK):
        rows += _rows_of_chunk(groups[start : start + _CHUNK], reference)
    return rows


def group_row(members: Sequence[Member], reference: Reference | None) -> GroupRow:
    """Features of one group; see `group_rows`."""
    return group_rows([members], reference)[0]


def _rows_of_chunk(
    groups: Sequence[Sequence[Member]], reference: Reference | None
) -> list[GroupRow]:
    pools = [pool_sketches([member.sketch for member in members]) for members in groups]
    of_pools = feature_matrix(pools, [reference] * len(pools))
    index = column_index()
    pooled = of_pools[:, [index[name] for name in POOLED]]
    everyone = [member.sketch for members in groups for member in members]
    ends = np.cumsum([len(members) for members in groups])
    hills = np.split(hill_number(SketchBlock(everyone)), ends[:-1])
    return [
        GroupRow(
            np.array([*_own_features(members, pool, own, float(hill)), *row]),
            np.array([math.log(max(pool.events, 1)), math.log(len(members))]),
            pool,
        )
        for members, pool, own, hill, row in zip(
            groups, pools, hills, of_pools[:, index["hill_cells"]], pooled, strict=True
        )
    ]


def _own_features(
    members: Sequence[Member], pool: CoverageSketch, hills: Float, pooled_hill: float
) -> list[float]:
    """What is no feature of the merged sketch alone.

    Args:
      members: of the group.
      pool: their merged sketch.
      hills: `hill_number` of each member, float64 of shape (m,).
      pooled_hill: of the merged sketch.
    """
    sketches = [member.sketch for member in members]
    z = np.stack([member.z for member in members])
    index = column_index()
    breadth = [index[name] for name in _BREADTH]
    return [
        complementarity(hills, pooled_hill),
        overlap(sketches, pool),
        member_likeness(sketches, pool),
        float(np.median([-math.log10(max(member.p_value, 1e-6)) for member in members])),
        float(np.median(z[:, breadth].mean(axis=1))),
        float(np.median(z[:, index["novelty"]])),
        float(z.std(axis=0).mean()) if len(members) > 2 else math.nan,
        float(np.std([math.log(max(s.events, 1)) for s in sketches])),
        synchrony(sketches),
        linkage([member.degree for member in members]),
        marginal_gain(sketches),
        union_coverage(pool),
        scaffold_members(sketches),
    ]


def linkage(degrees: Sequence[float]) -> float:
    """F25: mean weighted degree of the members over what they share.

    The strength of a vertex in a weighted graph (Barrat et al., PNAS 2004). Companies are linked as
    strongly as campaigns, so it explains a cluster and decides nothing.
    """
    return float(np.mean(degrees))


def marginal_gain(sketches: Sequence[CoverageSketch]) -> float:
    """F7: mean share of a member's cells that the members before it, by first request, had not.

    High where a plan hands each account what is still missing.
    """
    ordered = sorted(sketches, key=lambda s: (s.first_ms, s.last_ms, s.events))
    cells = [s.bin_index[: len(s.cell_counts())] for s in ordered]
    owner = np.repeat(np.arange(len(cells)), [len(own) for own in cells])
    _, first = np.unique(np.concatenate(cells), return_index=True)  # the earliest member's
    new = np.bincount(owner[first], minlength=len(cells))[1:]
    own = np.bincount(owner, minlength=len(cells))[1:]
    return float((new[own > 0] / own[own > 0]).mean()) if own.any() else math.nan


def union_coverage(pool: CoverageSketch) -> float:
    """F16: log of the cells that any member visited; what its volume leads to expect is taken off
    where features are standardised."""
    visited = len(pool.cell_counts())
    return math.log(visited) if visited else math.nan


def scaffold_members(sketches: Sequence[CoverageSketch], least_share: float = 0.1) -> float:
    """F11: share of the members that carry the wording which most of them carry.

    Args:
      sketches: of the members.
      least_share: of a member's requests that must begin, or end, with it.
    """
    carried = []
    for sketch in sketches:
        own = [sketch.items(kind) for kind in (Items.PREFIX_SCAFFOLD, Items.SUFFIX_SCAFFOLD)]
        kept = [hashes[counts >= least_share * sketch.events] for hashes, counts in own]
        carried.append(np.unique(np.concatenate(kept)))
    _, members = np.unique(np.concatenate(carried), return_counts=True)
    return float(members.max(initial=0)) / len(sketches)


def complementarity(hills: Float, pooled: float) -> float:
    """F13: log of Γ = Hill(pool) / mean Hill(member), order 1 on the codebook cells.

    Args:
      hills: log of each member's, float64 of shape (m,), NaN where it has none.
      pooled: log of that of all together.
    """
    known = hills[~np.isnan(hills)]
    mean = float(np.exp(known).mean()) if len(known) else math.nan
    return pooled - math.log(mean) if mean > 0 else math.nan


def overlap(sketches: Sequence[CoverageSketch], pool: CoverageSketch) -> float:
    """F14: log of the chance that two members' requests share a cell over that of one member's.

    Simpson's collision probabilities between and within members, a half added to each count.
    """
    squares = sum(float((s.cell_counts().astype(float) ** 2).sum()) for s in sketches)
    counts = [int(s.sums[Sum.VECTORS]) for s in sketches]
    total = sum(counts)
    pairs_within = sum(n * (n - 1) for n in counts)
    pairs_between = total**2 - sum(n * n for n in counts)
    if pairs_within < 20 or pairs_between < 20:
        return math.nan
    pooled = pool.histogram(Bins.CELL, MAX_CELLS).astype(float)
    between = (float((pooled**2).sum()) - squares + 0.5) / pairs_between
    within = (squares - total + 0.5) / pairs_within
    return math.log(between / within) if between > 0 and within > 0 else math.nan


def member_likeness(sketches: Sequence[CoverageSketch], pool: CoverageSketch) -> float:
    """F15: mean cosine between prompts of two members minus that of two prompts of one member.

    Zero when the members cannot be told apart by what they ask, clearly negative for people.
    """
    sums = np.stack([s.dense_moments()[1] for s in sketches]) / UNIT
    counts = np.array([s.vectors for s in sketches], np.float64)
    squares = np.einsum("ij,ij->i", sums, sums)
    within = float((counts * (counts - 1)).sum())
    between = float(counts.sum() ** 2 - (counts**2).sum())
    if within < 20 or between < 20:
        return math.nan
    total = pool.dense_moments()[1] / UNIT
    apart = (float(total @ total) - float(squares.sum())) / between
    return apart - float((squares - counts).sum()) / within


def synchrony(sketches: Sequence[CoverageSketch]) -> float:
    """F21: mean cosine between the members' hours of the week, from two members on."""
    hours = np.stack([hour_profile(s) for s in sketches])
    norms = np.linalg.norm(hours, axis=1, keepdims=True)
    unit = hours / np.maximum(norms, 1e-12)
    m = len(unit)
    total = unit.sum(axis=0)
    return float((total @ total - m) / (m * (m - 1)))
