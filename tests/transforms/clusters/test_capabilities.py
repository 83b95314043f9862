"""What a cluster took: shares against the history, and how much of a capability it covered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.events import START_MS
from tests.support.sketches import SPACE, events_of, sketch_of
from transforms.clusters.capabilities import coverage, is_clearly_above, taken_capabilities
from transforms.clusters.tactics import name_tactics
from transforms.coverage.sketch import CoverageSketch
from transforms.embedding.labels import SLOTS, CapabilityTable, count_labels
from transforms.ingest.capabilities import Capability
from transforms.ingest.intents import Intent

CODE, MATHS, LAW = Capability.CODE, Capability.MATHEMATICS, Capability.LAW


def history(*cells: tuple[int, int, int]) -> CapabilityTable:
    """A table from (cell, capability, requests)."""
    at = np.concatenate([np.full(n, cell) for cell, _, n in cells]).astype(np.uint16)
    labels = np.concatenate([np.full(n, label) for _, label, n in cells]).astype(np.int8)
    return count_labels(at, labels, SPACE.cells)


def asks(*requests: tuple[int, int, int], intent: int = -1) -> CoverageSketch:
    """The sketch of requests given as (cell, capability, how many)."""
    cells = np.concatenate([np.full(n, cell) for cell, _, n in requests])
    labels = np.concatenate([np.full(n, label) for _, label, n in requests])
    times = START_MS + 1_000 * np.arange(len(cells))
    return sketch_of(
        events_of(
            "a", times, SPACE.codebook[cells], capability=labels, intent=intent, prompt_chars=50
        )
    )


def covered(sketch: CoverageSketch, table: CapabilityTable, capability: Capability) -> float:
    return float(coverage(sketch, table)[0][capability])


PURE = history((0, CODE, 60), (1, CODE, 30), (2, CODE, 10), (3, MATHS, 100))


def test_nothing_and_everything() -> None:
    assert covered(asks((3, MATHS, 50)), PURE, CODE) == 0
    everything = asks((0, CODE, 1), (1, CODE, 1), (2, CODE, 1))
    assert covered(everything, PURE, CODE) == pytest.approx(1)
    assert covered(everything, PURE, MATHS) == 0


def test_in_pure_cells_it_is_the_history_s_share_of_the_visited_cells() -> None:
    assert covered(asks((0, CODE, 7)), PURE, CODE) == pytest.approx(0.6)
    assert covered(asks((1, CODE, 1), (2, CODE, 2)), PURE, CODE) == pytest.approx(0.4)


def test_a_visit_to_a_mixed_cell_counts_by_its_chance() -> None:
    mixed = history((0, CODE, 50), (0, MATHS, 50))
    # The cluster asks as the history does, so a request is of code with a chance of one half.
    assert covered(asks((0, CODE, 1), (0, MATHS, 1)), mixed, CODE) == pytest.approx(0.75)
    # It asks for code alone, so the visit was for code.
    assert covered(asks((0, CODE, 1)), mixed, CODE) == pytest.approx(1)


def test_requests_that_do_not_tell_are_no_visits_of_a_capability() -> None:
    vague = history((0, CODE, 50), (0, -1, 50))
    one = covered(asks((0, CODE, 1), (0, -1, 1)), vague, CODE)
    assert one == pytest.approx(0.75)


VISITS = st.lists(st.integers(0, 6), min_size=8, max_size=8)


@settings(max_examples=60, deadline=None)
@given(VISITS, VISITS, st.integers(0, 1_000))
def test_more_requests_of_the_same_mix_never_cover_less(
    few: list[int], more: list[int], seed: int
) -> None:
    assume(sum(few))
    rng = np.random.default_rng(seed)
    counts = np.zeros((SPACE.cells, SLOTS), np.int64)
    counts[:8, :3] = rng.integers(0, 20, (8, 3))
    table = CapabilityTable(counts)

    def both(visits: list[int]) -> CoverageSketch:
        """Each visit once for each capability, so that the mix stays."""
        return asks(*((cell, c, n) for cell, n in enumerate(visits) for c in (0, 1) if n))

    less = coverage(both(few), table)
    after = coverage(both([a + b for a, b in zip(few, more, strict=True)]), table)
    for low, high in zip(less, after, strict=True):
        assert (low >= 0).all()
        assert (high >= low - 1e-12).all()
        assert (high <= 1 + 1e-12).all()


def test_expected_is_the_rarefaction_curve_of_the_history() -> None:
    """Against a simulation: n requests drawn from the history, with their own capabilities."""
    table = history((0, CODE, 60), (1, CODE, 5), (2, CODE, 35), (2, MATHS, 100), (4, -1, 100))
    n = 25
    expected = coverage(asks((0, CODE, n)), table)[1][CODE]
    rng = np.random.default_rng(0)
    chances = table.counts[:, CODE] / table.counts.sum()
    drawn = rng.multinomial(n, np.append(chances, 1 - chances.sum()), 20_000)[:, :-1] > 0
    simulated = (drawn * (table.counts[:, CODE] / 100)).sum(axis=1).mean()
    assert expected == pytest.approx(simulated, abs=0.005)


def test_covered_of_requests_asked_as_the_history_s_is_what_is_expected() -> None:
    rng = np.random.default_rng(3)
    counts = np.zeros((SPACE.cells, SLOTS), np.int64)
    counts[:40, [0, 1, SLOTS - 1]] = rng.integers(0, 30, (40, 3))
    table = CapabilityTable(counts)
    found = []
    for _ in range(60):
        drawn = rng.multinomial(150, (counts / counts.sum()).ravel()).reshape(counts.shape)
        at = [(int(c), int(k), int(drawn[c, k])) for c, k in np.argwhere(drawn)]
        sketch = asks(*((c, k if k < SLOTS - 1 else -1, n) for c, k, n in at))
        found.append([values[:2] for values in coverage(sketch, table)])
    mean = np.mean(found, axis=0)
    np.testing.assert_allclose(mean[0], mean[1], atol=0.03)


def test_a_share_clearly_above_the_history_s_was_taken() -> None:
    table = history((0, CODE, 100), (3, MATHS, 800), (5, LAW, 100))
    first, second = taken_capabilities(asks((0, CODE, 60), (3, MATHS, 40)), table)
    assert (first.capability, first.requests, first.taken) == (CODE, 60, True)
    assert first.share == pytest.approx(0.6)
    assert first.lift == pytest.approx(6, rel=0.05)
    assert first.covered == pytest.approx(1)
    assert first.expected is not None
    assert first.expected < 1
    assert (second.capability, second.taken) == (MATHS, False)


@pytest.mark.parametrize(
    ("requests", "labelled", "usual", "expected"),
    [(9, 9, 0.01, False), (10, 10, 0.1, True), (30, 100, 0.2, False), (300, 1000, 0.1, True),
     (95, 100, 0.7, True), (72, 100, 0.7, False), (0, 0, 0.5, False)],
)  # fmt: skip
def test_clearly_above_is_above_whatever_the_volume(
    requests: int, labelled: int, usual: float, expected: bool
) -> None:
    assert is_clearly_above(requests, labelled, usual) is expected


def test_without_a_labelled_history_nothing_is_compared() -> None:
    (one,) = taken_capabilities(asks((0, CODE, 30)), CapabilityTable())
    assert one.record() == {
        "name": "code", "requests": 30, "share": 1.0, "lift": None, "covered": None,
        "expected": None, "taken": None,
    }  # fmt: skip
    assert taken_capabilities(asks((0, -1, 30)), PURE) == []


def test_a_capability_that_the_history_hardly_has_is_not_covered_but_unknown() -> None:
    found = taken_capabilities(asks((5, LAW, 30)), history((3, MATHS, 200), (5, LAW, 3)))
    assert found[0].taken
    assert found[0].lift is not None
    assert found[0].covered is None


@pytest.mark.parametrize(
    ("intent", "expected"),
    [
        (Intent.REASONING_ELICITATION, ["reasoning_elicitation"]),
        (Intent.TASK_GENERATION, ["self_instruct"]),
        (Intent.DATA_SYNTHESIS, ["self_instruct"]),
        (Intent.EVOLVING, ["evolved_prompts"]),
        (Intent.GRADING, ["reward_modelling"]),
        (Intent.REWRITING, []),
        (-1, []),
    ],
)
def test_wordings_name_tactics(intent: int, expected: list[str]) -> None:
    assert name_tactics({}, asks((0, CODE, 20), intent=intent), 1) == expected


def test_a_capability_that_dominates_names_a_tactic() -> None:
    table = history((0, CODE, 100), (3, MATHS, 800), (5, LAW, 100))
    for requests, expected in ((60, ["capability_targeted"]), (30, [])):
        sketch = asks((0, CODE, requests), (3, MATHS, 100 - requests))
        assert name_tactics({}, sketch, 1, taken_capabilities(sketch, table)) == expected
