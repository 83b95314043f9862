"""Features of one key, computed from its coverage sketch.

Each function takes a sketch and returns a float, NaN where the sketch cannot say. `FEATURES` names
them all, with the direction in which a value is suspicious and words for the people on call. The
codes F1…F29 are those of the project's science notes; sources stand with each formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from transforms.coverage import layout
from transforms.coverage.layout import Bins, Items, Sum
from transforms.coverage.sketch import CoverageSketch
from transforms.embedding.space import AXES, FOURIER, UNIT, fourier_mean

NAN = math.nan
_TRACE = float(UNIT * UNIT)  # squared length of one event's coordinates


# --- breadth ------------------------------------------------------------------------------------


def hill_number(sketch: CoverageSketch) -> float:
    """F1: log of Hill's number of order 1, the Shannon entropy of the cells in nats.

    Hill, "Diversity and Evenness", Ecology 1973; exp of it is the number of equally used cells.
    """
    return _entropy(sketch.cell_counts())


def _entropy(counts: NDArray[np.int64]) -> float:
    total = int(counts.sum())
    if total < 2:
        return NAN
    share = counts[counts > 0] / total
    return float(-(share * np.log(share)).sum())


def effective_rank(sketch: CoverageSketch) -> float:
    """F2: log of the number of directions in use, tr² / ‖S‖²_F of the projected second moment S.

    Friedman and Dieng, "The Vendi Score", TMLR 2023 (order 2, linear kernel). Two corrections: the
    diagonal terms of single events are taken out of ‖S‖², so that the value estimates the
    population's and not the sample's, whose rank is at most n; and the share 1/k that a projection
    to k = 64 axes adds to every squared cosine is taken out again,
    F̂ = (F − 1/k) / (1 + 1/k).
    """
    n = sketch.vectors
    if n < 4:
        return NAN
    matrix = second_moment(sketch)
    # ‖S‖² = Σᵢⱼ (xᵢ·xⱼ)² with (xᵢ·xᵢ)² = 1; unbiased over the pairs i ≠ j.
    pairs = (float((matrix**2).sum()) - n) / (n * (n - 1))
    return -math.log(max((pairs - 1 / AXES) / (1 + 1 / AXES), 1e-4))


def second_moment(sketch: CoverageSketch) -> NDArray[np.float64]:
    """Σ x xᵀ over the key's events, unit vectors: float64 of shape (64, 64)."""
    packed = sketch.dense_moments()[0]
    matrix = np.zeros((AXES, AXES))
    matrix[layout.UPPER] = packed / _TRACE
    return matrix + np.triu(matrix, 1).T


def unseen_share(sketch: CoverageSketch) -> float:
    """F3: Good and Turing's estimate of the share of the next requests that fall in new cells.

    Good, "The Population Frequencies of Species", Biometrika 1953: f₁ / n.
    """
    counts = sketch.cell_counts()
    total = int(counts.sum())
    return NAN if total < 2 else float((counts == 1).sum() / total)


def chao_richness(sketch: CoverageSketch) -> float:
    """F3: log of Chao's lower bound of the number of cells, bias-corrected Chao1.

    Chao, "Nonparametric Estimation of the Number of Classes in a Population", Scand. J. Stat. 1984.
    """
    counts = sketch.cell_counts()
    if counts.sum() < 2:
        return NAN
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return math.log(len(counts) + once * (once - 1) / (2 * (twice + 1)))


def heaps_slope(sketch: CoverageSketch) -> float:
    """F4: d ln V / d ln n, how steadily new cells keep coming, between n/2 and n by rarefaction.

    Heaps's law with Hurlbert's rarefaction (Ecology 1971) of the cell counts, binomial form.
    """
    counts = sketch.cell_counts()
    total = int(counts.sum())
    if total < 4:
        return NAN
    half = float((1 - 0.5 ** counts.astype(np.float64)).sum())
    return math.log(len(counts) / half) / math.log(2)


def log_volume(sketch: CoverageSketch) -> float:
    """F6: log det(I + S / (n ε)) with ε = 1/64, per axis: the log-volume of the covered
    ellipsoid."""
    n = sketch.vectors
    if n < 2:
        return NAN
    _, value = np.linalg.slogdet(np.eye(AXES) + second_moment(sketch) * (AXES / n))
    return float(value) / AXES


def common_direction(sketch: CoverageSketch) -> float:
    """Mean cosine between two different events of the key, ‖Σx‖² corrected for the diagonal."""
    n = sketch.vectors
    if n < 2:
        return NAN
    total = sketch.dense_moments()[1] / UNIT
    return float((total @ total - n) / (n * (n - 1)))


