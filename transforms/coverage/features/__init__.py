"""Features of keys, computed from their coverage sketches, many at a time.

Each function takes a `SketchBlock` of n sketches and returns float64 of shape (n,), NaN where a
sketch cannot say. `FEATURES` names them all, with the direction in which a value is suspicious and
words for the people on call. The codes F1…F29 are those of the project's science notes; sources
stand with each formula.
"""

from transforms.coverage.features.block import SketchBlock, stacked
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
from transforms.coverage.features.table import (
    COLUMNS,
    FEATURES,
    MMD,
    NEW_MODELS,
    PAST_CHANGE,
    Feature,
    Suspicious,
    column_index,
    feature_matrix,
)
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
    size_entropy,
)

__all__ = [
    "COLUMNS",
    "FEATURES",
    "MMD",
    "NEW_MODELS",
    "PAST_CHANGE",
    "Feature",
    "Reference",
    "SketchBlock",
    "Suspicious",
    "burstiness",
    "busy_hours",
    "capability_entropy",
    "chao_richness",
    "circadian_amplitude",
    "coherence",
    "column_index",
    "common_direction",
    "days_to_peak",
    "effective_rank",
    "feature_matrix",
    "heaps_slope",
    "hill_number",
    "hour_entropy",
    "intent_share",
    "known_share",
    "log_age_days",
    "log_clients",
    "log_networks",
    "log_output_tokens",
    "log_volume",
    "longest_idle_gap",
    "mmd2",
    "new_model_share",
    "novelty",
    "output_ratio",
    "own_rank",
    "pace_evenness",
    "repeated_prompts",
    "size_entropy",
    "stacked",
    "surge",
    "top_scaffold_share",
    "topic_shift",
    "unseen_share",
]
