"""Sketches and signatures of other labs: who is like them, and how often benign ones are."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from transforms.clusters.signatures import NO_CONTENT, Background, Content
from transforms.coverage.layout import MAX_CELLS
from transforms.embedding.space import EmbeddingSpace, space_name
from transforms.sharing.coverage import UNIT, noisy_coverage
from transforms.sharing.payloads import Behaviour
from transforms.sharing.watch.evidence import EQUAL, of_family
from transforms.sharing.watch.likeness import Likeness, said_of_likeness
from transforms.sharing.watch.listing import LIVE, QUARANTINED, Watched, WatchList, watch_list
from transforms.sharing.watch.matching import WatchOptions, standing

NOW = 1_780_000_000_000
SPACE = EmbeddingSpace(
    "made-up", 4, np.zeros((4, 4), np.float32), np.zeros(4), np.zeros((8, 4), np.int8)
)
ATTACKED = np.arange(300, 500)  # cells that the campaign is after; few others ask there
MAX_P = 0.02


def benign(count: int, seed: int) -> list[Content]:
    """Accounts that ask of six to twenty things of five hundred, some of them much more usual."""
    rng = np.random.default_rng(seed)
    usual = 1 / np.arange(1, 501)
    found = []
    for _ in range(count):
        cells = rng.choice(500, int(rng.integers(6, 21)), replace=False, p=usual / usual.sum())
        found.append(content(cells, rng.geometric(0.2, len(cells))))
    return found


def campaign(count: int, seed: int) -> list[Content]:
    """Members that share a list of two hundred cells out among them, twenty for each."""
    rng = np.random.default_rng(seed)
    return [content(rng.choice(ATTACKED, 20, replace=False), np.full(20, 5)) for _ in range(count)]


def content(cells: np.ndarray, counts: np.ndarray) -> Content:
    order = np.argsort(cells)
    return Content(cells[order].astype(np.uint16), counts[order].astype(np.int64))


def background(contents: list[Content]) -> Background:
    return Background(
        np.array([len(c.cells) for c in contents], np.int64),
        np.concatenate([c.cells for c in contents]),
        np.concatenate([c.counts for c in contents]),
    )


@dataclass
class Groups:
    """A model of clusters of which only what is needed here is there."""

    benign: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    linked: int = 0
    ensemble: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(score=lambda lines: np.abs(lines).sum(axis=1))
    )
    evidence: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(lines=lambda z: z))


def bundle(history: list[Content], groups: Groups | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        space=SPACE, background=background(history), models={"cluster": groups or Groups()}
    )


def sketch(contents: list[Content], epsilon: float = 2.0, space: str = "") -> str:
    """What a lab tells of a campaign's accounts."""
    total = np.zeros(MAX_CELLS, np.int64)
    for one in contents:
        total[one.cells] += np.floor(np.sqrt(one.counts / one.counts.sum()) * (UNIT - 1)).astype(
            np.int64
        )
    drawn = noisy_coverage(total, space or space_name(SPACE), "made-up", epsilon, 1e-6)
    return base64.b64encode(drawn.encode()).decode()


def watched(kind: str, payload: str, name: str = "i", **other: object) -> Watched:
    fields = {"confidence": 0.6, "valid_from_ms": NOW, "state": LIVE} | other
    return Watched(f"indicator--{name}", kind, "", "lab-b", payload=payload, **fields)


def likeness(history: list[Content], groups: Groups | None = None) -> Likeness:
    return Likeness(bundle(history, groups), MAX_P)  # type: ignore[arg-type]


def asked(compared: Likeness, listed: WatchList, members: list[Content]) -> dict[int, float]:
    return compared.of_cluster(listed, members, (), np.empty(0), 0.0)


# --- coverage -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def history() -> list[Content]:
    return benign(600, 1)


@pytest.fixture(scope="module")
def told() -> WatchList:
    """What one lab tells of a hundred and twenty members: the others are like it whatever the noise
    is; of forty it depends on that."""
    return watch_list([watched("coverage", sketch(campaign(120, 2)))])


def test_the_rest_of_a_campaign_is_like_its_sketch_and_benign_groups_are_not(
    history: list[Content], told: WatchList
) -> None:
    compared = likeness(history)
    found = [asked(compared, told, campaign(6, seed)) for seed in range(50, 70)]
    assert all(found)
    assert max(one[0] for one in found) < 0.005
    others = benign(1_200, 3)
    groups = [others[i : i + 6] for i in range(0, 1_200, 6)]
    assert sum(bool(asked(compared, told, group)) for group in groups) <= 200 * MAX_P * 3


