"""What share of the requests is known from elsewhere."""

from __future__ import annotations

from transforms.coverage.features.arrays import Float, divide
from transforms.coverage.features.block import SketchBlock
from transforms.coverage.layout import Bins


def known_share(block: SketchBlock) -> Float:
    """F17: share of the requests whose prompt is in a collection of known texts, float64 of shape
    (n,), NaN below four requests; 0 where no collection was given."""
    n = block.events
    return divide(block.histogram(Bins.KNOWN, Bins.END).total(), n, n >= 4)
