"""Gives every event its coordinates and its cell; the text goes no further."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from transforms.embedding.hashing import HashingEmbedder
from transforms.embedding.labels import fill_labels
from transforms.embedding.space import EmbeddingSpace
from transforms.ingest.batch import Decoded, Events

_NO_LABELS = np.empty(0, np.int8)


def vectors_of(decoded: Decoded, embedder: HashingEmbedder | None) -> NDArray[np.float32]:
    """The vectors that events brought, and embedded texts of those that brought none.

    Args:
      decoded: n accepted events.
      embedder: makes vectors from texts; None when only brought vectors count.

    Returns:
      float32 of shape (n, d); zero rows where there is neither. d is 0 when there is nothing.
    """
    n = len(decoded.events)
    missing = np.flatnonzero(~decoded.has_vector)
    if decoded.vectors is not None and not len(missing):
        return decoded.vectors
    if embedder is None:
        return decoded.vectors if decoded.vectors is not None else np.zeros((n, 0), np.float32)
    embedded = embedder.embed([decoded.texts[i] for i in missing])
    if decoded.vectors is None:
        return embedded
    out = decoded.vectors.copy()
    out[missing] = embedded
    return out


def place(
    decoded: Decoded,
    space: EmbeddingSpace,
    embedder: HashingEmbedder | None,
    labels: NDArray[np.int8] = _NO_LABELS,
) -> Events:
    """Events with `coordinates`, `cells` and `nearness` filled in, without their texts.

    Args:
      decoded: n accepted events.
      space: of the bundle.
      embedder: of the same model as the space, or None.
      labels: capability of each cell, for events without a text.
    """
    if not len(decoded.events):
        return decoded.events
    vectors = vectors_of(decoded, embedder)
    if not vectors.shape[1]:
        return decoded.events
    coordinates = space.coordinates(vectors)
    cells, nearness = space.nearest(coordinates)
    events = replace(decoded.events, coordinates=coordinates, cells=cells, nearness=nearness)
    return replace(events, capability=fill_labels(events, labels))
