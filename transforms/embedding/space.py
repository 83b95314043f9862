"""The space in which coverage is measured: one projection, one codebook, one set of waves.

Everything here is integer arithmetic inside float32 matrix products that stay below 2**24, so a
product is exact whatever the size of a batch and whatever the machine: an event gets the same
coordinates in a live run, in a replay and in a test, and sketches merge to the bit.

Steps for a vector x of any length d: divide by its norm, round to 1/2048, project to 64 axes,
subtract the projected centre of the history, divide by the norm again, round to 1/127. The
projection is made once; cells, second moment and random Fourier features all start from those
64 coordinates.

The axes are learnt from the history: 48 principal directions, scaled so that each varies alike
(what all texts of a language or a style have in common would otherwise drown their topics), and 16
random directions of the rest, so that what the history never had still lands somewhere of its own.
Where a history is too small for that, all 64 are random signs (Achlioptas, "Database-friendly
random projections", JCSS 2003).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

AXES = 64
UNIT = 127  # a coordinate of 1.0, so that int8 holds any unit vector; rounding costs 2 % of a norm
NO_CELL = 65535
FOURIER = 256
_INPUT_SCALE = 2048
# Lengths beyond these have squares that float32 holds badly, or not at all.
_SHORTEST, _LONGEST = 1e-15, 1e15
_PHASES = 4096
_WAVE_AMPLITUDE = 1024
_BANDWIDTHS = (0.5, 1.0, 2.0, 4.0)
# Unit vectors without a common direction lie √2 apart: the median distance that the published
# recipe (multiples 0.5, 1, 2, 4 of it) asks for, known beforehand instead of estimated.
_MEDIAN_DISTANCE = 2**0.5
_PROJECTION_SEED = 0x5EED
_PRINCIPAL = 48
_PROJECTION_SCALE = 4_000  # norm of a column: 2048 × 4000 stays below 2**24
_LEAST_VARIANCE = 1e-9  # rounding to 1/2048 alone gives an axis more
_LEAST_SAMPLE = 20  # vectors for each dimension that principal directions are learnt from
_WAVE_SEED = 0xFAE5
# Rows that are worked on at a time, few enough for everything to stay inside the cache.
_WAVE_ROWS, _BLOCK_ROWS = 64, 256


@lru_cache(maxsize=8)
def random_signs(dim: int) -> NDArray[np.float32]:
    """The projection that needs no history: ±1, float32 of shape (dim, 64)."""
    rng = np.random.default_rng([_PROJECTION_SEED, dim])
    return (1 - 2 * rng.integers(0, 2, (dim, AXES))).astype(np.float32)


def learn_projection(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Learns the 64 axes from a sample of the history; see the module.

    Args:
      vectors: float32 of shape (n, d), not zero.

    Returns:
      Integers in float32 of shape (d, 64), columns of norm 4,000; random signs when d is at most
      64, n below 20 d, or when the vectors vary in fewer than 64 directions.
    """
    n, dim = vectors.shape
    if dim <= AXES or n < _LEAST_SAMPLE * dim:
        return random_signs(dim)
    unit = to_integers(vectors).astype(np.float64) / _INPUT_SCALE
    covariance = np.cov(unit, rowvar=False)
    values, directions = np.linalg.eigh(covariance)
    largest = slice(-1, -_PRINCIPAL - 1, -1)
    if values[-AXES] < _LEAST_VARIANCE:
        return random_signs(dim)
    spread = np.sqrt(values[largest])
    principal = directions[:, largest] * (spread[-1] / spread)
    rest = random_signs(dim)[:, _PRINCIPAL:].astype(np.float64)
    rest -= directions[:, largest] @ (directions[:, largest].T @ rest)
    # The random axes vary as much as each principal one does.
    rest *= spread[-1] / np.sqrt(np.einsum("ia,ij,ja->a", rest, covariance, rest))
    axes = np.concatenate([principal, rest], axis=1)
    largest_norm = float(np.linalg.norm(axes, axis=0).max())
    learnt: NDArray[np.float32] = np.rint(axes * (_PROJECTION_SCALE / largest_norm)).astype(
        np.float32
    )
    return learnt


