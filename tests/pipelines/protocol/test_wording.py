"""Tests on how many prompts have a foreign wording."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.protocol.wording import (
    BINS,
    FEATURES,
    SHARES,
    Wording,
    feature_counts,
    feature_sets,
    fit_wording,
    wording_excess,
)

OWN = ("table", "booking", "people", "tonight", "dinner", "reservation", "name", "phone", "guests")
ELSEWHERE = ("write", "story", "explain", "theorem", "capital", "river", "bank", "card", "proof")
COMMON = ("please", "can", "you", "the", "a", "of", "about", "with", "my", "for", "to", "in")


def prompts(rng: np.random.Generator, words: Sequence[str], n: int) -> list[str]:
    """Prompts of four to nine words, half of them common ones."""
    drawn = [rng.choice([*words, *COMMON], int(rng.integers(4, 10))) for _ in range(n)]
    return [" ".join(row.tolist()) for row in drawn]


@pytest.fixture(scope="module")
def usual() -> Wording:
    rng = np.random.default_rng(1)
    others = feature_counts(feature_sets(prompts(rng, ELSEWHERE[4:], 3_000)))
    return fit_wording(feature_sets(prompts(rng, OWN, 3_000)), others)


def counted(usual: Wording, texts: list[str], keys: int) -> np.ndarray:
    """Prompts of `keys` equal parts by bin."""
    parts = usual.bins(feature_sets(texts)).reshape(keys, -1)
    return np.stack([np.bincount(part, minlength=BINS) for part in parts]).astype(float)


def test_own_prompts_fall_beyond_the_edges_as_often_as_promised(usual: Wording) -> None:
    n = 10_000
    fresh = counted(usual, prompts(np.random.default_rng(2), OWN, n), 1)[0]
    beyond = np.cumsum(fresh[::-1])[::-1][1:] / n
    np.testing.assert_allclose(beyond[:4], SHARES[:4], rtol=0.25)
    assert np.all(beyond[4:] < 2.5 * np.array(SHARES[4:]))


def test_a_planted_share_is_found_and_benign_windows_hold_the_level(usual: Wording) -> None:
    rng = np.random.default_rng(3)
    benign = wording_excess(counted(usual, prompts(rng, OWN, 200 * 300), 200))
    assert (benign[100:] > np.quantile(benign[:100], 0.95)).mean() <= 0.12
    mixed = prompts(rng, OWN, 285) + prompts(rng, ELSEWHERE[:4], 15)
    assert wording_excess(counted(usual, mixed, 1))[0] > benign.max()


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(24)), st.integers(0, 24))
def test_state_is_additive_whatever_the_order_and_the_splits(
    usual: Wording, order: list[int], cut: int
) -> None:
    texts = prompts(np.random.default_rng(4), OWN + ELSEWHERE, 24)
    whole = counted(usual, texts, 1)
    turned = [texts[i] for i in order]
    parts = [p for p in (turned[:cut], turned[cut:]) if p]
    assert np.array_equal(sum(counted(usual, p, 1) for p in parts), whole)
    features = sum(feature_counts(feature_sets(p)) for p in parts)
    assert np.array_equal(features, feature_counts(feature_sets(texts)))


def test_a_set_has_a_feature_once_and_does_not_depend_on_the_batch() -> None:
    texts = prompts(np.random.default_rng(5), OWN, 600)
    one = feature_sets([*texts, "", "Guests guests GUESTS", "?!"])
    assert one.shape == (603, FEATURES)
    assert one.data.max() == 1.0
    assert (one[600:].sum(axis=1) > 0).ravel().tolist() == [[False, True, False]]
    apart = [feature_sets([text]) for text in texts[252:260]]
    for row, alone in enumerate(apart, 252):
        assert np.array_equal(one[row].indices, alone.indices)


def test_pairs_of_neighbours_tell_the_same_words_in_another_order() -> None:
    ab, ba = feature_sets(["table tonight", "tonight table"])
    assert 0 < len(np.intersect1d(ab.indices, ba.indices)) < len(ab.indices)


def test_chinese_prompts_have_features() -> None:
    sets = feature_sets(["请介绍一下北京的历史", "请介绍一下上海的历史"])
    assert len(np.intersect1d(sets[0].indices, sets[1].indices)) >= 4


def test_what_was_seen_once_counts_as_never_seen_by_the_prompt_itself() -> None:
    rng = np.random.default_rng(6)
    texts = [f"{text} only{i}" for i, text in enumerate(prompts(rng, OWN, 400))]
    others = feature_counts(feature_sets(prompts(rng, ELSEWHERE, 400)))
    usual = fit_wording(feature_sets(texts), others)
    fresh = [f"{text} new{i}" for i, text in enumerate(prompts(rng, OWN, 1_000))]
    seen = (usual.bins(feature_sets(texts)) >= 1).mean()
    assert seen < 0.4  # had they been scored with themselves, the edges would lie at a half
    assert (usual.bins(feature_sets(fresh)) >= 1).mean() > 0.4


def test_a_prompt_counts_more_the_farther_out_it_lies() -> None:
    each = wording_excess(np.eye(BINS))
    assert np.all(np.diff(each) > 0)
    assert each[0] < 0 < each[-1]
    mixed = wording_excess(3 * np.eye(BINS)[:1] + np.eye(BINS)[-1:])
    assert mixed[0] == pytest.approx((3 * each[0] + each[-1]) / 4)


def test_without_prompts_there_is_nothing_to_say() -> None:
    assert np.isnan(wording_excess(np.zeros((2, BINS)))).all()
    with pytest.raises(ValueError, match="without prompts"):
        fit_wording(feature_sets([]), np.zeros(FEATURES))