# --- order and time -----------------------------------------------------------------------------


def coherence(sketch: CoverageSketch) -> float:
    """F29: mean cosine within a conversation (or ten minutes) minus that of any two of the key's.

    A person stays on a matter for some prompts; a sweep draws each prompt afresh.
    """
    several = sketch.group_count > 1
    if not several.any():
        return NAN
    counts = sketch.group_count[several].astype(np.float64)
    sums = sketch.group_sum[several] / UNIT
    pairs = (counts * (counts - 1)).sum()
    within = float((np.einsum("ij,ij->i", sums, sums) - counts).sum() / pairs)
    return within - common_direction(sketch)


def longest_idle_gap(sketch: CoverageSketch) -> float:
    """F19: hours of the longest stretch of the day, seen as a circle, without any request."""
    if sketch.last_ms - sketch.first_ms < layout.DAY_MS:
        return NAN
    active = np.flatnonzero(_hours_of_day(sketch))
    if not len(active):
        return NAN
    gaps = np.diff(np.append(active, active[0] + 24)) - 1
    return float(gaps.max())


def _hours_of_day(sketch: CoverageSketch) -> NDArray[np.int64]:
    week = sketch.histogram(Bins.HOUR_OF_WEEK, Bins.PREFIX_SCAFFOLD).reshape(7, 24)
    hours: NDArray[np.int64] = week.sum(axis=0)
    return hours


def hour_entropy(sketch: CoverageSketch) -> float:
    """F19: entropy of the hour of the week, in nats."""
    if sketch.last_ms - sketch.first_ms < layout.DAY_MS:
        return NAN
    return _entropy(sketch.histogram(Bins.HOUR_OF_WEEK, Bins.PREFIX_SCAFFOLD))


def circadian_amplitude(sketch: CoverageSketch) -> float:
    """F19: length of the mean resultant vector of the hour of day, 0 (round the clock) to 1.

    Mardia and Jupp, "Directional Statistics", 2000, with the sampling term 1/n removed.
    """
    n = sketch.events
    if n < 4 or sketch.last_ms - sketch.first_ms < layout.DAY_MS:
        return NAN
    angle = 2 * np.pi * np.arange(24) / 24
    hours = _hours_of_day(sketch)
    square = float((hours @ np.cos(angle)) ** 2 + (hours @ np.sin(angle)) ** 2) / n**2
    return math.sqrt(max(0.0, (square - 1 / n) * n / (n - 1)))


def _spanned(sketch: CoverageSketch, unit_ms: int) -> int:
    """Clock minutes, or hours, from the first request's to the last one's."""
    return sketch.last_ms // unit_ms - sketch.first_ms // unit_ms + 1


def _minute_counts(sketch: CoverageSketch) -> tuple[NDArray[np.int64], float]:
    return sketch.items(Items.MINUTE)[1], sketch.distinct(Items.MINUTE)


def burstiness(sketch: CoverageSketch) -> float:
    """F20: (CV − 1) / (CV + 1) of the gaps between requests, −1 (a clock) to 1 (bursts).

    Goh and Barabási, "Burstiness and Memory in Complex Systems", EPL 2008. Gaps need an order that
    a mergeable sketch does not have; the index of dispersion of counts per minute tends to CV² for
    a renewal process (Cox and Lewis, 1966) and comes from the sampled minutes.
    """
    counts, distinct = _minute_counts(sketch)
    n = sketch.events
    minutes = _spanned(sketch, layout.MINUTE_MS)
    if n < 4 or minutes < 3 or not len(counts):
        return NAN
    mean = n / minutes
    square = float((counts.astype(np.float64) ** 2).mean()) * distinct / minutes
    dispersion = max(square - mean**2, 1e-6) / mean
    spread = math.sqrt(dispersion)
    return (spread - 1) / (spread + 1)


def pace_evenness(sketch: CoverageSketch) -> float:
    """F20: spread over mean of the requests per active minute; low for a steady script."""
    counts, _ = _minute_counts(sketch)
    if len(counts) < 4:
        return NAN
    return float(counts.std() / counts.mean())


def busy_hours(sketch: CoverageSketch) -> float:
    """Share of the clock hours from the first request's to the last one's that saw one."""
    hours = _spanned(sketch, layout.HOUR_MS)
    if sketch.events < 4 or hours < 4:
        return NAN
    return min(1.0, sketch.distinct(Items.HOUR) / hours)


# --- templates and repetition -------------------------------------------------------------------


