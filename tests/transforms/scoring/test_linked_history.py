"""What the history's groups of linked accounts are made of: accounts, each of them once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tests.support.sketches import FAST_DETECTORS, PEERS, SPACE, person, sketch_of, token
from transforms.coverage.layout import DAY_MS
from transforms.scoring.bundle import Bundle
from transforms.scoring.fit import CLUSTER, PROFILE, BundleOptions, KeyedSketch, fit_bundle
from transforms.scoring.model import FitOptions

WINDOW_MS = 28 * DAY_MS
COMPANIES = {f"a{i:04d}": f"company{i // 4}" for i in range(24)}  # six of four accounts


def profile(name: str, window: int, **shared: Any) -> KeyedSketch:
    topics = np.random.default_rng(int(name[1:])).choice(96, 5, replace=False)
    events = person(name, window, 30 + int(name[1:]) % 40, topics, **shared)
    events.time_ms[:] += window * WINDOW_MS
    return KeyedSketch(name, sketch_of(events))


@lru_cache(maxsize=4)
def bundle(windows: int) -> Bundle:
    """160 accounts that are there in every window, of which 24 share a card by fours; account 30
    and 31 share a network."""
    keys = []
    for i in range(160):
        name = f"a{i:04d}"
        shared: dict[str, Any] = {}
        if name in COMPANIES:
            shared["payment"] = COMPANIES[name]
        if i in (30, 31):
            shared["network"] = token("their network")
        keys += [profile(name, window, **shared) for window in range(windows)]
    options = BundleOptions(FitOptions(FAST_DETECTORS), null_groups=120)
    return fit_bundle(SPACE, PEERS, {PROFILE: keys}, {}, options)


def test_an_account_that_was_there_in_several_windows_is_no_group() -> None:
    for windows in (1, 2, 4):
        made = bundle(windows)
        # Of six companies on two sides; and a pair, if it is on one of them.
        assert 0 < made.models[CLUSTER].linked <= 7, windows


def test_only_who_is_linked_has_the_past_of_a_group_whatever_the_windows() -> None:
    linked = [*COMPANIES, "a0030", "a0031"]
    others = [f"a{i:04d}" for i in range(32, 160)]
    for windows in (1, 2, 4):
        groups = bundle(windows).groups
        assert (groups.find(linked) >= 0).all(), windows
        assert (groups.find(others) < 0).all(), windows
        assert len(groups.account) == len(set(groups.account.tolist())) == len(linked)


def test_what_one_account_has_in_every_window_is_not_common() -> None:
    for windows in (1, 4):
        common = set((bundle(windows).common & np.uint64((1 << 56) - 1)).tolist())
        assert int(token("their network") >> 8) not in common, windows
        assert int(token("net/a0100") >> 8) not in common, windows
