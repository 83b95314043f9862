"""Templates and repetition: fixed wording, and prompts that come again.

Each function takes n sketches and returns float64 of shape (n,), NaN where a sketch cannot say.
"""

from __future__ import annotations

from transforms.coverage.features.arrays import Float, divide
from transforms.coverage.features.block import SketchBlock
from transforms.coverage.layout import Bins, Items


def top_scaffold_share(block: SketchBlock) -> Float:
    """F10: share of the requests that begin, or end, with the most common masked wording."""
    n = block.events
    # The buckets of the ends follow those of the beginnings.
    common = block.histogram(Bins.PREFIX_SCAFFOLD, Bins.INPUT_SIZE).largest()
    return divide(common, n, n >= 4)


def repeated_prompts(block: SketchBlock) -> Float:
    """F18: share of the requests whose prompt was asked before, word for word."""
    prompts = block.items(Items.PROMPT)
    total = prompts.total()
    return 1 - divide(prompts.size(), total, total >= 4)
