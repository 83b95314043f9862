"""What is refused, and why; one bad object leaves the others alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.sharing.test_stix import KEY, NOW_MS, an_indicator, everything
from transforms.sharing.canonical import EXTENSION, signed
from transforms.sharing.indicators import Kind, Marking, indicator_id
from transforms.sharing.receive import Feed, receive
from transforms.sharing.stix import identity_id, indicator_object, signed_objects
from transforms.sharing.tlp import IDS

FEED = Feed("forum", "lab-me", {"lab-a": [KEY.public_key()], "lab-b": []})
Object = dict[str, Any]


def plain() -> Object:
    return indicator_object(an_indicator())


def again(obj: Object) -> Object:
    """As its lab would sign it."""
    return signed(obj, KEY)


def changed(**change: Any) -> Callable[[], Object]:
    return lambda: again(plain() | change)


def ours(**change: Any) -> Callable[[], Object]:
    def make() -> Object:
        obj = json.loads(json.dumps(plain()))
        obj["extensions"][EXTENSION] |= change
        return again(obj)

    return make


def deep() -> Object:
    inner: Any = 1
    for _ in range(20):
        inner = [inner]
    return again(plain()) | {"x": inner}


def without_marking() -> Object:
    obj = plain()
    del obj["object_marking_refs"]
    return again(obj)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: "text", "no_object"),
        (lambda: 7, "no_object"),
        (lambda: None, "no_object"),
        (list, "no_object"),
        (dict, "unknown_type"),
        (lambda: {"type": ["indicator"]}, "unknown_type"),
        (lambda: {"type": "malware"}, "unknown_type"),
        (lambda: {"type": "indicator"}, "unknown_source"),
        (lambda: {"type": "identity"}, "unknown_source"),
        (deep, "too_deep"),
        (changed(description="x" * 200_000), "too_large"),
        (plain, "bad_signature"),
        (lambda: again(plain()) | {"confidence": 100}, "bad_signature"),
        (lambda: signed(plain(), Ed25519PrivateKey.generate()), "bad_signature"),
        (changed(created_by_ref=identity_id("lab-b")), "bad_signature"),
        (changed(created_by_ref=identity_id("lab-x")), "unknown_source"),
        (changed(pattern="[not a pattern"), "not_stix"),
        (changed(x_more=1), "not_stix"),
        (changed(valid_until="2020-01-01T00:00:00Z"), "not_stix"),
        (without_marking, "no_marking"),
        (changed(object_marking_refs=[IDS[Marking.GREEN], IDS[Marking.RED]]), "no_marking"),
        (changed(object_marking_refs=[IDS[Marking.RED]]), "marking_too_strict"),
        (changed(modified="2099-01-01T00:00:00.000Z"), "from_the_future"),
        (changed(valid_until="2039-01-01T00:00:00Z"), "too_long"),
        (changed(valid_from="2026-09-22T00:00:00Z"), "too_early"),
        (
            changed(valid_from="2026-09-24T00:00:00Z", valid_until="2026-10-24T00:00:00Z"),
            "from_the_future",
        ),
        (changed(id="indicator--11111111-1111-4111-8111-111111111111"), "foreign_id"),
        (changed(confidence=None), "not_stix"),
        (ours(kind="payment"), "not_an_indicator"),
        (ours(value="zz"), "not_an_indicator"),
        (ours(value="00000000000000"), "foreign_id"),
        (ours(revision="1"), "not_an_indicator"),
        (ours(campaign="<script>"), "not_an_indicator"),
        (
            lambda: again(plain() | {"pattern": "[x-distilwatch-thing:value = '00000000000000']"}),
            "other_pattern",
        ),
    ],
)
def test_each_bad_object_has_its_reason(make: Callable[[], Any], reason: str) -> None:
    good = again(plain())
    got = receive([make(), good], FEED, NOW_MS + 10)
    assert [r.reason for r in got.refused] == [reason], got.refused
    assert [one.indicator_id for one in got.indicators] == [good["id"]]
    assert len(got.refused[0].detail) <= 200


def test_what_is_shown_of_a_stranger_gives_a_terminal_no_orders() -> None:
    title = "\x1b]0;owned\x07\r\n"
    bad = {"type": "campaign", "id": f"campaign{title}", "created_by_ref": title}
    [refused] = receive([bad], FEED, NOW_MS + 10).refused
    assert refused.object_id.startswith("campaign")
    assert (refused.object_id + refused.detail).isprintable()


def test_a_payload_that_cannot_be_read_is_refused() -> None:
    one = an_indicator(Kind.BEHAVIOUR)
    bad = replace(
        one,
        kind=Kind.COVERAGE,
        indicator_id=indicator_id("lab-a", Kind.COVERAGE, "campaign-1/"),
    )
    got = receive([again(indicator_object(bad))], FEED, NOW_MS + 10)
    assert [r.reason for r in got.refused] == ["not_an_indicator"]


def test_all_that_a_lab_may_say_is_heard() -> None:
    got = receive(everything(), FEED, NOW_MS + 10)
    assert got.refused == []
    assert len(got.indicators) == 2
    assert sorted(o["type"] for o in got.said) == ["note", "opinion", "sighting"]
    assert len(got.campaigns) == 1
    assert {one.source for one in got.indicators} == {"forum"}


def test_what_comes_back_from_ourselves_is_passed_over() -> None:
    got = receive(everything(), Feed("forum", "lab-a", {"lab-b": []}), NOW_MS + 10)
    assert (got.indicators, got.said, got.refused) == ([], [], [])


def test_another_lab_cannot_take_back_or_change_what_is_not_its_own() -> None:
    other = Ed25519PrivateKey.generate()
    feed = Feed("forum", "me", {"lab-a": [KEY.public_key()], "lab-b": [other.public_key()]})
    theirs = indicator_object(replace(an_indicator(), provider="lab-b", revoked=True))
    got = receive(signed_objects([theirs], other), feed, NOW_MS + 10)
    assert [r.reason for r in got.refused] == ["foreign_id"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(again(plain()))), JSON, min_size=1))
def test_no_object_whatever_makes_it_fail(change: Object) -> None:
    for obj in (again(plain()) | change, _signed_anyway(plain() | change)):
        got = receive([obj], FEED, NOW_MS + 10)
        assert len(got.refused) + len(got.indicators) + got.passed + len(got.said) <= 1


def _signed_anyway(obj: Object) -> Object:
    try:
        return again(obj)
    except Exception:  # not JSON, or without a place for the signature
        return obj
