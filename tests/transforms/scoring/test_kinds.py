"""Kinds of use: found again without labels, whatever the order."""

from __future__ import annotations

import numpy as np

from transforms.scoring.kinds import BEHAVIOUR, NO_KINDS, fit_kinds, parent, refined

COLUMNS = ("breadth", *BEHAVIOUR)


def habits(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of 600 accounts of three kinds, and the kinds."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, 600)
    centres = rng.normal(0, 4, (3, len(COLUMNS)))
    return centres[kind] + rng.normal(0, 1, (600, len(COLUMNS))), kind


def test_accounts_that_work_alike_are_of_one_kind() -> None:
    features, kind = habits()
    found = fit_kinds(features, COLUMNS, 3, 7).of(features)
    for own in range(3):
        (named,) = np.unique(found[kind == own])
        assert (kind[found == named] == own).all()


def test_what_an_account_covers_does_not_decide_its_kind() -> None:
    features, _ = habits()
    kinds = fit_kinds(features, COLUMNS, 3, 7)
    broad = features.copy()
    broad[:, 0] += 1_000
    assert np.array_equal(kinds.of(broad), kinds.of(features))


def test_kinds_do_not_depend_on_the_order_of_the_history() -> None:
    features, _ = habits()
    order = np.random.default_rng(1).permutation(len(features))
    one, other = (fit_kinds(x, COLUMNS, 3, 7) for x in (features, features[order]))
    assert np.allclose(one.centres, other.centres)
    assert np.array_equal(one.of(features), other.of(features))


def test_an_unknown_habit_counts_as_the_usual_one() -> None:
    features, _ = habits()
    kinds = fit_kinds(features, COLUMNS, 3, 7)
    silent = np.full((1, len(COLUMNS)), np.nan)
    usual = silent.copy()
    usual[:, kinds.columns] = kinds.middle
    assert kinds.of(silent) == kinds.of(usual)


def test_a_small_history_and_a_group_of_accounts_have_no_kinds() -> None:
    features, _ = habits()
    for kinds in (
        fit_kinds(features[:150], COLUMNS, 6, 7),
        fit_kinds(features, COLUMNS, 0, 7),
        fit_kinds(features[:, :1], ("pooled_breadth",), 6, 7),
    ):
        assert kinds is NO_KINDS
        assert kinds.refine(features[:2], ["a", ""]) == ["a", ""]


def test_a_kind_is_part_of_its_peer_group_and_that_of_everyone() -> None:
    name = refined("api|research", 3)
    assert parent(name) == "api|research"
    assert parent(parent(name)) == ""
    assert parent(refined("", 2)) == ""
