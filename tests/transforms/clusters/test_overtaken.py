"""What was overtaken on its way, and what is told of the one before; no runner."""

from __future__ import annotations

import pickle
from typing import Any

from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp

from tests.support.state import Bag
from transforms.clusters.overtaken import DropOvertaken, _DropFn, _IntoShardsFn
from transforms.sessions.shard_log import ShardLog


def passing(drop: DropOvertaken, bag: Bag) -> Any:
    """What passes of values of one account that come in one bundle."""
    into, fn = _IntoShardsFn(drop.shards), _DropFn(drop.memo, drop.amend)

    def passed(*versions: tuple[int, Any], account: str = "account") -> list[Any]:
        into.start_bundle()
        for versioned in versions:
            list(into.process((account, versioned), GlobalWindow(), Timestamp(0)))
        return [row for one in into.finish_bundle() for row in fn.process(one.value, bag)]

    return passed


def test_rows_that_were_overtaken_on_their_way_are_dropped() -> None:
    bag = Bag()
    passed = passing(DropOvertaken(), bag)
    assert passed((1, "in a cluster")) == ["in a cluster"]
    assert passed((1, "the same, grown")) == ["the same, grown"]
    assert passed((3, "alone")) == ["alone"]
    assert passed((2, "in a cluster, late")) == []
    assert passed((3, "alone, on time")) == ["alone, on time"]
    assert passed((9, "of another"), account="other") == ["of another"]
    assert passed((2, "late again")) == []


def test_of_what_comes_together_what_is_older_than_the_one_before_it_is_dropped() -> None:
    passed = passing(DropOvertaken(), Bag())
    assert passed((2, "b"), (1, "a"), (3, "c"), (3, "d")) == ["b", "c", "d"]


def test_what_passes_is_amended_by_the_memo_of_what_passed_before() -> None:
    bag = Bag()
    passed = passing(DropOvertaken(memo=len, amend=lambda size, value: value.ljust(size, ".")), bag)
    assert passed((1, "abcd")) == ["abcd"]
    assert passed((2, "ab")) == ["ab.."]
    # What is remembered is of what passed, amended, not of what came.
    assert passed((3, "a")) == ["a..."]
    # What is dropped leaves nothing behind.
    assert passed((2, "abcdefgh")) == []
    assert passed((3, "a")) == ["a..."]
    log = ShardLog(bag)
    assert [pickle.loads(log.get(name)) for name in log] == [(3, 4)]