def top_scaffold_share(sketch: CoverageSketch) -> float:
    """F10: share of the requests that begin, or end, with the most common masked wording."""
    n = sketch.events
    if n < 4:
        return NAN
    head = sketch.histogram(Bins.PREFIX_SCAFFOLD, Bins.SUFFIX_SCAFFOLD)
    tail = sketch.histogram(Bins.SUFFIX_SCAFFOLD, Bins.SYSTEM_PROMPT)
    return float(max(head.max(), tail.max()) / n)


def repeated_prompts(sketch: CoverageSketch) -> float:
    """F18: share of the requests whose prompt was asked before, word for word."""
    _, counts = sketch.items(Items.PROMPT)
    if counts.sum() < 4:
        return NAN
    return float(1 - len(counts) / counts.sum())


# --- what is asked for --------------------------------------------------------------------------


def _share(slot: Sum, of: Sum = Sum.EVENTS, least: int = 4) -> Callable[[CoverageSketch], float]:
    def share(sketch: CoverageSketch) -> float:
        total = int(sketch.sums[of])
        return NAN if total < least else float(sketch.sums[slot] / total)

    share.__doc__ = f"Requests or tokens counted as {slot.name}, as a share of {of.name}."
    return share


def log_output_tokens(sketch: CoverageSketch) -> float:
    """F26: log of the mean number of output tokens of the requests that say it."""
    answered = int(sketch.sums[Sum.WITH_OUTPUT])
    if answered < 4:
        return NAN
    return math.log(float(sketch.sums[Sum.OUTPUT_TOKENS]) / answered + 1)


def output_ratio(sketch: CoverageSketch) -> float:
    """F26: log of output tokens over input tokens."""
    tokens_in, tokens_out = int(sketch.sums[Sum.INPUT_TOKENS]), int(sketch.sums[Sum.OUTPUT_TOKENS])
    return math.log(tokens_out / tokens_in) if tokens_in > 0 and tokens_out > 0 else NAN


def size_entropy(sketch: CoverageSketch) -> float:
    """Entropy of the octaves of prompt length, in nats; low for a template."""
    return _entropy(sketch.histogram(Bins.INPUT_SIZE, Bins.OUTPUT_SIZE))


def log_networks(sketch: CoverageSketch) -> float:
    """F28: log of the number of networks; residential proxies and transfer stations have many."""
    distinct = sketch.distinct(Items.NETWORK)
    return math.log(distinct) if distinct else NAN


def log_clients(sketch: CoverageSketch) -> float:
    """F28: log of the number of client fingerprints."""
    distinct = sketch.distinct(Items.CLIENT)
    return math.log(distinct) if distinct else NAN


def log_age_days(sketch: CoverageSketch) -> float:
    """F24: log of one plus the account's age in days at its last request."""
    if sketch.created_ms >= layout.NEVER_MS or not sketch.events:
        return NAN
    return math.log1p(max(0.0, (sketch.last_ms - sketch.created_ms) / layout.DAY_MS))


# --- distance from the peer group ---------------------------------------------------------------


def mmd2(sketch: CoverageSketch, reference: NDArray[np.float64], reference_events: float) -> float:
    """F5: unbiased squared maximum mean discrepancy to a reference.

    Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, with random Fourier features.

    Args:
      sketch: of the key.
      reference: float64 of shape (256,), mean feature map of the peer group (`fourier_mean`).
      reference_events: how many events that mean was taken over.
    """
    n = sketch.vectors
    if n < 4 or reference.shape != (FOURIER,) or reference_events < 2:
        return NAN
    mean = fourier_mean(sketch.dense_moments()[2], n)
    own = (n * float(mean @ mean) - 1) / (n - 1)
    other = (reference_events * float(reference @ reference) - 1) / (reference_events - 1)
    return own + other - 2 * float(mean @ reference)


# --- the table of features ----------------------------------------------------------------------


