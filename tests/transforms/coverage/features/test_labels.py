"""Features of labels: exact on small inputs, unknown where nothing was read."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.support.events import START_MS
from tests.support.sketches import events_of, sketch_of
from transforms.coverage import features as f
from transforms.coverage.sketch import CoverageSketch
from transforms.embedding.space import AXES
from transforms.ingest.capabilities import Capability
from transforms.ingest.intents import Intent


def labelled(capability: list[int], intent: list[int], chars: int = 80) -> CoverageSketch:
    n = len(capability)
    columns = {"capability": np.array(capability), "intent": np.array(intent)}
    times, nothing = START_MS + 1_000 * np.arange(n), np.zeros((n, AXES), np.int8)
    return sketch_of(events_of("a", times, nothing, prompt_chars=chars, **columns))


def value(name: str, sketch: CoverageSketch) -> float:
    return float(f.feature_matrix([sketch], [None])[0, f.column_index()[name]])


def test_the_entropy_is_of_the_labelled_requests() -> None:
    even = labelled([0, 0, 3, 3, -1, -1, -1], [-1] * 7)
    assert value("capability_entropy", even) == pytest.approx(math.log(2))
    assert value("capability_entropy", labelled([Capability.CODE] * 6, [-1] * 6)) == 0
    assert math.isnan(value("capability_entropy", labelled([0, 1, 2, -1, -1], [-1] * 5)))


def test_shares_of_wordings_are_of_all_requests() -> None:
    task, evolving, grading = Intent.TASK_GENERATION, Intent.EVOLVING, Intent.GRADING
    sketch = labelled([-1] * 8, [task, evolving, evolving, grading, -1, -1, 0, -1])
    assert value("generation_share", sketch) == pytest.approx(3 / 8)
    assert value("grading_share", sketch) == pytest.approx(1 / 8)
    assert value("elicitation_share", sketch) == pytest.approx(1 / 8)


@pytest.mark.parametrize("name", ["elicitation_share", "grading_share", "generation_share"])
def test_without_text_a_share_is_unknown_and_not_zero(name: str) -> None:
    assert value(name, labelled([-1] * 8, [-1] * 8)) == 0
    assert math.isnan(value(name, labelled([-1] * 8, [-1] * 8, chars=0)))
