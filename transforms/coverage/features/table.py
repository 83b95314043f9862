"""The table of features: names, directions, words, and the matrix of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np

from transforms.coverage.features.arrays import Float
from transforms.coverage.features.block import SketchBlock
from transforms.coverage.features.breadth import (
    chao_richness,
    common_direction,
    effective_rank,
    heaps_slope,
    hill_number,
    log_volume,
    own_rank,
    unseen_share,
)
from transforms.coverage.features.distance import Reference, mmd2, new_model_share, novelty
from transforms.coverage.features.known import known_share
from transforms.coverage.features.labels import capability_entropy, intent_share
from transforms.coverage.features.templates import repeated_prompts, top_scaffold_share
from transforms.coverage.features.timing import (
    burstiness,
    busy_hours,
    circadian_amplitude,
    coherence,
    hour_entropy,
    longest_idle_gap,
    pace_evenness,
)
from transforms.coverage.features.trail import days_to_peak, surge, topic_shift
from transforms.coverage.features.usage import (
    log_age_days,
    log_clients,
    log_networks,
    log_output_tokens,
    output_ratio,
    share,
    size_entropy,
)
from transforms.coverage.layout import Sum
from transforms.coverage.sketch import CoverageSketch
from transforms.coverage.stack import SketchStack
from transforms.ingest.intents import Intent

_BLOCK = 512  # keys at a time: bounds the memory of their arrays


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
      compute: from n sketches to float64 of shape (n,).
      suspicious: the side that counts.
      words: for people who do not know how it is computed; `explain` adds the value, and what is
        normal.
      scale: how the value is shown to people: "plain", "share", "exp" (value is a log), "count" (a
        log of what is counted), or "degree" where a number would say nothing.
    """

    name: str
    code: str
    compute: Callable[[SketchBlock], Float]
    suspicious: Suspicious
    words: str
    scale: str = "plain"


_HIGH, _LOW, _BOTH = Suspicious.HIGH, Suspicious.LOW, Suspicious.BOTH

FEATURES: tuple[Feature, ...] = (
    Feature("hill_cells", "F1", hill_number, _HIGH, "different topics it asks about", "count"),
    Feature(
        "effective_rank", "F2", effective_rank, _HIGH, "unrelated subjects it asks about", "count"
    ),
    Feature(
        "own_rank",
        "F2",
        own_rank,
        _HIGH,
        "unrelated subjects, apart from wording that all its prompts share",
        "count",
    ),
    Feature(
        "unseen_share",
        "F3",
        unseen_share,
        _HIGH,
        "requests on a topic that it never came back to",
        "share",
    ),
    Feature(
        "chao_cells",
        "F3",
        chao_richness,
        _HIGH,
        "topics that it would reach if it went on",
        "count",
    ),
    Feature(
        "heaps_slope", "F4", heaps_slope, _HIGH, "how fast it moves on to new topics", "degree"
    ),
    Feature(
        "log_volume", "F6", log_volume, _HIGH, "how wide the field of its questions is", "degree"
    ),
    Feature(
        "novelty", "F5", novelty, _HIGH, "how unlike all earlier traffic its prompts are", "degree"
    ),
    Feature("common_direction", "", common_direction, _LOW, "how alike its prompts are", "degree"),
    Feature(
        "coherence",
        "F29",
        coherence,
        _LOW,
        "how far a prompt goes on from the one before",
        "degree",
    ),
    Feature("idle_gap_hours", "F19", longest_idle_gap, _LOW, "longest rest in a day, in hours"),
    Feature(
        "hour_entropy",
        "F19",
        hour_entropy,
        _HIGH,
        "hours of the week in which it works, of 168",
        "count",
    ),
    Feature(
        "circadian_amplitude",
        "F19",
        circadian_amplitude,
        _LOW,
        "how much day and night differ",
        "degree",
    ),
    Feature(
        "burstiness", "F20", burstiness, _LOW, "how much its requests come in bursts", "degree"
    ),
    Feature(
        "pace_evenness",
        "F20",
        pace_evenness,
        _BOTH,
        "how uneven its pace is from minute to minute",
        "degree",
    ),
    Feature("busy_hours", "F19", busy_hours, _HIGH, "hours in which it works", "share"),
    Feature(
        "top_scaffold_share",
        "F10",
        top_scaffold_share,
        _HIGH,
        "requests in one and the same wording",
        "share",
    ),
    Feature(
        "repeated_prompts",
        "F18",
        repeated_prompts,
        _BOTH,
        "prompts that it had asked before",
        "share",
    ),
    Feature(
        "continued_share",
        "F29",
        share(Sum.CONTINUED, Sum.WITH_CONVERSATION),
        _LOW,
        "requests that follow up on an answer",
        "share",
    ),
    Feature("code_share", "F8", share(Sum.CODE), _BOTH, "requests with code", "share"),
    Feature(
        "tool_share", "F8", share(Sum.TOOL_REQUESTS), _BOTH, "requests that use tools", "share"
    ),
    Feature(
        "reasoning_share",
        "F9",
        share(Sum.REASONING_TOKENS, Sum.OUTPUT_TOKENS),
        _HIGH,
        "reasoning tokens for each token of an answer",
        "share",
    ),
    Feature(
        "structured_share",
        "F27",
        share(Sum.STRUCTURED),
        _BOTH,
        "requests for answers in a fixed format",
        "share",
    ),
    Feature(
        "saturated_share",
        "F26",
        share(Sum.SATURATED),
        _HIGH,
        "answers that were cut off at the length limit",
        "share",
    ),
    Feature("output_tokens", "F26", log_output_tokens, _HIGH, "tokens in a usual answer", "count"),
    Feature(
        "output_ratio", "F26", output_ratio, _HIGH, "answer tokens for each prompt token", "exp"
    ),
    Feature("size_entropy", "", size_entropy, _BOTH, "different prompt lengths", "count"),
    Feature("networks", "F28", log_networks, _HIGH, "networks that it comes from", "count"),
    Feature("clients", "F28", log_clients, _HIGH, "different client programs", "count"),
    Feature("account_age", "F24", log_age_days, _LOW, "days since the account was opened", "count"),
    Feature(
        "blocked_share", "F22", share(Sum.BLOCKED), _HIGH, "requests that were refused", "share"
    ),
    Feature(
        "topic_shift",
        "",
        topic_shift,
        _HIGH,
        "how much its topics change from one day to the next",
        "degree",
    ),
    Feature("surge", "F24", surge, _HIGH, "its busiest day, as times the days before", "exp"),
    Feature(
        "days_to_peak", "F24", days_to_peak, _LOW, "days from opening to its busiest day", "count"
    ),
    Feature(
        "capability_entropy",
        "F8",
        capability_entropy,
        _BOTH,
        "different skills of the model that it uses",
        "count",
    ),
    Feature(
        "elicitation_share",
        "F9",
        intent_share(Intent.REASONING_ELICITATION),
        _HIGH,
        "requests to have the reasoning written out",
        "share",
    ),
    Feature(
        "grading_share",
        "F27",
        intent_share(Intent.GRADING),
        _HIGH,
        "requests to have answers graded",
        "share",
    ),
    Feature(
        "generation_share",
        "F12",
        intent_share(Intent.TASK_GENERATION, Intent.EVOLVING),
        _HIGH,
        "requests to have tasks invented or made harder",
        "share",
    ),
    Feature(
        "known_share", "F17", known_share, _BOTH, "prompts that stand in known collections", "share"
    ),
)


