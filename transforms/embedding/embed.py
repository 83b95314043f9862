"""Gives every event its coordinates and its cell; the text goes no further."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from transforms.embedding.hashing import HashingEmbedder
from transforms.embedding.space import AXES, EmbeddingSpace, project, to_coordinates
from transforms.ingest.batch import Decoded, Events


def projected_rows(decoded: Decoded, embedder: HashingEmbedder | None) -> NDArray[np.float32]:
    """Projects the vectors that events brought, and embeds the texts of those that brought none.

    Args:
      decoded: n accepted events.
      embedder: makes vectors from texts; None when only brought vectors count.

    Returns:
      float32 of shape (n, 64), see `space.project`; zero rows where there is neither.
    """
    n = len(decoded.events)
    if decoded.vectors is not None and decoded.has_vector.all():
        return project(decoded.vectors)
    out = np.zeros((n, AXES), np.float32)
    if decoded.vectors is not None:
        brought = np.flatnonzero(decoded.has_vector)
        out[brought] = project(decoded.vectors[brought])
    if embedder is not None:
        missing = np.flatnonzero(~decoded.has_vector)
        if len(missing):
            out[missing] = project(embedder.embed([decoded.texts[i] for i in missing]))
    return out


def place(decoded: Decoded, space: EmbeddingSpace, embedder: HashingEmbedder | None) -> Events:
    """Events with `coordinates` and `cells` filled in, without their texts.

    Args:
      decoded: n accepted events.
      space: of the bundle.
      embedder: of the same model as the space, or None.
    """
    if not len(decoded.events):
        return decoded.events
    coordinates = to_coordinates(projected_rows(decoded, embedder), space.centre)
    cells = space.nearest(coordinates)
    return replace(decoded.events, coordinates=coordinates, cells=cells)
