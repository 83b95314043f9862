"""Order and time: rests, rhythm and pace.

Each function takes n sketches and returns float64 of shape (n,), NaN where a sketch cannot say.
"""

from __future__ import annotations

import numpy as np

from transforms.coverage import layout
from transforms.coverage.features.arrays import Bool, Float, Int64, divide
from transforms.coverage.features.block import SketchBlock
from transforms.coverage.features.breadth import common_direction
from transforms.coverage.layout import Items

_ANGLE = 2 * np.pi * np.arange(24) / 24


def coherence(block: SketchBlock) -> Float:
    """F29: mean cosine within a conversation (or ten minutes) minus that of any two of the key's.

    A person stays on a matter for some prompts; a sweep draws each prompt afresh.
    """
    groups, squares = block.groups
    several = groups.count > 1
    pairs = groups.sum(np.where(several, groups.count * (groups.count - 1), 0.0))
    cosines = groups.sum(np.where(several, squares - groups.count, 0.0))
    return divide(cosines, pairs, pairs > 0) - common_direction(block)


def _whole_day(block: SketchBlock) -> Bool:
    return block.last_ms - block.first_ms >= layout.DAY_MS


def longest_idle_gap(block: SketchBlock) -> Float:
    """F19: hours of the longest stretch of the day, seen as a circle, without any request."""
    active = block.hours_of_day > 0
    hour = np.arange(48)
    latest = np.where(np.concatenate([active, active], axis=1), hour, -1)
    latest = np.maximum.accumulate(latest, axis=1)
    # On the second round each hour has a last active one before it.
    longest = (hour - latest)[:, 24:].max(axis=1, initial=0)
    return np.where(_whole_day(block) & active.any(axis=1), longest, np.nan)


def hour_entropy(block: SketchBlock) -> Float:
    """F19: entropy of the hour of the week, in nats."""
    return np.where(_whole_day(block), block.hours.entropy(), np.nan)


def circadian_amplitude(block: SketchBlock) -> Float:
    """F19: length of the mean resultant vector of the hour of day, 0 (round the clock) to 1.

    Mardia and Jupp, "Directional Statistics", 2000, with the sampling term 1/n removed.
    """
    n = block.events
    known = (n >= 4) & _whole_day(block)
    hours = block.hours_of_day
    east, north = (hours * np.cos(_ANGLE)).sum(axis=1), (hours * np.sin(_ANGLE)).sum(axis=1)
    square = divide(east**2 + north**2 - n, n * (n - 1), known)
    return np.sqrt(np.maximum(square, 0.0))


def _spanned(block: SketchBlock, unit_ms: int) -> Int64:
    """Clock minutes, or hours, from the first request's to the last one's."""
    return block.last_ms // unit_ms - block.first_ms // unit_ms + 1


def burstiness(block: SketchBlock) -> Float:
    """F20: (CV − 1) / (CV + 1) of the gaps between requests, −1 (a clock) to 1 (bursts).

    Goh and Barabási, "Burstiness and Memory in Complex Systems", EPL 2008. Gaps need an order that
    a mergeable sketch does not have; the index of dispersion of counts per minute tends to CV² for
    a renewal process (Cox and Lewis, 1966) and comes from the sampled minutes.
    """
    sampled = block.items(Items.MINUTE)
    n, minutes = block.events, _spanned(block, layout.MINUTE_MS)
    known = (n >= 4) & (minutes >= 3) & (sampled.size() > 0)
    mean = divide(n, minutes, known)
    square = divide(sampled.sum(sampled.count**2), sampled.size(), known)
    square *= divide(block.distinct(Items.MINUTE), minutes, known)
    dispersion = divide(np.maximum(square - mean**2, 1e-6), mean, known)
    spread = np.sqrt(dispersion)
    index: Float = (spread - 1) / (spread + 1)
    return index


def pace_evenness(block: SketchBlock) -> Float:
    """F20: spread over mean of the requests per active minute; low for a steady script."""
    sampled = block.items(Items.MINUTE)
    size = sampled.size()
    known = size >= 4
    mean = divide(sampled.total(), size, size > 0)
    variance = divide(sampled.sum((sampled.count - mean[sampled.owner]) ** 2), size, known)
    return divide(np.sqrt(variance), mean, known)


def busy_hours(block: SketchBlock) -> Float:
    """Share of the clock hours from the first request's to the last one's that saw one."""
    hours = _spanned(block, layout.HOUR_MS)
    known = (block.events >= 4) & (hours >= 4)
    return np.minimum(1.0, divide(block.distinct(Items.HOUR), hours, known))