class Suspicious(Enum):
    """Where, against its peers, a value of the feature speaks for distillation."""

    HIGH = 1
    LOW = -1
    BOTH = 0


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the feature matrix.

    Attributes:
      name: column name in tables and bundles.
      code: F1…F29 of the science notes, or "".
      compute: from sketch to float.
      suspicious: the side that counts.
      words: for alerts; filled with "more"/"less" phrases by `explain`.
      scale: how the value is shown to people: "plain", "share" or "exp" (value is a log).
    """

    name: str
    code: str
    compute: Callable[[CoverageSketch], float]
    suspicious: Suspicious
    words: str
    scale: str = "plain"


_HIGH, _LOW, _BOTH = Suspicious.HIGH, Suspicious.LOW, Suspicious.BOTH

FEATURES: tuple[Feature, ...] = (
    Feature("hill_cells", "F1", hill_number, _HIGH, "topics used evenly", "exp"),
    Feature(
        "effective_rank", "F2", effective_rank, _HIGH, "independent directions asked about", "exp"
    ),
    Feature(
        "unseen_share",
        "F3",
        unseen_share,
        _HIGH,
        "share of requests on a topic never returned to",
        "share",
    ),
    Feature("chao_cells", "F3", chao_richness, _HIGH, "topics in reach", "exp"),
    Feature("heaps_slope", "F4", heaps_slope, _HIGH, "pace of new topics"),
    Feature("log_volume", "F6", log_volume, _HIGH, "volume of the covered space"),
    Feature("common_direction", "", common_direction, _LOW, "likeness of two of its prompts"),
    Feature("coherence", "F29", coherence, _LOW, "likeness of consecutive prompts beyond chance"),
    Feature("idle_gap_hours", "F19", longest_idle_gap, _LOW, "hours of the day it rests"),
    Feature("hour_entropy", "F19", hour_entropy, _HIGH, "hours of the week in use", "exp"),
    Feature("circadian_amplitude", "F19", circadian_amplitude, _LOW, "day and night rhythm"),
    Feature("burstiness", "F20", burstiness, _LOW, "burstiness of its requests"),
    Feature("pace_evenness", "F20", pace_evenness, _BOTH, "unevenness of requests per minute"),
    Feature("busy_hours", "F19", busy_hours, _HIGH, "share of hours in use", "share"),
    Feature(
        "top_scaffold_share",
        "F10",
        top_scaffold_share,
        _HIGH,
        "share of the most common wording",
        "share",
    ),
    Feature(
        "repeated_prompts", "F18", repeated_prompts, _BOTH, "share of prompts asked again", "share"
    ),
    Feature(
        "continued_share",
        "F29",
        _share(Sum.CONTINUED, Sum.WITH_CONVERSATION),
        _LOW,
        "share of follow-up turns",
        "share",
    ),
    Feature("code_share", "F8", _share(Sum.CODE), _BOTH, "share of code", "share"),
    Feature("tool_share", "F8", _share(Sum.TOOL_REQUESTS), _BOTH, "share with tools", "share"),
    Feature(
        "reasoning_share",
        "F9",
        _share(Sum.REASONING_TOKENS, Sum.OUTPUT_TOKENS),
        _HIGH,
        "reasoning tokens for each output token",
        "share",
    ),
    Feature(
        "structured_share",
        "F27",
        _share(Sum.STRUCTURED),
        _BOTH,
        "share with a response format",
        "share",
    ),
    Feature(
        "saturated_share",
        "F26",
        _share(Sum.SATURATED),
        _HIGH,
        "share of answers at the token limit",
        "share",
    ),
    Feature(
        "output_tokens", "F26", log_output_tokens, _HIGH, "output tokens for each request", "exp"
    ),
    Feature(
        "output_ratio", "F26", output_ratio, _HIGH, "output tokens for each input token", "exp"
    ),
    Feature("size_entropy", "", size_entropy, _BOTH, "variety of prompt lengths", "exp"),
    Feature("networks", "F28", log_networks, _HIGH, "networks", "exp"),
    Feature("clients", "F28", log_clients, _HIGH, "client fingerprints", "exp"),
    Feature("account_age", "F24", log_age_days, _LOW, "days since the account was opened", "exp"),
    Feature(
        "blocked_share", "F22", _share(Sum.BLOCKED), _HIGH, "share of requests refused", "share"
    ),
)

MMD = Feature(
    "mmd2",
    "F5",
    lambda sketch: NAN,  # needs the peer group's reference: `feature_matrix` fills it in
    _BOTH,
    "distance from what its peers ask",
)
COLUMNS: tuple[Feature, ...] = (*FEATURES, MMD)


@lru_cache(maxsize=1)
def column_index() -> dict[str, int]:
    """Position of each feature in a row of the feature matrix."""
    return {feature.name: i for i, feature in enumerate(COLUMNS)}


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Mean Fourier feature map of a peer group: float64 of shape (256,), and its event count."""

    mean: NDArray[np.float64]
    events: float


def feature_matrix(
    sketches: Sequence[CoverageSketch], references: Sequence[Reference | None]
) -> NDArray[np.float64]:
    """Features of n keys: float64 of shape (n, len(COLUMNS)), NaN where a sketch cannot say.

    Args:
      sketches: one for each key.
      references: the peer group's for each key, None where there is none.
    """
    out = np.full((len(sketches), len(COLUMNS)), NAN)
    for row, sketch, reference in zip(out, sketches, references, strict=True):
        row[:-1] = [feature.compute(sketch) for feature in FEATURES]
        if reference is not None:
            row[-1] = mmd2(sketch, reference.mean, reference.events)
    return out
