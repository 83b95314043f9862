"""What linking needs of all accounts of a window: the newest of each, however it comes."""

from __future__ import annotations

import pickle
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from apache_beam.transforms.window import IntervalWindow

from tests.support.state import Bag
from transforms.clusters import newest_links
from transforms.clusters.linkables import Linkables
from transforms.clusters.newest_links import _KeepNewestFn, decode_block, encode_block

WINDOW = IntervalWindow(0, 60)


def block_of(accounts: list[tuple[str, int]], seed: int = 0) -> Linkables:
    """Accounts with so many requests, and ragged things of their own."""
    dice, n = np.random.default_rng(seed), len(accounts)
    sizes = [dice.integers(0, 4, n) for _ in range(3)]
    events = np.array([events for _, events in accounts], np.int64)
    return Linkables(
        [name for name, _ in accounts], events * 2, events, dice.random(n), events * 3, events * 4,
        events * 0, sizes[0], dice.integers(0, 2**60, sizes[0].sum()).astype(np.uint64), sizes[1],
        dice.integers(0, 999, sizes[1].sum()).astype(np.uint16),
        dice.integers(1, 9, sizes[1].sum()),
        sizes[2], dice.integers(0, 2**60, sizes[2].sum()).astype(np.uint64),
    )  # fmt: skip


def told(block: Linkables) -> list[tuple[Any, ...]]:
    """All that is known of each account, as plain values."""
    return [
        (
            one.account, one.since_ms, one.events, one.p_value, one.last_ms, one.things.tolist(),
            one.content.cells.tolist(), one.content.counts.tolist(),
            one.activity.minutes.tolist(), one.activity[1:],
        )
        for one in block.each()
    ]  # fmt: skip


def test_columns_are_put_together_and_taken_out_account_by_account() -> None:
    parts = [block_of([("a", 1), ("b", 2)], 1), block_of([], 2), block_of([("c", 3)], 3)]
    both = Linkables.concat(parts)
    assert told(both) == [row for part in parts for row in told(part)]
    assert told(both.take(np.array([2, 0, 2]))) == [told(both)[i] for i in (2, 0, 2)]
    assert [len(part) for part in both.in_blocks(2)] == [2, 1]
    assert told(Linkables.concat([*both.in_blocks(2)])) == told(both)
    again = decode_block(encode_block(both))
    assert told(again) == told(both)
    for field in fields(Linkables):
        before, after = getattr(both, field.name), getattr(again, field.name)
        assert getattr(before, "dtype", None) == getattr(after, "dtype", None)


def test_of_two_versions_the_larger_counts_and_of_equal_ones_the_last() -> None:
    every = block_of([("b", 5), ("a", 2), ("b", 4), ("a", 2)])
    assert told(every.newest()) == [told(every)[3], told(every)[0]]
    assert len(block_of([]).newest()) == 0


class Window:
    """The state of one window."""

    def __init__(self) -> None:
        self.fn = _KeepNewestFn(10**12, 60_000, 1)
        self.news, self.kept = Bag(), Bag()

    def add(self, block: Linkables) -> None:
        self.news.add(encode_block(block))

    def tell(self, closes: bool = False) -> list[Linkables]:
        return [
            decode_block(said.value[1])
            for said in self.fn.report(WINDOW, self.news, self.kept, closes)
        ]


@pytest.mark.parametrize("seed", range(4))
def test_every_report_has_all_accounts_however_they_come(seed: int) -> None:
    dice, window = np.random.default_rng(seed), Window()
    newest: dict[str, tuple[Any, ...]] = {}
    events = dict.fromkeys([f"account-{n}" for n in range(40)], 0)
    for turn in range(30):
        for part in range(int(dice.integers(1, 4))):
            some = dice.choice(list(events), int(dice.integers(1, 20)), replace=False).tolist()
            for name in some:
                events[name] += int(dice.integers(1, 9))
            block = block_of([(name, events[name]) for name in some], 100 * turn + part)
            window.add(block)
            newest |= {row[0]: row for row in told(block)}
        # What is older than that, and comes once more, changes nothing.
        window.add(block_of([("account-0", 0)], 9))
        [said] = window.tell(closes=bool(turn % 5 == 4))
        assert [row[0] for row in told(said)] == sorted({*newest} | {"account-0"})
        assert {row[0]: row for row in told(said) if row[0] in newest} == newest
    assert window.tell() == window.tell(closes=True) == []


def test_the_log_stays_within_a_few_times_of_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest_links, "_SLACK", 10)
    monkeypatch.setattr(newest_links, "_CHUNK", 7)
    window, accounts = Window(), [f"account-{n}" for n in range(50)]
    added = 0
    for turn in range(1, 40):
        before = list(window.kept.read())
        window.add(block_of([(name, turn) for name in accounts[turn % 5 :: 5]], turn))
        [said] = window.tell()
        kept = [pickle.loads(data)[1] for data in window.kept.read()]
        added += len(kept) == len(before) + 1 and list(window.kept.read())[:-1] == before
        assert sum(map(len, kept)) <= 2 * len(said) + 10
        assert told(Linkables.concat(kept).newest()) == told(said)
    assert len(said) == 50
    assert added > 30  # most reports write only what has changed
