"""Parts of decoding that work on columns, against one value at a time; batches against records."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.ingest.batch import RecordBatch, encode_events
from transforms.ingest.decode import Decoder
from transforms.ingest.pseudonyms import Pseudonymiser
from transforms.ingest.times import parse_times
from transforms.ingest.vectors import decode_vectors

DIM = 6
DECODER = Decoder(Pseudonymiser(b"k" * 32), "model", DIM)
GOOD = {"event_id": "e", "event_time": "2026-06-01T12:00:00.250Z", "account_id": "a"}


def batch_of(records: list[bytes]) -> RecordBatch:
    return RecordBatch("test", 2, np.arange(10, 10 + len(records)), records)


# --- times --------------------------------------------------------------------------------------


def one_time(value: Any) -> tuple[int, bool]:
    """The time as the standard library sees it."""
    if value is None:
        return 0, True
    if isinstance(value, int):
        return (value, True) if abs(value) <= 1 << 53 else (0, False)
    try:
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000), True
    except (ValueError, OverflowError):
        return 0, False


def shaped(parts: tuple[int, int, int, int, int, int, int]) -> str:
    return "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z".format(*parts)


ZONES = st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))
TIMES = (
    st.datetimes().map(lambda d: d.isoformat(timespec="milliseconds") + "Z")
    | st.datetimes().map(lambda d: d.isoformat(timespec="seconds") + "Z")
    | st.datetimes(timezones=st.just(UTC) | ZONES).map(datetime.isoformat)
    | st.integers(-(2**60), 2**60)
    | st.tuples(*(st.integers(0, n) for n in (9999, 13, 32, 25, 61, 61, 999))).map(shaped)
    | st.text(max_size=26)
    | st.none()
)


@settings(max_examples=500, deadline=None)
@given(st.lists(TIMES, max_size=12))
@example(["2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z", "1900-02-29T00:00:00Z"])
@example(["2026-06-01t12:00:00.250Z", "2026-06-01T12:00:00.25٣Z", "2026-06-01T12:00:00,250Z"])
@example(["2026-06-01T12:00:00.250+", "+026-06-01T12:00:00.250Z", " 2026-6-01T12:00:00.250Z"])
def test_a_column_of_times_is_read_as_each_of_them_would_be(values: list[Any]) -> None:
    times, readable = parse_times(values)
    assert list(zip(times.tolist(), readable.tolist(), strict=True)) == [
        one_time(v) for v in values
    ]


# --- vectors ------------------------------------------------------------------------------------


def test_vectors_of_every_form_are_the_same_numbers() -> None:
    values = np.array([0.5, -2, 0, 1, 3, 65504], np.float16)
    single = values.astype(np.float32)
    found = decode_vectors(
        [values.tobytes(), single.tobytes(), single.tolist(), None, b"", values.tobytes()],
        ["float16", "float32", None, None, None, None],
        DIM,
    )
    assert found.values is not None
    assert found.present.tolist() == [True, True, True, False, False, True]
    np.testing.assert_array_equal(found.values[found.present], np.tile(single, (4, 1)))
    assert not found.values[~found.present].any()
    assert found.refused == {}


def test_every_float16_is_read_exactly() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    rows = np.resize(every, (-(-len(every) // DIM), DIM))
    found = decode_vectors([row.tobytes() for row in rows], [None] * len(rows), DIM)
    finite = np.isfinite(rows).all(axis=1)
    assert found.values is not None
    np.testing.assert_array_equal(found.values[finite], rows[finite].astype(np.float32))
    assert set(found.refused) == set(np.flatnonzero(~finite).tolist())
    assert set(found.refused.values()) == {("vector_not_finite", "embedding")}


@pytest.mark.parametrize(
    ("brought", "dtype", "reason"),
    [
        ("no base64", None, "vector_undecodable"),
        (b"abc", None, "vector_undecodable"),
        (b"\0" * 10, None, "vector_wrong_length"),
        (b"\0" * 12, "float32", "vector_wrong_length"),
        ([1.0], None, "vector_wrong_length"),
        ([1.0] * 5 + [float("inf")], None, "vector_not_finite"),
        ([1.0] * 5 + [1e39], None, "vector_not_finite"),
    ],
)
def test_a_bad_vector_is_refused_and_its_neighbours_are_not(
    brought: Any, dtype: str | None, reason: str
) -> None:
    good = np.ones(DIM, np.float16).tobytes()
    found = decode_vectors([good, brought, good], [None, dtype, None], DIM)
    assert {i: r for i, (r, _) in found.refused.items()} == {1: reason}
    assert found.present.tolist() == [True, False, True]


def test_no_vectors_and_vectors_of_zeros_are_none() -> None:
    for brought in ([], [None, None], [[0.0] * DIM, b"\0" * 12]):
        found = decode_vectors(brought, [None] * len(brought), DIM)
        assert found.values is None
        assert not found.present.any()


def test_text_that_is_no_base64_matters_only_in_a_vector_of_our_model() -> None:
    base64_text = base64.b64encode(np.ones(DIM, np.float16).tobytes()).decode()
    events = [
        GOOD | {"embedding": "%%%", "embedding_model": "another"},
        GOOD | {"embedding": "%%%", "embedding_model": "model"},
        GOOD | {"embedding": base64_text, "embedding_model": "another"},
        GOOD | {"embedding": base64_text},
    ]
    decoded = DECODER.decode(batch_of([orjson.dumps(e) for e in events]))
    assert [(x.offset, x.reason) for x in decoded.refused] == [(11, "vector_undecodable")]
    assert decoded.has_vector.tolist() == [False, False, True]


# --- batches ------------------------------------------------------------------------------------

JUNK = st.sampled_from([
    None, True, 3, -5, 2**70, 1.5, "", "x", [], ["a"], {"a": 1}, [1.0] * DIM, [1e39] * DIM, "%%%",
    "AAAAAAAAAAAAAAAA", "2026-06-01T12:00:00+02:00", "2026-02-30T00:00:00.000Z", "model", "json",
])  # fmt: skip
FIELDS = st.sampled_from([
    "event_id", "event_time", "account_id", "payment_fingerprint", "account_created_at",
    "embedding", "embedding_model", "embedding_dtype", "prompt_text", "turn_index", "status_code",
    "cost_usd", "tool_names", "response_format", "schema_version", "account_tier", "input_tokens",
])  # fmt: skip
RECORDS = st.dictionaries(FIELDS, JUNK, max_size=3).map(
    lambda change: orjson.dumps(
        {**GOOD, **{k: str(v) if v == 2**70 else v for k, v in change.items()}}
    )
) | st.sampled_from([b"", b"{", b"[1]", b"null", b"\xff"])


@settings(max_examples=200, deadline=None)
@given(st.lists(RECORDS, max_size=8))
def test_a_batch_is_decoded_as_its_records_one_by_one(records: list[bytes]) -> None:
    whole = DECODER.decode(batch_of(records))
    alone = [DECODER.decode(batch_of([record])) for record in records]
    assert len(whole.events) + len(whole.refused) + whole.empty == len(records)
    assert whole.empty == records.count(b"")
    at = [i for i, one in enumerate(alone) if len(one.events)]
    for row, i in enumerate(at):
        assert encode_events(whole.events.take(np.array([row]))) == encode_events(alone[i].events)
        assert whole.texts[row] == alone[i].texts[0]
    assert [(x.offset - 10, x.reason, x.detail, x.raw) for x in whole.refused] == [
        (i, x.reason, x.detail, x.raw) for i, one in enumerate(alone) for x in one.refused
    ]


def test_numbers_beyond_their_range_are_brought_into_it() -> None:
    record = (
        b'{"event_id":"e","event_time":1780000000000,"account_id":"a","input_tokens":%s,'
        % (b"9" * 30)
        + b'"turn_index":-9,"status_code":1234,"cost_usd":1e300,"output_tokens":-3}'
    )
    events = DECODER.decode(batch_of([record, orjson.dumps(GOOD)])).events
    assert events.input_tokens.tolist() == [2**40, 0]
    assert events.turn.tolist() == [-1, -1]
    assert events.status.tolist() == [999, 200]
    assert events.cost_microusd.tolist() == [10**12, 0]
    assert events.output_tokens.tolist() == [0, 0]
    # A session of a million of them is still one.
    for most in (events.input_tokens, events.cost_microusd):
        assert int(most.max()) * 1_000_000 < 2**63


@pytest.mark.parametrize(
    "spoilt",
    [
        [b"%s%s", b" "],  # two of them in one record, and none in the next
        [b"%s %s", b""],
        [b'{"event_id":', b'"e9","event_time":1780272000000,"account_id":"a"}', b"%s%s"],
    ],
)
def test_records_read_together_are_those_read_one_by_one(spoilt: list[bytes]) -> None:
    good = orjson.dumps(GOOD)
    records = [value.replace(b"%s", good) for value in spoilt]
    found = DECODER.decode(batch_of([good, *records, good]))
    assert len(found.events) == 2
    assert len(found.refused) + found.empty == len(records)
    assert {letter.offset for letter in found.refused} <= set(range(11, 11 + len(records)))