def test_groups_that_ask_alike_are_not_taken_for_a_campaign(
    history: list[Content], told: WatchList
) -> None:
    """Colleagues who ask what one of them asks: random groups alone would not know of such."""
    compared = likeness(history)
    alike = [asked(compared, told, [one] * 6) for one in benign(600, 8)]
    assert sum(bool(one) for one in alike) <= 600 * MAX_P * 2.5


def test_a_sketch_that_says_nothing_or_what_everybody_asks_matches_as_seldom_as_was_said(
    history: list[Content],
) -> None:
    others = benign(3_000, 6)
    for payload in (sketch([]), sketch(benign(60, 5), 4.0)):
        listed, compared = watch_list([watched("coverage", payload)]), likeness(history)
        hits = [asked(compared, listed, others[i : i + 5]) for i in range(0, 3_000, 5)]
        assert sum(bool(one) for one in hits) <= 600 * MAX_P * 2.5


def test_another_space_and_too_short_a_history_are_not_compared(
    history: list[Content], told: WatchList
) -> None:
    foreign = watch_list([watched("coverage", sketch(campaign(40, 2), space="f" * 32))])
    assert not asked(likeness(history), foreign, campaign(6, 4))
    assert not likeness(history).comparable(foreign.watched[0])
    assert likeness(history).comparable(told.watched[0])
    assert not likeness(history[:49]).comparable(told.watched[0])
    assert not asked(likeness(history[:49]), told, campaign(6, 4))
    assert not asked(likeness(history), WatchList(), campaign(6, 4))


def test_who_has_asked_next_to_nothing_is_like_nobody(
    history: list[Content], told: WatchList
) -> None:
    few = [content(ATTACKED[i : i + 1], np.array([24])) for i in range(2)]
    assert not asked(likeness(history), told, few)
    assert not asked(likeness(history), told, [NO_CONTENT, NO_CONTENT])


def test_a_list_that_has_changed_is_looked_at_anew_and_runs_agree(
    history: list[Content], told: WatchList
) -> None:
    compared, members = likeness(history), campaign(6, 51)
    # Of another space: noise alone would be like them now and then.
    nothing = watch_list([watched("coverage", sketch([], 4.0, "f" * 32))])
    assert not asked(compared, nothing, members)
    after = asked(compared, told, members)
    assert after
    assert asked(compared, told, members) == after
    assert asked(likeness(history), told, members[::-1]) == after


# --- behaviour ------------------------------------------------------------------------------------

NAMES = tuple(f"f{i}" for i in range(12))


def groups(count: int, seed: int) -> Groups:
    rng = np.random.default_rng(seed)
    # Unusual groups are unusual alike: a part of all features is one and the same.
    common = np.abs(rng.normal(size=(count, 1))) * np.linspace(0.2, 1.0, 12)
    return Groups((common + rng.normal(size=(count, 12))).astype(np.float32), count)


def signature(z: np.ndarray) -> str:
    behaviour = Behaviour(dict(zip(NAMES, z.tolist(), strict=True)))
    return base64.b64encode(behaviour.encode()).decode()


CAMPAIGN = np.array([4.0, -3, 5, 0, -4, 3, -2, 0, 6, -3, 0, 2])


def behaves(compared: Likeness, listed: WatchList, z: np.ndarray) -> dict[int, float]:
    return compared.of_cluster(listed, [], NAMES, z, float(np.abs(z).sum()))


@pytest.fixture(scope="module")
def signed() -> WatchList:
    return watch_list([watched("behaviour", signature(CAMPAIGN))])


def test_a_cluster_that_behaves_so_is_found_and_its_opposite_is_not(
    history: list[Content], signed: WatchList
) -> None:
    compared = likeness(history, groups(600, 1))
    own = CAMPAIGN + np.random.default_rng(2).normal(size=12)
    assert behaves(compared, signed, own) == {0: pytest.approx(1 / 201)}
    assert not behaves(compared, signed, -own)


