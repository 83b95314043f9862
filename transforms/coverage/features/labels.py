"""What requests ask for and how they say it, by the labels that ingest gave them.

Each function takes n sketches and returns float64 of shape (n,), NaN where a sketch cannot say.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from transforms.coverage.features.arrays import Float, divide
from transforms.coverage.features.block import SketchBlock
from transforms.coverage.layout import Bins, Sum
from transforms.ingest.intents import Intent

_LEAST = 4


def capability_entropy(block: SketchBlock) -> Float:
    """F8: entropy of the capabilities of the labelled requests, in nats; low for a target."""
    return block.histogram(Bins.CAPABILITY, Bins.INTENT).entropy(_LEAST)


def intent_share(*intents: Intent) -> Callable[[SketchBlock], Float]:
    """A feature: share of the requests with one of some wordings; unknown without any text."""

    def shares(block: SketchBlock) -> Float:
        found = block.histogram(Bins.INTENT, Bins.KNOWN)
        counted = found.sum(np.where(np.isin(found.index, intents), found.count, 0.0))
        known = (block.events >= _LEAST) & (block.sums[:, Sum.PROMPT_CHARS] > 0)
        return divide(counted, block.events, known)

    shares.__doc__ = f"Share of the requests with {' or '.join(i.name for i in intents)}."
    return shares
