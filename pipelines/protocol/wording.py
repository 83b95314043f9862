"""How unlike a reference's wording single prompts are, and tests on how many of them are.

A foreign share α of n prompts moves a mean by α, so tests of means have power with α² n. Where
single prompts can be told apart it also fills a tail that is nearly empty otherwise, and counting
there has power with α n (Donoho and Jin, "Higher Criticism for Detecting Sparse Heterogeneous
Mixtures", Ann. Stat. 2004).

A prompt is the set of its hashed words, stems, pairs of characters (in scripts without blanks) and
pairs of neighbouring words; its score is the naive Bayes log-ratio Σ log q(f) / p(f), p being the
share of a feature in the reference and q in benign traffic of other sources. No attack takes part:
q only says which words are common elsewhere. A reference is compared with itself by leaving each
prompt out of the counts, so that what it has seen once counts as what it has never seen.

All state adds up: counts of features for a reference (and for the others), and for a key the number
of its prompts in each bin of `Wording.bins`, taken while the prompt is there to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transforms.embedding.hashing import hashed_features

Float = NDArray[np.float64]
Ids = NDArray[np.int64]
Sets = Any
"""A sparse matrix (scipy, CSR) of zeros and ones, float32 of shape (n, `FEATURES`)."""

FEATURES = 1 << 16
SHARES = (0.5, 0.25, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Shares of the reference's own prompts beyond each edge of the bins."""
BINS = len(SHARES) + 1
_MIX = np.uint64(0xD6E8FEB86659FD93)
_TEXTS = 256  # hashed at once
_MOST_CHARS = 4_000
_PRIOR = 4_000.0  # features' worth of the others' shares mixed into the reference's
_BOUND = 4.0  # of a feature's log-ratio: no single word decides
_FOREIGN = 0.05
_SHAPE = 0.5


def feature_sets(texts: Sequence[str]) -> Sets:
    """The set of hashed features of each of n texts; those without any word have none."""
    from scipy.sparse import csr_matrix

    keys = [np.zeros(0, np.int64)]
    for start in range(0, len(texts), _TEXTS):
        part = [t[:_MOST_CHARS].encode("utf-8", "replace") for t in texts[start : start + _TEXTS]]
        row, hashed = _features(part)
        column = ((hashed >> np.uint64(20)) % np.uint64(FEATURES)).astype(np.int64)
        keys.append(np.unique((row + start) * FEATURES + column))
    key = np.concatenate(keys)
    ones = np.ones(len(key), np.float32)
    return csr_matrix((ones, (key // FEATURES, key % FEATURES)), shape=(len(texts), FEATURES))


def _features(encoded: list[bytes]) -> tuple[Ids, NDArray[np.uint64]]:
    """Row and hash of each feature of a few texts, with pairs of neighbouring words."""
    row, hashed, _, kind = hashed_features(encoded)
    near = (row[1:] == row[:-1]) & (kind[1:] == 0)  # words come before all other kinds
    with np.errstate(over="ignore"):
        pair = ((hashed[:-1] * _MIX) ^ (hashed[:-1] >> np.uint64(29))) + hashed[1:]
        pair = pair[near] * _MIX
    pair ^= pair >> np.uint64(29)
    return np.concatenate([row, row[1:][near]]), np.concatenate([hashed, pair])


def feature_counts(sets: Sets) -> Float:
    """Prompts by feature, additive: float64 of shape (FEATURES,)."""
    return np.asarray(sets.sum(axis=0, dtype=np.float64)).ravel()


@dataclass(frozen=True, slots=True, eq=False)
class Wording:
    """What is a usual prompt for a reference: made by `fit_wording`.

    Attributes:
      ratios: log q / p of each feature, float64 of shape (FEATURES,).
      edges: scores that `SHARES` of the reference's own prompts are beyond, rising, float64 (9,).
    """

    ratios: Float
    edges: Float

    def bins(self, sets: Sets) -> Ids:
        """Bin of each prompt that the reference has not seen, 0 the most usual: int64 (n,)."""
        return np.asarray(np.searchsorted(self.edges, sets @ self.ratios, side="left"), np.int64)


def wording_excess(counts: Float) -> Float:
    """How many prompts lie in the tail, of k keys; up is foreign.

    Args:
      counts: prompts by bin, float64 of shape (k, BINS).

    Returns:
      Mean log(1 + α (g − 1)), float64 of shape (k,), NaN for a key without prompts: the
      log-likelihood ratio of a share α = 5 % of foreign prompts, whose density is g = ½ p^(−½)
      where that of the reference's own is 1, p being the share of these beyond a score.
    """
    n = counts.sum(axis=1)
    ends = np.array([1.0, *SHARES, 0.0])
    density = np.diff(ends**_SHAPE) / np.diff(ends)
    total = counts @ np.log1p(_FOREIGN * (density - 1))
    return np.asarray(np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0))


def fit_wording(own: Sets, others: Float) -> Wording:
    """Fits what is usual.

    Args:
      own: features of the reference's m prompts, each of which is scored without itself.
      others: counts of features in benign traffic of other sources, float64 of shape (FEATURES,).

    Raises:
      ValueError: when there is no prompt.
    """
    if not own.shape[0]:
        raise ValueError("a reference without prompts")
    counts = feature_counts(own)
    q = (others + 0.5) / (others + 0.5).sum()

    def ratio(seen: Float) -> Float:
        p = (seen + _PRIOR * q) / (counts.sum() + _PRIOR)
        return np.asarray(np.clip(np.log(q / p), -_BOUND, _BOUND))

    scores = np.sort(own @ ratio(np.maximum(counts - 1, 0)))
    m = len(scores)
    edges = scores[np.minimum(m - 1, np.ceil(m * (1 - np.array(SHARES))).astype(np.int64))]
    return Wording(ratio(counts), edges)
