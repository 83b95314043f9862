"""What is asked for, how much of it, and from where.

Each function takes n sketches and returns float64 of shape (n,), NaN where a sketch cannot say.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from transforms.coverage import layout
from transforms.coverage.features.arrays import Float, divide, log
from transforms.coverage.features.block import SketchBlock
from transforms.coverage.layout import Bins, Items, Sum


def share(slot: Sum, of: Sum = Sum.EVENTS, least: int = 4) -> Callable[[SketchBlock], Float]:
    """A feature: requests or tokens counted in one sum, as a share of another.

    Args:
      slot: what is counted.
      of: the whole.
      least: unknown where the whole is less than that.
    """

    def shares(block: SketchBlock) -> Float:
        total = block.sums[:, of]
        return divide(block.sums[:, slot], total, total >= least)

    shares.__doc__ = f"Requests or tokens counted as {slot.name}, as a share of {of.name}."
    return shares


def log_output_tokens(block: SketchBlock) -> Float:
    """F26: log of the mean number of output tokens of the requests that say it."""
    answered = block.sums[:, Sum.WITH_OUTPUT]
    known = answered >= 4
    return log(divide(block.sums[:, Sum.OUTPUT_TOKENS], answered, known) + 1, known)


def output_ratio(block: SketchBlock) -> Float:
    """F26: log of output tokens over input tokens."""
    tokens_in, tokens_out = block.sums[:, Sum.INPUT_TOKENS], block.sums[:, Sum.OUTPUT_TOKENS]
    known = (tokens_in > 0) & (tokens_out > 0)
    return log(divide(tokens_out, tokens_in, known), known)


def size_entropy(block: SketchBlock) -> Float:
    """Entropy of the octaves of prompt length, in nats; low for a template."""
    return block.histogram(Bins.INPUT_SIZE, Bins.TRAIL).entropy()


def log_networks(block: SketchBlock) -> Float:
    """F28: log of the number of networks; residential proxies and transfer stations have many."""
    distinct = block.distinct(Items.NETWORK)
    return log(distinct, distinct > 0)


def log_clients(block: SketchBlock) -> Float:
    """F28: log of the number of client fingerprints."""
    distinct = block.distinct(Items.CLIENT)
    return log(distinct, distinct > 0)


def log_age_days(block: SketchBlock) -> Float:
    """F24: log of one plus the account's age in days at its last request."""
    known = (block.created_ms < layout.NEVER_MS) & (block.events > 0)
    age_ms = np.where(known, block.last_ms, 0) - np.where(known, block.created_ms, 0)
    days = np.log1p(np.maximum(0.0, age_ms / layout.DAY_MS))
    return np.where(known, days, np.nan)
