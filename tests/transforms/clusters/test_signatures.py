"""Who is added to a cluster for what it asks, and who is not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.sketches import TOPICS, harvester, person, sketch_of
from transforms.clusters.cannot_link import CannotLink
from transforms.clusters.links import (
    CONTENT,
    Component,
    Linkable,
    LinkOptions,
    with_matches,
)
from transforms.clusters.names import cluster_id
from transforms.clusters.signatures import (
    MOST_CELLS,
    Background,
    Content,
    SignatureOptions,
    background_of,
    content_of,
    match_signatures,
)

USUAL = np.arange(TOPICS // 2)  # what people ask; attackers ask the rest
WANTED = np.arange(TOPICS // 2, TOPICS)


@pytest.fixture(scope="module")
def background() -> Background:
    return background_of(
        [(f"h{i}", sketch_of(harvester(f"h{i}", i, 40, usual(i)))) for i in range(120)]
    )


def usual(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(USUAL, 5, replace=False)


def asking(name: str, seed: int, wanted: int, others: int) -> Content:
    """An account with some requests for what attackers want, and others for its own topics."""
    parts = [sketch_of(harvester(name, seed, n, t)) for n, t in ((wanted, WANTED),) if n]
    parts += [sketch_of(harvester(name, seed + 1, n, usual(seed))) for n in (others,) if n]
    cells = np.concatenate([content_of(p).cells for p in parts])
    counts = np.concatenate([content_of(p).counts for p in parts])
    order = np.argsort(cells, kind="stable")
    return Content(cells[order], counts[order])


def found(
    contents: list[Content],
    p_values: list[float],
    group: list[int],
    background: Background,
    **options: float,
) -> dict[int, tuple[int, float]]:
    return match_signatures(
        contents, np.array(p_values), [np.array(group)], background, SignatureOptions(**options)
    )


def campaign(
    background: Background, share: float, **options: float
) -> dict[int, tuple[int, float]]:
    """Four linked accounts, then six that are not, then forty ordinary ones."""
    wanted = round(80 * share)
    attackers = [asking(f"a{i}", 500 + i, wanted, 80 - wanted) for i in range(10)]
    people = [asking(f"p{i}", 900 + i, 0, 80) for i in range(40)]
    p = [0.01] * 10 + [0.5] * 40
    return found([*attackers, *people], p, [0, 1, 2, 3], background, **options)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_accounts_that_ask_what_the_linked_ones_ask_are_added(
    background: Background, share: float
) -> None:
    added = campaign(background, share)
    assert {4, 5, 6, 7, 8, 9} <= set(added)
    assert len(added) <= 8, "some of 40 ordinary accounts fit by chance"


def test_linked_accounts_that_ask_different_things_have_no_signature(
    background: Background,
) -> None:
    """A card that suspicious strangers share: what one of them asks says nothing of the others."""
    strangers = [
        Content(np.array([50 + 10 * i, 51 + 10 * i], np.uint16), np.array([40, 40]))
        for i in range(4)
    ]
    like_one = [Content(np.array([50, 51], np.uint16), np.array([40, 40])) for _ in range(3)]
    assert found([*strangers, *like_one], [0.001] * 7, [0, 1, 2, 3], background) == {}


def test_without_a_suspicious_seed_nobody_is_added(background: Background) -> None:
    attackers = [asking(f"a{i}", 500 + i, 80, 0) for i in range(10)]
    assert found(attackers, [0.5] * 10, [0, 1, 2, 3], background) == {}
    assert found(attackers, [0.001] * 10, [0, 1], background) == {}, "two are too few"
    assert campaign(background, 1.0, max_p=0) == {}


def test_where_attackers_ask_what_people_ask_nobody_is_added(background: Background) -> None:
    people = [asking(f"p{i}", 900 + i, 0, 80) for i in range(60)]
    assert len(found(people, [0.001] * 60, [0, 1, 2, 3], background)) <= 1


def test_chance_adds_no_more_than_it_says(background: Background) -> None:
    """Signatures of companies, each on topics of its own, tried on ordinary accounts."""
    people = [asking(f"p{i}", 3_000 + i, 0, 40) for i in range(150)]
    tried = added = 0
    for k in range(20):
        company = [content_of(sketch_of(harvester(f"c{i}", k, 40, usual(k)))) for i in range(5)]
        colleague = content_of(sketch_of(harvester("c5", k, 40, usual(k))))
        found_now = found(
            [*company, colleague, *people], [0.001] * 156, list(range(5)), background, max_p=0.05
        )
        tried += 5 in found_now  # the colleague fits: there was a signature
        added += len(set(found_now) - {5})
    assert tried >= 10
    assert added / (tried * 150) < 0.1


def test_a_history_without_contents_adds_nobody() -> None:
    assert campaign(Background(), 1.0) == {}


def test_the_cells_used_most_are_kept() -> None:
    content = content_of(sketch_of(harvester("a", 1, 600, np.arange(TOPICS))))
    assert len(content.cells) == MOST_CELLS
    assert (np.diff(content.cells.astype(int)) > 0).all()


def test_a_component_keeps_its_id_and_says_why_an_account_was_added(background: Background) -> None:
    accounts = [
        Linkable(f"a{i}", 100 - i, 80, np.empty(0, np.uint64), 0.01,
                 asking(f"a{i}", 500 + i, 80, 0))
        for i in range(6)
    ]  # fmt: skip
    linked = Component(cluster_id("a3"), ("a3", "a2", "a1", "a0"), ((), (), (), ()))
    for order in (accounts, accounts[::-1]):
        (grown,) = with_matches(order, [linked], background, LinkOptions())
        assert grown.cluster_id == linked.cluster_id
        assert grown.accounts == ("a5", "a4", "a3", "a2", "a1", "a0")
        ((link,), *_) = grown.links
        assert link.kind == CONTENT
        assert link.accounts == 4
        assert 0.99 <= link.weight <= 1
        # What staff took out of a cluster is not added to it again.
        taken = CannotLink(frozenset({"a5"}), frozenset({"a0", "a1"}))
        (kept,) = with_matches(order, [linked], background, LinkOptions(), [taken])
        assert kept.accounts == ("a4", "a3", "a2", "a1", "a0")


def test_an_ordinary_person_fits_no_signature(background: Background) -> None:
    attackers = [asking(f"a{i}", 500 + i, 80, 0) for i in range(4)]
    ordinary = content_of(sketch_of(person("p", 1, 60, usual(77))))
    assert 4 not in found([*attackers, ordinary], [0.01] * 4 + [0.5], [0, 1, 2, 3], background)