@lru_cache(maxsize=1)
def _waves() -> NDArray[np.float32]:
    """Integer frequencies, float32 of shape (64, 128); a phase of 4096 is a full turn."""
    rng = np.random.default_rng(_WAVE_SEED)
    pairs = FOURIER // 2
    bandwidth = np.repeat(_BANDWIDTHS, pairs // len(_BANDWIDTHS)) * _MEDIAN_DISTANCE
    frequency = rng.standard_normal((AXES, pairs)) / bandwidth
    return np.rint(frequency / UNIT * _PHASES / (2 * np.pi) * 16).astype(np.float32)


@lru_cache(maxsize=1)
def _wave_tables() -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    turn = 2 * np.pi * np.arange(_PHASES) / _PHASES
    return (
        np.rint(np.cos(turn) * _WAVE_AMPLITUDE).astype(np.int16),
        np.rint(np.sin(turn) * _WAVE_AMPLITUDE).astype(np.int16),
    )


def fourier_features(coordinates: NDArray[np.int8]) -> NDArray[np.int16]:
    """Random Fourier features of a sum of four Gaussian kernels.

    Rahimi and Recht, "Random Features for Large-Scale Kernel Machines", NeurIPS 2007: the mean
    inner product of two feature rows is the kernel, so sums of rows give MMD² without keeping
    events.

    Args:
      coordinates: int8 of shape (n, 64), in units of 1/127.

    Returns:
      int16 of shape (n, 256): cosines then sines, in units of 1/1024.
    """
    out = np.empty((len(coordinates), FOURIER), np.int16)
    for start in range(0, len(coordinates), _WAVE_ROWS):
        out[start : start + _WAVE_ROWS] = _few_features(coordinates[start : start + _WAVE_ROWS])
    return out


def fourier_sum(coordinates: NDArray[np.int8]) -> NDArray[np.int64]:
    """Sum of the rows of `fourier_features`, int64 of shape (256,)."""
    total = np.zeros(FOURIER, np.int64)
    for start in range(0, len(coordinates), _WAVE_ROWS):
        part = _few_features(coordinates[start : start + _WAVE_ROWS])
        total += part.sum(axis=0, dtype=np.int32)
    return total


def _few_features(coordinates: NDArray[np.int8]) -> NDArray[np.int16]:
    """`fourier_features` of so few rows that everything stays inside the cache."""
    # Exact: no column of frequencies adds up to more than 2**24 / 128.
    turns = coordinates.astype(np.float32) @ _waves()
    phase = (turns.astype(np.int32) >> 4) & (_PHASES - 1)
    halves = [np.take(table, phase, mode="clip") for table in _wave_tables()]
    return np.concatenate(halves, axis=1)


def fourier_mean(
    total: NDArray[np.int64] | NDArray[np.float64], count: float | NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean feature map, scaled so that one event has unit length.

    Args:
      total: sum of features, of shape (256,), or (n, 256) for n keys.
      count: of the events in it; of shape (n, 1) for n keys.

    Returns:
      float64 of the shape of `total`.
    """
    mean: NDArray[np.float64] = total / (count * _WAVE_AMPLITUDE * np.sqrt(FOURIER / 2))
    return mean


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingSpace:
    """Where vectors of one embedding model fall; fitted on the history, kept in the bundle.

    Attributes:
      embedding_model: name that events must carry; other models' vectors do not belong here.
      dim: length of the vectors of that model.
      projection: integers in float32 of shape (dim, 64).
      centre: float64 of shape (64,), the projected mean of the history (integers).
      codebook: int8 of shape (cells, 64), unit vectors in units of 1/127.
    """

    embedding_model: str
    dim: int
    projection: NDArray[np.float32]
    centre: NDArray[np.float64]
    codebook: NDArray[np.int8]

    @property
    def cells(self) -> int:
        return int(self.codebook.shape[0])

    def coordinates(self, vectors: NDArray[np.float32]) -> NDArray[np.int8]:
        """Projects vectors, float32 of shape (n, dim), to int8 of shape (n, 64); zero stays
        zero."""
        out = np.empty((len(vectors), AXES), np.int8)
        for start in range(0, len(vectors), _BLOCK_ROWS):
            block = vectors[start : start + _BLOCK_ROWS]
            projected = to_integers(block) @ self.projection
            out[start : start + _BLOCK_ROWS] = to_coordinates(projected, self.centre)
        return out

    def nearest(
        self, coordinates: NDArray[np.int8]
    ) -> tuple[NDArray[np.uint16], NDArray[np.int16]]:
        """The cell of each row, and how well it fits.

        Args:
          coordinates: int8 of shape (n, 64).

        Returns:
          Cell by largest inner product, uint16 of shape (n,), NO_CELL for zero rows; and the
          cosine to that cell's centre in thousandths, int16 of shape (n,). What nobody asked in
          the history is far from every centre.
        """
        n = len(coordinates)
        cell, cosine = np.full(n, NO_CELL, np.uint16), np.zeros(n, np.int16)
        rows = coordinates.astype(np.float32)
        book = np.ascontiguousarray(self.codebook.T.astype(np.float32))
        squares = (book.astype(np.float64) ** 2).sum(axis=0)
        for start in range(0, n, _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            products = block @ book
            best = np.argmax(products, axis=1)
            largest = products[np.arange(len(best)), best].astype(np.float64)
            # Products and squares are exact integers below 2**24, whatever the batch.
            length = np.sqrt((block * block).sum(axis=1, dtype=np.float64) * squares[best])
            cell[start : start + _BLOCK_ROWS] = best
            cosine[start : start + _BLOCK_ROWS] = np.floor(1000 * largest / np.maximum(length, 1))
        nothing = ~coordinates.any(axis=1)
        cell[nothing], cosine[nothing] = NO_CELL, 0
        return cell, cosine


def to_integers(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit length, rounded to 1/2048: integers in float32 of shape (n, d); zero stays zero."""
    with np.errstate(over="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    extreme = np.flatnonzero((norms < _SHORTEST) | (norms > _LONGEST))
    extreme = extreme[vectors[extreme].any(axis=1)]
    if len(extreme):
        rows = vectors[extreme]
        rows = rows / np.abs(rows).max(axis=1, keepdims=True)
        vectors = vectors.copy()
        vectors[extreme], norms[extreme] = rows, np.sqrt(np.einsum("ij,ij->i", rows, rows))
    scale = np.divide(_INPUT_SCALE, norms, out=np.zeros_like(norms), where=norms > 0)
    rounded: NDArray[np.float32] = np.rint(vectors * scale[:, None])
    return rounded


def to_coordinates(projected: NDArray[np.float32], centre: NDArray[np.float64]) -> NDArray[np.int8]:
    """Centres and normalises projected rows, float32 (n, 64); rows of zeros stay zeros."""
    present = projected.any(axis=1)
    moved = projected.astype(np.float64) - centre
    norms = np.sqrt(np.einsum("ij,ij->i", moved, moved))
    scale = np.divide(UNIT, norms, out=np.zeros_like(norms), where=present & (norms > 0))
    rounded: NDArray[np.int8] = np.clip(np.rint(moved * scale[:, None]), -127, 127).astype(np.int8)
    return rounded


def fit_space(
    vectors: NDArray[np.float32], embedding_model: str, cells: int, seed: int
) -> EmbeddingSpace:
    """Fits projection, centre and codebook (spherical k-means) to a sample of the history.

    Args:
      vectors: float32 of shape (n, d); rows of zeros are left out.
      embedding_model: name of the model that made the vectors.
      cells: codebook size; fewer are made when the sample has fewer than four vectors a cell.
      seed: of the initial centres.

    Raises:
      ValueError: when there is no vector at all.
    """
    from sklearn.cluster import MiniBatchKMeans

    vectors = vectors[vectors.any(axis=1)]
    if not len(vectors):
        raise ValueError("no vectors to fit an embedding space to")
    projection = learn_projection(vectors)
    projected = to_integers(vectors) @ projection
    centre = np.rint(projected.mean(axis=0, dtype=np.float64))
    coordinates = to_coordinates(projected, centre)
    unique = np.unique(coordinates, axis=0)
    count = int(max(1, min(cells, len(projected) // 4, len(unique))))
    kmeans = MiniBatchKMeans(
        count, random_state=seed, batch_size=4096, n_init=1, max_iter=30, reassignment_ratio=0.0
    ).fit(unique.astype(np.float32))
    centres = kmeans.cluster_centers_
    norms = np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-9)
    codebook = np.clip(np.rint(centres / norms * UNIT), -127, 127).astype(np.int8)
    return EmbeddingSpace(embedding_model, vectors.shape[1], projection, centre, codebook)


def space_name(space: EmbeddingSpace) -> str:
    """Hash of embedder, projection, centre and codebook, 32 hex digits: in spaces of one name the
    same vector falls on the same place, and sketches can be compared, whichever lab made them."""
    digest = blake2b(f"{space.embedding_model}\x1f{space.dim}\x1f".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(space.projection, "<f4").tobytes())
    digest.update(np.ascontiguousarray(space.centre, "<f8").tobytes())
    digest.update(np.ascontiguousarray(space.codebook, "i1").tobytes())
    return digest.hexdigest()
