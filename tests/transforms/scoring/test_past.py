"""An account's own past: found by name, excuses what lasted, and shows who has changed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.sketches import events_of, sketch_of, topic_coordinates
from transforms.coverage.features import SketchBlock
from transforms.coverage.layout import HOUR_MS
from transforms.coverage.sketch import CoverageSketch
from transforms.scoring.history import TwoParts
from transforms.scoring.past import (
    Past,
    changes,
    excuses_of_groups,
    joined,
    lasting_share,
    past_of,
)

START_MS = 1_700_000_000_000


def asks(topic: int, n: int = 60, seed: int = 0) -> CoverageSketch:
    rng = np.random.default_rng([topic, seed])
    coordinates = topic_coordinates(np.full(n, topic), rng, 0.6)
    return sketch_of(events_of("a", START_MS + np.arange(n) * HOUR_MS, coordinates))


def change(before: CoverageSketch, now: CoverageSketch) -> float:
    past = past_of(["a"], [before])
    return float(past.change(past.find(["a"]), SketchBlock([now]))[0])


def test_who_asks_what_it_always_asked_has_not_changed_and_who_asks_something_else_has() -> None:
    same, other = change(asks(3), asks(3, seed=1)), change(asks(3), asks(9))
    assert np.exp(same) == pytest.approx(0.02, abs=0.03)
    assert np.exp(other) > 0.3


@pytest.mark.parametrize("n", [8, 30, 300])
def test_the_distance_to_the_past_does_not_grow_for_want_of_requests(n: int) -> None:
    found = [np.exp(change(asks(3, n, s), asks(3, n, s + 100))) for s in range(20)]
    assert np.mean(found) < 0.06


def test_who_was_never_seen_or_hardly_asked_has_no_past() -> None:
    past = past_of(["a", "b"], [asks(1), asks(2, n=3)])
    rows = past.find(["a", "b", "c"])
    found = past.change(rows, SketchBlock([asks(1), asks(2), asks(3)]))
    assert np.isfinite(found).tolist() == [True, False, False]
    assert rows[2] == -1
    nobody = Past()
    assert nobody.find(["a"]).tolist() == [-1]
    assert np.isnan(nobody.change(nobody.find(["a"]), SketchBlock([asks(1)]))).all()
    assert nobody.excused(nobody.find(["a"]), 4).tolist() == [[0, 0, 0, 0]]


def test_accounts_are_found_whatever_their_order() -> None:
    names = [f"account {i}" for i in range(50)]
    sketches = [asks(i % 7, n=10 + i) for i in range(50)]
    past = past_of(names, sketches)
    rows = past.find(names)
    assert past.vectors[rows].tolist() == [10 + i for i in range(50)]
    turned = past_of(names[::-1], sketches[::-1])
    assert np.array_equal(turned.account, past.account)
    assert np.array_equal(turned.mean, past.mean)


def test_pasts_in_pieces_are_the_past_of_all() -> None:
    names, sketches = [f"account {i}" for i in range(9)], [asks(i % 3, 9 + i) for i in range(9)]
    whole = past_of(names, sketches)
    pieces = joined([past_of(names[i : i + 4], sketches[i : i + 4]) for i in (0, 4, 8)])
    for name in ("account", "excuse", "vectors", "mean"):
        assert np.array_equal(getattr(pieces, name), getattr(whole, name))
    assert not len(joined([]).account)


def test_only_what_lasts_and_only_to_the_suspicious_side_is_excused() -> None:
    z = np.array([[4.0, 2.0, -2.0, -2.0, 2.0]])
    directions = np.array([1, 1, 1, -1, -1])
    past = past_of(["a"], [asks(1)], z, np.array([1.0, 0.5, 0.5, 0.5, 0.5]), directions)
    excused = past.excused(past.find(["a", "b"]), 5)
    assert excused[0].tolist() == [3.0, 1.0, 0.0, -1.0, 0.0]
    assert excused[1].tolist() == [0.0] * 5


def test_what_lasts_is_the_part_of_a_deviation_that_comes_again() -> None:
    rng = np.random.default_rng(5)
    own = rng.standard_normal((4_000, 3))
    share = np.array([1.0, 0.5, 0.0])
    earlier = own * share**0.5 + rng.standard_normal((4_000, 3)) * (1 - share) ** 0.5
    later = own * share**0.5 + rng.standard_normal((4_000, 3)) * (1 - share) ** 0.5
    assert lasting_share(earlier, later) == pytest.approx(share, abs=0.06)
    assert lasting_share(earlier[:10], later[:10]).tolist() == [0, 0, 0]


def test_a_group_is_excused_as_far_as_its_members_were_in_one() -> None:
    z = np.array([[2.0, -1.0, 1.0], [8.0, 0.0, 0.0]])
    directions = np.array([1, -1, 0])
    excuses = excuses_of_groups([["a", "b"], ["c"]], z, directions)
    found = excuses.excused(excuses.find(["c", "a", "new", "b"]), 3)
    assert found.tolist() == [[3, 0, 0], [2, -1, 0], [0, 0, 0], [2, -1, 0]]
    assert found[1:3].mean(axis=0).tolist() == [1, -0.5, 0]
    nobody = excuses_of_groups([], np.empty((0, 3)), directions)
    assert nobody.excused(nobody.find(["a"]), 3).tolist() == [[0, 0, 0]]


def test_changes_are_those_from_the_earlier_to_the_later_part() -> None:
    parts = [TwoParts("same", asks(3), asks(3, seed=1)), TwoParts("other", asks(3), asks(9))]
    moved = changes(parts)
    assert moved == {p.account: change(p.earlier, p.later) for p in parts}
    assert changes([]) == {}
