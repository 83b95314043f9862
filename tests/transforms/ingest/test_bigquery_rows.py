"""Rows of BigQuery become the records that a file would have had."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from schemas.errors import DistilwatchError
from schemas.events import EVENT_FIELDS
from transforms.ingest.batch import NO_WATERMARK, Decoded, RecordBatch
from transforms.ingest.bigquery_rows import event_columns, offsets_of, records_of
from transforms.ingest.decode import Decoder
from transforms.ingest.pseudonyms import Pseudonymiser

AT = datetime(2026, 6, 1, 12, 0, 0, 250_000, UTC)
DECODER = Decoder(Pseudonymiser(b"k" * 32), "distilwatch-hashing-v1", 8)


def batch(**columns: pa.Array) -> pa.RecordBatch:
    size = len(next(iter(columns.values())))
    base = {
        "event_id": pa.array([f"e{i}" for i in range(size)]),
        "event_time": pa.array([AT] * size, pa.timestamp("us", "UTC")),
        "account_id": pa.array(["a"] * size),
    }
    return pa.RecordBatch.from_pydict(base | columns)


def decode(records: list[bytes]) -> Decoded:
    return DECODER.decode(RecordBatch("t", 0, offsets_of(records), records, NO_WATERMARK))


def test_types_of_bigquery_become_those_of_the_contract() -> None:
    [record] = records_of(
        batch(
            account_created_at=pa.array([datetime(2026, 5, 1)], pa.timestamp("us")),
            cost_usd=pa.array([Decimal("0.000000125")], pa.decimal128(38, 9)),
            tool_names=pa.array([["search", "code"]]),
            turn_index=pa.array([3]),
            country=pa.array([None], pa.string()),
        )
    )
    assert orjson.loads(record) == {
        "event_id": "e0",
        "event_time": 1_780_315_200_250,
        "account_id": "a",
        "account_created_at": 1_777_593_600_000,
        "cost_usd": 1.25e-7,
        "tool_names": ["search", "code"],
        "turn_index": 3,
    }


@pytest.mark.parametrize("form", ["list", "bytes", "text"])
def test_a_vector_survives_in_every_form(form: str) -> None:
    values = np.linspace(-1, 1, 8).astype(np.float32)
    raw = values.astype("<f4").tobytes()
    columns: dict[str, pa.Array] = {
        "list": {"embedding": pa.array([values.tolist(), []], pa.list_(pa.float64()))},
        "bytes": {
            "embedding": pa.array([raw, None], pa.binary()),
            "embedding_dtype": pa.array(["float32", None]),
        },
        "text": {
            "embedding": pa.array([base64.b64encode(raw).decode(), None]),
            "embedding_dtype": pa.array(["float32", None]),
        },
    }[form]
    decoded = decode(records_of(batch(**columns)))
    assert not decoded.refused
    assert decoded.has_vector.tolist() == [True, False]
    assert decoded.vectors is not None
    np.testing.assert_array_equal(decoded.vectors[0], values)


def test_a_list_says_its_own_type_whatever_the_column_of_types_says() -> None:
    found = records_of(
        batch(
            embedding=pa.array([[0.5] * 8], pa.list_(pa.float64())),
            embedding_dtype=pa.array(["float16"]),
        )
    )
    assert decode(found).has_vector.tolist() == [True]


def test_vectors_of_a_slice_are_its_own() -> None:
    rows = batch(embedding=pa.array([[float(i)] * 8 for i in range(1, 7)], pa.list_(pa.float64())))
    whole = records_of(rows)
    assert records_of(rows.slice(2, 3)) == whole[2:5]


def test_what_cannot_be_used_is_refused_for_its_reason_and_the_others_stay() -> None:
    rows = batch(
        embedding=pa.array(
            [[1.0] * 8, [1.0] * 5, [float("nan")] * 8, [1e300] * 8], pa.list_(pa.float64())
        )
    )
    decoded = decode(records_of(rows))
    assert [letter.reason for letter in decoded.refused] == [
        "vector_wrong_length", "vector_not_finite", "vector_not_finite",
    ]  # fmt: skip
    assert len(decoded.events) == 1


def test_places_are_the_same_in_every_run_and_differ_between_rows() -> None:
    records = records_of(batch(turn_index=pa.array(range(1_000))))
    one = offsets_of(records)
    assert (one == offsets_of(records)).all()
    assert (one[::-1] == offsets_of(records[::-1])).all()
    assert len(set(one.tolist())) == 1_000
    assert one.min() >= 0


def field(name: str, kind: str, mode: str = "NULLABLE") -> dict[str, Any]:
    return {"name": name, "type": kind, "mode": mode}


GOOD = [
    field("event_id", "STRING"), field("event_time", "TIMESTAMP"), field("account_id", "STRING"),
]  # fmt: skip


def test_only_columns_of_the_event_are_read() -> None:
    assert event_columns([*GOOD, field("answer_text", "STRING")], "t") == [
        "event_id", "event_time", "account_id",
    ]  # fmt: skip


def test_every_field_of_the_contract_may_be_a_column() -> None:
    kinds = {
        "string": ("STRING", "NULLABLE"), "integer": ("INTEGER", "NULLABLE"),
        "number": ("NUMERIC", "NULLABLE"), "time": ("TIMESTAMP", "NULLABLE"),
        "vector": ("FLOAT", "REPEATED"), "strings": ("STRING", "REPEATED"),
    }  # fmt: skip
    schema = [field(f.name, *kinds[f.kind]) for f in EVENT_FIELDS]
    assert event_columns(schema, "t") == [f.name for f in EVENT_FIELDS]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (GOOD[:2], "no column account_id"),
        ([*GOOD, field("embedding", "FLOAT")], "embedding is NULLABLE FLOAT"),
        ([*GOOD, field("tool_names", "STRING")], "tool_names is NULLABLE STRING"),
        ([*GOOD, field("turn_index", "STRING")], "turn_index is NULLABLE STRING"),
    ],
)
def test_another_layout_is_told(schema: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(DistilwatchError, match=said):
        event_columns(schema, "bigquery://p/d/t")
