"""What was overtaken on its way, and what is told of the one before; no runner."""

from __future__ import annotations

from typing import Any

from tests.support.state import Bag
from transforms.clusters.overtaken import DropOvertaken, _DropFn


def passing(drop: DropOvertaken, bag: Bag) -> Any:
    fn = _DropFn(drop.memo, drop.amend)
    return lambda version, value: list(fn.process(("account", (version, value)), bag))


def test_rows_that_were_overtaken_on_their_way_are_dropped() -> None:
    bag = Bag()
    passed = passing(DropOvertaken(), bag)
    assert passed(1, "in a cluster") == ["in a cluster"]
    assert passed(1, "the same, grown") == ["the same, grown"]
    assert passed(3, "alone") == ["alone"]
    assert passed(2, "in a cluster, late") == []
    assert passed(3, "alone, on time") == ["alone, on time"]
    assert len(bag.held) == 1


def test_what_passes_is_amended_by_the_memo_of_what_passed_before() -> None:
    bag = Bag()
    passed = passing(DropOvertaken(memo=len, amend=lambda size, value: value.ljust(size, ".")), bag)
    assert passed(1, "abcd") == ["abcd"]
    assert passed(2, "ab") == ["ab.."]
    # What is remembered is of what passed, amended, not of what came.
    assert passed(3, "a") == ["a..."]
    # What is dropped leaves nothing behind.
    assert passed(2, "abcdefgh") == []
    assert passed(3, "a") == ["a..."]
    assert bag.read() == [(3, 4)]
