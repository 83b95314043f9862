"""Why a reason counts: for each feature what it looks like when somebody copies a model, and what
else it may be, in words for people who do not know how it is computed."""

from __future__ import annotations

_TOPICS = "Customers keep to the subjects of their work. A copier goes through all of them."
_NEW = "Customers come back to their subjects. A copier asks once and moves on."
_UNLIKE = "Few customers ask anything like it. It may be generated; it may also be a new product."
_ALIKE = "Made-up prompts differ from each other more than the questions of one person do."
_CLOCK = "People rest; programs do not. A batch job or customers all over the world look so, too."
_PACE = "People ask in bursts; a program asks evenly. A batch job does so, too."
_WORDING = "One wording with a slot for the question is typical of scripts, good ones among them."
_LONG = "Whoever wants training data wants long answers. So does whoever has documents written."
_DATA = "This makes training data for another model. Some contracts allow it."
_SPREAD = "Unrelated customers differ. Accounts that one hand runs look like copies of each other."
_YOUNG = "Accounts for copying are new, and busy at once. So is a new customer at times."
_PLACES = "One account in many places: shared or sold access, a proxy, or a large company."

MEANINGS = {
    "hill_cells": _TOPICS,
    "effective_rank": _TOPICS,
    "own_rank": _TOPICS,
    "chao_cells": _TOPICS,
    "log_volume": _TOPICS,
    "capability_entropy": _TOPICS,
    "union_coverage": _TOPICS,
    "member_breadth": _TOPICS,
    "unseen_share": _NEW,
    "heaps_slope": _NEW,
    "novelty": _UNLIKE,
    "member_novelty": _UNLIKE,
    "mmd2": _UNLIKE,
    "common_direction": _ALIKE,
    "coherence": "People go on from the last answer. A list of prompts does not.",
    "continued_share": "People ask back. A script takes the answer and goes on.",
    "idle_gap_hours": _CLOCK,
    "hour_entropy": _CLOCK,
    "circadian_amplitude": _CLOCK,
    "busy_hours": _CLOCK,
    "burstiness": _PACE,
    "pace_evenness": _PACE,
    "top_scaffold_share": _WORDING,
    "scaffold_members": _WORDING,
    "repeated_prompts": "Asking again collects many answers to choose from. Tests do so, too.",
    "code_share": "It tells which skill is wanted. By itself it says little.",
    "tool_share": "It tells which skill is wanted. By itself it says little.",
    "reasoning_share": "The reasoning is what a copy learns most from.",
    "elicitation_share": "The reasoning is what a copy learns most from. Teachers want it, too.",
    "structured_share": "Such answers go straight into a file. Many products want that.",
    "saturated_share": _LONG,
    "output_tokens": _LONG,
    "output_ratio": _LONG,
    "size_entropy": "A script's prompts are alike in length; those of a mixed collection are not.",
    "networks": _PLACES,
    "clients": _PLACES,
    "account_age": _YOUNG,
    "days_to_peak": _YOUNG,
    "surge": _YOUNG,
    "blocked_share": "It asked for what is not allowed, or was stopped before, and went on.",
    "topic_shift": "It works through a list of subjects, or its owner has changed.",
    "grading_share": _DATA,
    "generation_share": _DATA,
    "known_share": "These are public tests, or an old campaign that is repeated.",
    "new_model_share": "Copying begins when a model appears. Curious customers come then, too.",
    "past_change": "It was different before: a new owner, a stolen key, or a new product.",
    "complementarity": "They divide the subjects among them, so that hardly any is asked twice.",
    "marginal_gain": "They divide the subjects among them, so that hardly any is asked twice.",
    "overlap": "Colleagues overlap. Accounts that divide the work do not; copies of one script do "
    "so more than anybody.",
    "member_likeness": _SPREAD,
    "behaviour_spread": _SPREAD,
    "volume_spread": _SPREAD,
    "synchrony": "One hand starts and stops them together. An office has common hours, too.",
    "linkage": "The more they share, the less likely they are strangers to each other.",
    "member_surprise": "The accounts stand out one by one, not only together.",
    "reported": "Another lab has met the same group.",
}


def meaning_of(feature: str) -> str:
    """Why a feature counts, in a sentence or two; "" for one that is not known here."""
    return MEANINGS.get(feature.removeprefix("pooled_"), "")
