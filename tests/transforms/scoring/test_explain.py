"""Reasons in words that people who do not know the science can read."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipelines.report.meanings import MEANINGS, meaning_of
from transforms.clusters.feature_table import CLUSTER_FEATURES
from transforms.coverage.features import COLUMNS
from transforms.scoring.explain import name_of, phrase, reason_record, words_of
from transforms.scoring.reason import Reason

NAMES = {feature.name for feature in (*COLUMNS, *CLUSTER_FEATURES)} | {"reported"}


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason("hill_cells", math.log(164), math.log(26), math.log(124), 3.0, 1.0),
         "different topics it asks about: 164; normal is 26 to 124"),
        (Reason("networks", math.log(3.4), math.log(0.6), math.log(3.2), 1.2, 1.0),
         "networks that it comes from: 3.4; normal is 0.6 to 3.2"),
        (Reason("unseen_share", 0.815, 0.057, 0.5, 3.0, 1.0),
         "requests on a topic that it never came back to: 82 %; normal is 5.7 % to 50 %"),
        (Reason("member_surprise", 1.07, 0.074, 0.19, 8.0, 1.0),
         "how unusual each account is already by itself: far more than is normal"),
        (Reason("behaviour_spread", 0.352, 0.396, 0.643, -1.4, 1.0),
         "how much the accounts differ in how they work: a little less than is normal"),
        (Reason("novelty", 0.3, 0.2, 0.4, 0.5, 1.0),
         "how unlike all earlier traffic its prompts are: within what is normal, unusual only "
         "together with the rest"),
    ],
)  # fmt: skip
def test_a_reason_says_what_is_normal_beside_it(reason: Reason, words: str) -> None:
    assert phrase(reason) == words


def test_words_of_a_stored_reason_are_those_of_today() -> None:
    made = Reason("hill_cells", math.log(164), math.log(26), math.log(124), 3.0, 1.0)
    row = reason_record(made)
    assert words_of(row | {"words": "topics used evenly: 164"}) == phrase(made)
    assert name_of("hill_cells") == phrase(made).partition(":")[0]


@pytest.mark.parametrize(
    "change",
    [{"feature": "gone"}, {"feature": None}, {"value": None}, {"normal_low": None},
     {"normal_high": math.nan}, {"z": None}],
)  # fmt: skip
def test_what_a_stored_reason_lacks_leaves_it_in_its_own_words(change: dict[str, Any]) -> None:
    row = reason_record(Reason("hill_cells", 5.0, 3.0, 4.0, 3.0, 1.0)) | {"words": "as it was"}
    assert words_of(row) != "as it was"
    assert words_of(row | change) == "as it was"
    assert words_of({"feature": "gone"}) == "gone"
    assert name_of("gone") == ""


def test_every_feature_says_why_it_counts_and_nothing_else_does() -> None:
    assert [name for name in sorted(NAMES) if not meaning_of(name)] == []
    assert MEANINGS.keys() <= NAMES
    assert meaning_of("unheard_of") == ""


def test_words_are_plain() -> None:
    learned = (
        "entropy",
        "deviation",
        "scaffold",
        "rank",
        "cell",
        "quantile",
        "spreads",
        "burstiness",
    )
    for feature in (*COLUMNS, *CLUSTER_FEATURES):
        text = f"{feature.words} {meaning_of(feature.name)}".lower()
        assert not [word for word in learned if word in text], feature.name