def _filled_in_later(block: SketchBlock) -> Float:
    return np.full(len(block), np.nan)


# These need more than the sketch: what the peer group, or the account itself, did in the history.
MMD = Feature(
    "mmd2",
    "F5",
    _filled_in_later,
    _BOTH,
    "how unlike those of its peers its questions are",
    "degree",
)
NEW_MODELS = Feature(
    "new_model_share",
    "F23",
    _filled_in_later,
    _HIGH,
    "requests to models newer than the history",
    "share",
)
PAST_CHANGE = Feature(
    "past_change",
    "F5",
    _filled_in_later,
    _HIGH,
    "how far it has moved from what it used to ask",
    "degree",
)
COLUMNS: tuple[Feature, ...] = (*FEATURES, MMD, NEW_MODELS, PAST_CHANGE)


@lru_cache(maxsize=1)
def column_index() -> dict[str, int]:
    """Position of each feature in a row of the feature matrix."""
    return {feature.name: i for i, feature in enumerate(COLUMNS)}


def feature_matrix(
    sketches: Sequence[CoverageSketch] | SketchStack, references: Sequence[Reference | None]
) -> Float:
    """Features of n keys: float64 of shape (n, len(COLUMNS)), NaN where a sketch cannot say.

    A key's row does not depend, to the bit, on which others it is computed with.

    Args:
      sketches: one for each key, in columns or not.
      references: the peer group's for each key, None where there is none.

    Raises:
      ValueError: when there are not as many references as sketches.
    """
    if len(sketches) != len(references):
        raise ValueError(f"{len(references)} references for {len(sketches)} sketches")
    out = np.empty((len(sketches), len(COLUMNS)))
    for start in range(0, len(sketches), _BLOCK):
        stop = min(start + _BLOCK, len(sketches))
        if isinstance(sketches, SketchStack):
            block = SketchBlock(sketches.take(np.arange(start, stop)))
        else:
            block = SketchBlock(sketches[start:stop])
        for i, feature in enumerate(FEATURES):
            out[start:stop, i] = feature.compute(block)
        later = len(FEATURES)
        out[start:stop, later] = mmd2(block, references[start:stop])
        out[start:stop, later + 1] = new_model_share(block, references[start:stop])
        out[start:stop, later + 2] = np.nan  # `scoring.rows` knows the accounts and their past
    return out