def test_benign_groups_have_a_signature_as_often_as_was_said(history: list[Content]) -> None:
    """Unusual ones as well, of which a comparison with all groups would find too many."""
    compared = likeness(history, groups(600, 1))
    # What every unusual group is, more or less.
    listed = watch_list([watched("behaviour", signature(np.linspace(0.2, 1.0, 12) * 5))])
    others = groups(3_000, 7).benign.astype(np.float64)
    hits = np.array([bool(behaves(compared, listed, z)) for z in others])
    assert hits.mean() <= MAX_P * 1.5
    score = np.abs(others).sum(axis=1)
    assert hits[score >= np.quantile(score, 0.9)].mean() <= MAX_P * 4


def test_what_linked_groups_have_in_common_is_no_match(history: list[Content]) -> None:
    """Groups that share something keep the same hours and wording; ones drawn at random do not."""
    rng = np.random.default_rng(11)
    together = np.array([0, 0, 0, 0, 0, 0, 0, 0, 3, 3, 2, -3])

    def linked(count: int) -> np.ndarray:
        return together + rng.normal(size=(count, 12))

    drawn = groups(1_000, 1).benign
    known = np.concatenate([linked(300), drawn]).astype(np.float32)
    listed = watch_list([watched("behaviour", signature(together * 2 + CAMPAIGN))])
    others = linked(2_000)
    hits = [
        np.mean([bool(behaves(likeness(history, had), listed, z)) for z in others])
        for had in (Groups(known, 300), Groups(drawn, len(drawn)))
    ]
    assert hits[0] <= MAX_P * 1.5
    assert hits[1] > MAX_P * 4  # against ones at random, which was measured in the drill


def test_what_is_unknown_is_not_compared(history: list[Content], signed: WatchList) -> None:
    full = likeness(history, groups(600, 1))
    unknown = np.where(np.arange(12) < 8, np.nan, CAMPAIGN)
    assert not full.of_cluster(signed, [], NAMES, unknown, 30.0)
    assert not full.of_cluster(signed, [], tuple("abcdefghijkl"), CAMPAIGN, 30.0)
    assert not full.of_cluster(signed, [], NAMES, np.empty(0), 30.0)
    old = likeness(history)  # a bundle of before keeps no groups
    assert not old.of_cluster(signed, [], NAMES, CAMPAIGN, 30.0)
    assert not old.comparable(signed.watched[0])
    assert full.comparable(signed.watched[0])
    few = likeness(history, Groups(groups(600, 1).benign, 48))
    assert not few.of_cluster(signed, [], NAMES, CAMPAIGN, 30.0)  # 1 / 49 is not one in fifty
    assert not few.comparable(signed.watched[0])
    assert likeness(history, Groups(groups(600, 1).benign, 49)).comparable(signed.watched[0])


# --- what it counts -------------------------------------------------------------------------------


def test_a_likeness_has_a_tenth_of_its_sources_chances_and_many_have_no_more_than_one() -> None:
    behaviour = [watched("behaviour", signature(CAMPAIGN), f"b{i}") for i in range(4)]
    wording = Watched("indicator--w", "client", "f" * 14, "lab-b", 0.6, NOW, None, LIVE)
    options = WatchOptions({"lab-b": 1.0})

    def said(listed: WatchList, trust: WatchOptions = options) -> list[tuple[float, float]]:
        places = [i for i, one in enumerate(listed.watched) if one.compared]
        found = {places[0]: 0.001}
        return [
            (one.p_value, one.weight)
            for one in said_of_likeness(found, listed, standing(listed, NOW, trust))
        ]

    assert said(watch_list(behaviour[:1])) == [(pytest.approx(0.001), 0.6)]
    assert said(watch_list(behaviour)) == [(pytest.approx(0.004), 0.6)]
    assert said(watch_list([*behaviour[:1], wording])) == [(pytest.approx(0.01), 0.6)]
    assert said(watch_list(behaviour), WatchOptions({})) == []  # nobody trusts it
    quarantined = [msgspec.structs.replace(behaviour[0], state=QUARANTINED)]
    assert said(watch_list(quarantined)) == []


def test_shares_of_families_add_up_to_one() -> None:
    for live in ({EQUAL}, {EQUAL, "coverage"}, {"behaviour"}, {EQUAL, "coverage", "behaviour"}):
        assert sum(0.01 / of_family(0.01, one, live) for one in live) == pytest.approx(1)
    assert of_family(0.9, "coverage", {EQUAL, "coverage"}) == 1
