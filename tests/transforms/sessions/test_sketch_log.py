"""The log of a shard's sketches: however it is written and read, the newest rows count."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import random_events
from tests.support.state import Bag
from transforms.coverage.fold import fold
from transforms.coverage.sketch import encode
from transforms.coverage.stack import SketchStack
from transforms.sessions import sketch_log
from transforms.sessions.shards import Named
from transforms.sessions.sketch_log import Rows, SketchLog, all_rows, by_shard, encode_rows

SKETCHES = [p.sketch for p in fold(random_events(120, 3, accounts=30, payments=1), 3_600_000)]
LAST = [sketch.last_ms for sketch in SKETCHES]
MIDDLE = sorted(LAST)[len(LAST) // 2]


def rows(wanted: dict[str, list[tuple[int, int]]]) -> Rows | None:
    """Of each name some sketches, by their numbers, with flags."""
    flat = [(name, number, flag) for name, some in wanted.items() for number, flag in some]
    if not flat:
        return None
    stack = SketchStack.of([SKETCHES[number] for _, number, _ in flat])
    flags = np.array([flag for *_, flag in flat], np.uint8)
    return Rows(Named([name for name, *_ in flat], stack), flags)


def told(found: Rows | None) -> list[tuple[str, bytes, int]]:
    if found is None:
        return []
    (names, stack), flags = found
    encoded = map(encode, stack.sketches())
    return sorted(zip(names, encoded, flags.tolist(), strict=True))


some_rows = st.lists(st.tuples(st.integers(0, len(SKETCHES) - 1), st.integers(0, 3)), max_size=3)
changes = st.dictionaries(st.sampled_from("abcdefgh"), some_rows, max_size=5)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(changes, max_size=15), st.randoms(use_true_random=False), st.booleans(), st.booleans()
)
def test_a_log_says_what_a_dictionary_says(
    rounds: list[dict[str, list[tuple[int, int]]]], dice: random.Random, small: bool, fresh: bool
) -> None:
    bag = Bag()
    log = SketchLog(bag)  # or a new one for each change
    wanted: dict[str, list[tuple[int, int]]] = {}
    with pytest.MonkeyPatch.context() as patch:
        if small:  # so that it is written anew often, and in pieces
            patch.setattr(sketch_log, "_SLACK", 2)
            patch.setattr(sketch_log, "_CHUNK", 3)
        for changed in rounds:
            dice.shuffle(bag.held)
            if fresh:
                log = SketchLog(bag)
            log.update([*changed], rows(changed))
            wanted = {name: some for name, some in (wanted | changed).items() if some}
            if fresh:
                log = SketchLog(bag)
            assert told(log.take(set("abcdefgh"))) == told(rows(wanted))
            few = {name: wanted[name] for name in "ac" if name in wanted}
            assert told(log.take({"a", "c"})) == told(rows(few))
            early = {
                name
                for name, some in wanted.items()
                if any(flag & 1 and LAST[number] < MIDDLE for number, flag in some)
            }
            found = log.names_where(lambda flags, last: (flags & 1 > 0) & (last < MIDDLE))
            assert set(found) == early
            assert len(found) == len(early)
            assert told(SketchLog(bag).take(set("abcdefgh"))) == told(rows(wanted))
    if not wanted:
        assert not bag.held


def test_a_log_is_written_anew_before_most_of_it_is_out_of_date() -> None:
    bag, most = Bag(), 0
    for turn in range(300):
        number = turn % len(SKETCHES)
        changed = {name: [(number, 1)] for name in ("a", "b", "c", "d")}
        SketchLog(bag).update([*changed], rows(changed))
        most = max(most, len(bag.held))
    assert told(SketchLog(bag).take({"a", "b", "c", "d"})) == told(rows(changed))
    assert most <= sketch_log._SLACK // 4 + 3


def test_new_rows_come_back_whole_and_by_shard() -> None:
    every = rows({f"account-{n}": [(n, 0)] for n in range(len(SKETCHES))})
    assert every is not None
    number = np.arange(len(SKETCHES)) % 2
    bag, where = Bag(), {}
    for of, shard, some in by_shard(every.named, number, 4):
        bag.add(encode_rows(some))
        assert not some.flags.any()
        for name in some.named.names:
            assert int(name.split("-")[1]) % 2 == of
            where.setdefault(name, set()).add(shard)
    assert told(all_rows(bag)) == told(every)
    assert all(len(shards) == 1 for shards in where.values())
    assert {shard for shards in where.values() for shard in shards} == {0, 1, 2, 3}
    assert all_rows(Bag()) is None
