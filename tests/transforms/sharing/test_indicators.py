"""Indicators keep what they are through tables and payloads, and refuse what they cannot be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given

from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from tests.transforms.sharing.strategies import behaviours, coverages, indicators
from transforms.coverage.layout import Items
from transforms.sharing.indicators import (
    Indicator,
    Kind,
    Marking,
    Sighting,
    indicator_id,
    newest,
    sighting_id,
)
from transforms.sharing.payloads import (
    Behaviour,
    Coverage,
    check_payload,
    decode_behaviour,
    decode_coverage,
    rounded_score,
)

PLAIN = Indicator(
    indicator_id("lab-a", Kind.CLIENT, "0123456789abcd"), Kind.CLIENT, "0123456789abcd", b"",
    "lab-a", "campaign-1", 80, Marking.AMBER_STRICT, "how", 1_000, 2_000, 500, 500,
)  # fmt: skip


@given(indicators())
def test_an_indicator_survives_its_table(one: Indicator) -> None:
    row = one.to_row("received")
    assert Indicator.from_row(row) == one
    assert TABLES["indicators"].to_arrow([row]).num_rows == 1
    times = {c.name for c in TABLES["indicators"].columns if c.type == "TIMESTAMP"}
    as_read = {
        name: datetime.fromtimestamp(value / 1000, UTC) if name in times and value else value
        for name, value in row.items()
    }
    assert Indicator.from_row(as_read) == one


def test_a_row_of_the_first_version_can_be_read() -> None:
    later = ("created", "modified", "revision", "method", "source")
    row = {k: v for k, v in PLAIN.to_row("shared").items() if k not in later}
    assert Indicator.from_row(row) == replace(
        PLAIN, created_ms=1_000, modified_ms=1_000, method="", source="own"
    )


@given(behaviours())
def test_behaviour_survives_its_payload(one: Behaviour) -> None:
    assert decode_behaviour(one.encode()).features == one.features
    backwards = Behaviour(dict(reversed(one.features.items())))
    assert backwards.encode() == one.encode()


@given(coverages())
def test_coverage_survives_its_payload(one: Coverage) -> None:
    again = decode_coverage(one.encode())
    assert (again.values == one.values).all()
    assert again.encode() == one.encode()


def test_ids_are_the_same_for_the_same_statement_only() -> None:
    # A golden value: another id would make every lab's objects new ones.
    assert PLAIN.indicator_id == "indicator--7a13ff0a-a3fe-5f5b-9305-c0c43b7da4de"
    assert len({indicator_id(p, k, v) for p in "ab" for k in Kind for v in "12"}) == 32
    assert sighting_id("i", "a", 1) == sighting_id("i", "a", 1) != sighting_id("i", "a", 2)


def test_an_equal_value_is_the_key_that_sketches_have() -> None:
    assert PLAIN.item() == (int(Items.CLIENT) << 56) + 0x0123456789ABCD
    assert (
        replace(
            PLAIN, kind=Kind.BEHAVIOUR, value="", payload=Behaviour({"overlap": 1.0}).encode()
        ).item()
        is None
    )


@pytest.mark.parametrize(
    "change",
    [
        {"value": "0123456789ABCD"},
        {"value": "0123"},
        {"value": ""},
        {"payload": b"x"},
        {"kind": Kind.COVERAGE},
        {"provider": "lab\n"},
        {"campaign": "<script>"},
        {"confidence": 101},
        {"valid_until_ms": 1_000},
        {"valid_from_ms": -1},
        {"modified_ms": 499},
        {"revision": 0},
        {"indicator_id": "indicator--1"},
        {"method": "x" * 501},
    ],
)
def test_what_no_indicator_can_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(DistilwatchError):
        replace(PLAIN, **change)  # type: ignore[arg-type]


def test_a_score_that_is_rounded_away_does_not_keep_its_sign() -> None:
    told = rounded_score(np.array([-0.2, 0.2, -0.3, 99.0, -99.0, np.nan]))
    assert told.tolist() == [0.0, 0.0, -0.5, 10.0, -10.0, 0.0]
    assert not np.signbit(told[0])
    assert b"-" not in Behaviour({"overlap": float(told[0])}).encode().replace(b"behaviour-1", b"")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[" * 10_000,
        b'{"format":"behaviour-1","features":{}}',
        b'{"format":"behaviour-1","features":{"a":1e999}}',
        b'{"format":"behaviour-1","features":{"a":1000.0}}',
        b'{"format":"behaviour-1","features":{"a":1.0},"more":1}',
        b'{"format":"behaviour-2","features":{"a":1.0}}',
        b" " * 70_000,
    ],
)
def test_bad_payloads_are_refused_with_our_own_error(payload: bytes) -> None:
    with pytest.raises(DistilwatchError, match="cannot be read"):
        decode_behaviour(payload)
    with pytest.raises(DistilwatchError, match="cannot be read"):
        decode_coverage(payload)


def test_a_payload_of_the_wrong_kind_is_found() -> None:
    wrong = Behaviour({"overlap": 1.0}).encode()
    one = replace(PLAIN, kind=Kind.COVERAGE, value="", payload=wrong)
    with pytest.raises(DistilwatchError, match="cannot be read"):
        check_payload(one)


def test_validity_ends_and_a_revocation_is_never_undone() -> None:
    assert [PLAIN.holds_at(t) for t in (999, 1_000, 1_999, 2_000)] == [False, True, True, False]
    revoked = replace(PLAIN, revoked=True, modified_ms=600, revision=2)
    later = replace(PLAIN, modified_ms=700, revision=3)
    for order in ([PLAIN, revoked, later], [later, revoked, PLAIN]):
        assert newest(order) == {PLAIN.indicator_id: revoked}
    assert not revoked.holds_at(1_500)


def test_a_sighting_survives_its_table() -> None:
    one = Sighting(sighting_id(PLAIN.indicator_id, "a1", 0), PLAIN.indicator_id, "a1", "", 5, 9, 3)
    assert Sighting.from_row(one.to_row()) == one
