"""The log of a shard: whatever is written, and in whatever order it is read, the newest counts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.state import Bag
from transforms.sessions import shard_log
from transforms.sessions.shard_log import ShardLog, pack, shard_of, unpack


def entries_of(bag: Bag) -> dict[shard_log.Name, bytes]:
    log = ShardLog(bag)
    return {name: log.get(name) for name in log}


changes = st.dictionaries(
    st.text(max_size=3) | st.integers(0, 9), st.binary(max_size=40), max_size=6
)


@settings(deadline=None)
@given(st.lists(changes, max_size=30), st.randoms(use_true_random=False), st.booleans())
def test_a_log_says_what_a_dictionary_says(
    rounds: list[dict[shard_log.Name, bytes]], dice: random.Random, small: bool
) -> None:
    bag = Bag()
    wanted: dict[shard_log.Name, bytes] = {}
    with pytest.MonkeyPatch.context() as patch:
        if small:  # so that it is written anew often
            patch.setattr(shard_log, "_SLACK", 64)
            patch.setattr(shard_log, "_CHUNK", 32)
        for changed in rounds:
            dice.shuffle(bag.held)
            ShardLog(bag).update(changed)
            wanted = {name: data for name, data in (wanted | changed).items() if data}
            assert entries_of(bag) == wanted


def test_a_log_is_written_anew_before_most_of_it_is_out_of_date() -> None:
    bag, largest, written = Bag(), 0, 0
    for turn in range(400):
        before = sum(map(len, bag.held))
        ShardLog(bag).update({name: bytes([turn % 256]) * 2_000 for name in ("a", "b")})
        now = sum(map(len, bag.held))
        largest = max(largest, now)
        written += now - before if now > before else now
    assert entries_of(bag) == {name: bytes([399 % 256]) * 2_000 for name in ("a", "b")}
    assert largest < 2 * 4_000 + shard_log._SLACK + 4_100
    # Adding alone would be as much as is written at all, but for the few times it begins anew.
    assert written < 400 * 4_100 * 1.2


@pytest.mark.parametrize("size", [0, 20])
def test_a_log_of_very_many_small_entries_is_not_written_anew_at_each_change(size: int) -> None:
    bag = Bag()
    names = [f"account-{n}-{'x' * 40}" for n in range(5_000)]
    ShardLog(bag).update({name: b"1" + bytes(size) for name in names})
    for name in names[:100]:
        ShardLog(bag).update({name: b"2" + bytes(size)})
    assert len(bag.held) == 101
    assert len(entries_of(bag)) == 5_000


def test_large_entries_travel_in_pieces_and_none_is_lost() -> None:
    entries: list[shard_log.Entry] = [(f"account-{n}", bytes(300_000)) for n in range(10)]
    pieces = list(pack(entries))
    assert len(pieces) > 1
    assert max(map(len, pieces)) < shard_log._CHUNK + 310_000
    assert [entry for piece in pieces for entry in unpack(piece)] == entries


def test_names_are_spread_evenly_and_always_the_same() -> None:
    shards = [shard_of(f"account-{n}", 64) for n in range(6_400)]
    assert max(shards.count(s) for s in range(64)) < 150
    assert shard_of("account-7", 64) == shards[7] == 5  # a running job's state is found by it
