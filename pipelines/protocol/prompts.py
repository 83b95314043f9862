"""Prompts of corpora as what the protocol computes with: vectors, coordinates, sizes, words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.protocol.baselines.kernel import times
from pipelines.protocol.novelty import Blocks
from pipelines.protocol.wording import Sets, feature_sets
from pipelines.simulate.corpora import MAX_ROWS
from pipelines.simulate.corpus_file import read_rows
from transforms.embedding.hashing import HashingEmbedder
from transforms.embedding.space import (
    AXES,
    UNIT,
    EmbeddingSpace,
    fit_space,
)
from transforms.ingest.scaffold import scaffolds

Ids = NDArray[np.int64]
_UPPER = np.triu_indices(AXES)
_BYTES_A_TOKEN = 4


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """n prompts that have a vector.

    Attributes:
      vectors: unit vectors of the built-in embedder, float32 of shape (n, 384).
      sizes: octave of the number of tokens, taken as a quarter of the bytes; int64 (n,).
      prefixes, suffixes: scaffold bucket as the sketch has it, 256 for none; int64 (n,).
      words: hashed features of each prompt, see `wording.feature_sets`; n rows.
      chinese: share of prompts with a Chinese character among the first 200.
    """

    vectors: NDArray[np.float32]
    sizes: Ids
    prefixes: Ids
    suffixes: Ids
    words: Sets
    chinese: float

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, index: Ids) -> Prompts:
        """The prompts at `index`."""
        return Prompts(
            self.vectors[index], self.sizes[index], self.prefixes[index],
            self.suffixes[index], self.words[index], self.chinese,
        )  # fmt: skip


def join(parts: Sequence[Prompts]) -> Prompts:
    """All prompts of the parts, in order."""
    from scipy.sparse import vstack

    return Prompts(
        np.concatenate([p.vectors for p in parts]),
        np.concatenate([p.sizes for p in parts]),
        np.concatenate([p.prefixes for p in parts]),
        np.concatenate([p.suffixes for p in parts]),
        vstack([p.words for p in parts], format="csr"),
        float(np.average([p.chinese for p in parts], weights=[max(len(p), 1) for p in parts])),
    )


def read_texts(path: Path, most: int = MAX_ROWS) -> list[str]:
    """Texts of one corpus, each once, in the order of the file.

    Raises:
      DistilwatchError: the file cannot be read, or a line is not JSON or has no text.
    """
    found: dict[str, None] = {}
    for row in read_rows(path):
        found.setdefault(row.text)
        if len(found) >= most:
            break
    return list(found)


def embed(texts: Sequence[str]) -> Prompts:
    """Embeds texts with the built-in embedder; those without any word are left out."""
    vectors = HashingEmbedder().embed(texts)
    kept = np.flatnonzero(vectors.any(axis=1)).tolist()
    hashes = np.array([scaffolds(texts[i])[:2] for i in kept], np.uint64).reshape(-1, 2)
    tokens = np.array([max(1, len(texts[i].encode()) // _BYTES_A_TOKEN) for i in kept], np.int64)
    buckets = np.where(hashes > 0, (hashes >> np.uint64(40)).astype(np.int64) % 256, 256)
    chinese = [any("\u4e00" <= c <= "\u9fff" for c in text[:200]) for text in texts]
    return Prompts(
        vectors[kept],
        np.minimum(np.log2(tokens).astype(np.int64), 23),
        buckets[:, 0],
        buckets[:, 1],
        feature_sets([texts[i] for i in kept]),
        float(np.mean(chinese)) if chinese else 0.0,
    )


def space_of(
    parts: Sequence[Prompts], name: str, cells: int, most: int, seed: int
) -> EmbeddingSpace:
    """The embedding space of several sources, each with at most `most` prompts."""
    rng = np.random.default_rng((seed, 0x5BACE))
    rows = [p.vectors[rng.permutation(len(p))[:most]] for p in parts]
    return fit_space(np.concatenate(rows), name, cells, seed)


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Prompts placed in a space: what windows are drawn from.

    Attributes:
      prompts: n prompts.
      unit: coordinates in units of one, float32 of shape (n, 64).
      cells: codebook cell, int64 of shape (n,).
      moments: x xᵀ of each prompt, upper triangle, float32 of shape (n, 2080).
    """

    prompts: Prompts
    unit: NDArray[np.float32]
    cells: Ids
    moments: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.unit)

    def sums(self, weights: NDArray[np.float32]) -> Blocks:
        """Additive state of w windows.

        Args:
          weights: how often each window has each prompt, float32 of shape (w, n).
        """

        def counted(index: Ids, bins: int) -> NDArray[np.float64]:
            hot = np.zeros((len(index), bins), np.float32)
            hot[np.arange(len(index)), index] = 1.0
            return (weights @ hot).astype(np.float64)

        return Blocks(
            weights.sum(axis=1, dtype=np.float64),
            (weights @ self.unit).astype(np.float64),
            times(weights, self.moments).astype(np.float64),
            counted(self.prompts.sizes, 24),
            counted(self.prompts.prefixes, 257),
            counted(self.prompts.suffixes, 257),
        )


def place(prompts: Prompts, space: EmbeddingSpace) -> Pool:
    """Puts prompts into a space."""
    coordinates = space.coordinates(prompts.vectors)
    unit = (coordinates / np.float32(UNIT)).astype(np.float32)
    moments = np.empty((len(unit), len(_UPPER[0])), np.float32)
    for start in range(0, len(unit), 2_048):  # the full outer products would not fit in memory
        part = unit[start : start + 2_048]
        moments[start : start + 2_048] = part[:, _UPPER[0]] * part[:, _UPPER[1]]
    return Pool(prompts, unit, space.nearest(coordinates)[0].astype(np.int64), moments)


def topic_blocks(pool: Pool, topics: int, seed: int) -> Blocks:
    """Additive state of the topics of a pool, found by k-means on the coordinates."""
    from sklearn.cluster import MiniBatchKMeans

    count = int(np.clip(len(pool) // 40, 1, topics))
    if count < 2:
        return pool.sums(np.ones((1, len(pool)), np.float32))
    label = MiniBatchKMeans(count, random_state=seed, n_init=1).fit_predict(pool.unit)
    weights = np.zeros((count, len(pool)), np.float32)
    weights[label, np.arange(len(pool))] = 1.0
    return pool.sums(weights)
