"""What was promised stays: events in, tables out."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import fastavro
import jsonschema
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import events, generate
from schemas.errors import DistilwatchError
from schemas.promise import added_to
from schemas.tables import TABLES, normalise_row
from transforms.ingest.batch import NO_WATERMARK, Decoded, RecordBatch
from transforms.ingest.decode import Decoder
from transforms.ingest.events import RequestEvent
from transforms.ingest.pseudonyms import Pseudonymiser

PROMISED = json.loads((Path(__file__).parent / "contract_v1.json").read_text(encoding="utf-8"))
GOOD: dict[str, Any] = {
    "event_id": "e1",
    "event_time": "2026-06-01T12:00:00Z",
    "account_id": "a1",
    "payment_fingerprint": "pm_4242424242",
    "prompt_text": "How do I reverse a list in Python?",
}
DECODER = Decoder(Pseudonymiser(b"k" * 32), "distilwatch-hashing-v1", 384)


def decode(*records: bytes) -> Decoded:
    values = list(records)
    return DECODER.decode(
        RecordBatch("test", 0, np.arange(len(values), dtype=np.int64), values, NO_WATERMARK)
    )


def test_the_contracts_keep_what_was_promised_and_new_columns_are_noted() -> None:
    """What is not noted could be taken away again unseen; `make generate` notes what is new."""
    assert added_to(PROMISED) == PROMISED


def _changed(change: str) -> dict[str, Any]:
    """A promise that today's contracts break, or not."""
    before: dict[str, Any] = deepcopy(PROMISED)
    sessions = before["tables"]["session_scores"]
    if change == "a column is gone":
        sessions["columns"].append(["gone", "STRING", "NULLABLE", []])
    elif change == "a column moved":
        sessions["columns"][0], sessions["columns"][1] = sessions["columns"][1::-1]
    elif change == "another type":
        sessions["columns"][0][1] = "INT64"
    elif change == "another mode":
        sessions["columns"][7][2] = "REQUIRED"
    elif change == "a field of a record is gone":
        features = next(c for c in sessions["columns"] if c[0] == "features")
        features[3].append(["gone", "STRING"])
    elif change == "another key":
        sessions["key"] = ["session_id"]
    elif change == "a new column is required":
        del sessions["columns"][-1], sessions["columns"][9:]
    elif change == "a table is gone":
        before["tables"]["gone"] = {"key": [], "columns": []}
    elif change == "an event field is gone":
        before["event"]["gone"] = ["string", False]
    elif change == "a new event field is required":
        del before["event"]["account_id"]
    return before


@pytest.mark.parametrize(
    "change",
    [
        "a column is gone", "a column moved", "another type", "another mode",
        "a field of a record is gone", "another key", "a new column is required",
        "a table is gone", "an event field is gone", "a new event field is required",
    ],
)  # fmt: skip
def test_every_change_but_an_addition_is_refused(change: str) -> None:
    with pytest.raises(DistilwatchError):
        added_to(_changed(change))


def test_what_is_added_is_promised_from_then_on() -> None:
    before = deepcopy(PROMISED)
    del before["tables"]["session_scores"]["columns"][-1]
    del before["tables"]["sightings"]
    del before["event"]["cost_usd"]
    assert added_to(before) == PROMISED


def test_generated_files_are_what_the_contracts_say() -> None:
    assert generate.stale() == []


def test_the_decoder_knows_the_fields_of_the_contract_and_no_others() -> None:
    assert set(RequestEvent.__struct_fields__) == {f.name for f in events.EVENT_FIELDS} | {
        "schema_version"
    }


_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=20),
    "integer": st.integers(-(2**40), 2**40),
    "number": st.floats(-1e6, 1e6, allow_nan=False),
    "time": st.integers(1_500_000_000_000, 1_700_000_000_000),
    "strings": st.lists(st.text(max_size=5), max_size=3),
    "wrong": st.sampled_from([True, {"a": 1}, [[1]], [None]]),
}


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_the_json_schema_accepts_what_the_decoder_accepts(data: st.DataObject) -> None:
    """One field of a good event gets any value; times and vectors have rules beyond their type."""
    changeable = [f for f in events.EVENT_FIELDS if f.kind != "vector"]
    field = data.draw(st.sampled_from(changeable))
    kinds = [k for k in _VALUES if not (field.kind == "time" and k in ("string", "number"))]
    value = data.draw(_VALUES[data.draw(st.sampled_from(kinds))] | st.none())
    if field.kind == "time" and isinstance(value, int) and value < 1_420_070_400_000:
        value = 1_600_000_000_000
    if isinstance(value, float) and value.is_integer():
        value += 0.5  # JSON Schema counts 2.0 as an integer
    event = GOOD | {field.name: value}
    valid = jsonschema.Draft202012Validator(events.json_schema()).is_valid(event)
    decoded = decode(orjson.dumps(event, option=orjson.OPT_NON_STR_KEYS))
    assert (len(decoded.events) == 1) == valid


def test_an_event_survives_avro() -> None:
    import io

    schema = fastavro.parse_schema(events.avro_schema())
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, GOOD)
    buffer.seek(0)
    read = fastavro.schemaless_reader(buffer, schema, None)
    assert {name: read[name] for name in GOOD} == GOOD


@pytest.mark.parametrize("name", list(TABLES))
def test_avro_schemas_of_tables_parse(name: str) -> None:
    fastavro.parse_schema(TABLES[name].avro())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (b"not json", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[1]", "wrong_type"),
        ({"event_id": None}, "wrong_type"),
        ({"account_id": ""}, "empty_id"),
        ({"schema_version": 2}, "unknown_schema_version"),
        ({"event_time": "soon"}, "time_unparseable"),
        ({"event_time": 4_102_444_800_000}, "time_in_future"),
        ({"event_time": "1999-01-01T00:00:00Z"}, "time_too_old"),
        ({"embedding": [1.0, 2.0]}, "vector_wrong_length"),
        ({"embedding": "%%%"}, "vector_undecodable"),
        ({"embedding": "AH4=" * 192, "embedding_dtype": "float16"}, "vector_undecodable"),
        ({"embedding": [1e39] * 384}, "vector_not_finite"),
        ({"prompt_text": "x" * 17_000_000}, "record_too_large"),
    ],
)
def test_each_bad_record_has_its_reason_and_leaves_the_others_alone(
    change: bytes | dict[str, Any], reason: str
) -> None:
    bad = change if isinstance(change, bytes) else orjson.dumps(GOOD | change)
    others = [orjson.dumps(GOOD | {"event_id": f"e{i}"}) for i in range(4)]
    mixed, clean = decode(others[0], bad, *others[1:]), decode(*others)
    assert [letter.reason for letter in mixed.refused] == [reason]
    assert mixed.refused[0].offset == 1
    assert mixed.texts == clean.texts
    for name in clean.events.__dataclass_fields__:
        np.testing.assert_array_equal(
            getattr(mixed.events, name), getattr(clean.events, name), name
        )


def test_ten_megabytes_of_text_are_cut_not_refused() -> None:
    decoded = decode(orjson.dumps(GOOD | {"prompt_text": "word " * 2_000_000}))
    assert len(decoded.events) == 1
    assert decoded.texts[0] is not None
    assert len(decoded.texts[0]) == DECODER.max_text_chars


def test_late_is_behind_the_watermark_by_more_than_is_allowed() -> None:
    at = 1_780_000_000_000
    records = [orjson.dumps(GOOD | {"event_time": at - d}) for d in (0, 3_600_000, 3_600_001)]
    batch = RecordBatch("test", 0, np.arange(3, dtype=np.int64), records, at)
    decoded = DECODER.decode(batch)
    assert len(decoded.events) == 2
    assert [letter.reason for letter in decoded.refused] == ["late"]


def test_times_with_offsets_and_milliseconds_are_the_same_instant() -> None:
    times = ["2026-06-01T12:00:00.250Z", "2026-06-01T14:00:00.250+02:00", 1_780_315_200_250]
    decoded = decode(*(orjson.dumps(GOOD | {"event_time": t}) for t in times))
    assert set(decoded.events.time_ms.tolist()) == {1_780_315_200_250}


def test_details_of_dead_letters_never_quote_the_record() -> None:
    secret = "pm_secret_4242"
    for change in ({"payment_fingerprint": [secret]}, {"prompt_text": {secret: secret}}):
        [letter] = decode(orjson.dumps(GOOD | change)).refused
        assert secret not in letter.detail


def test_payment_fingerprints_become_pseudonyms_of_the_key() -> None:
    record = orjson.dumps(GOOD)
    other = Decoder(Pseudonymiser(b"z" * 32), "distilwatch-hashing-v1", 384)
    batch = RecordBatch("test", 0, np.zeros(1, np.int64), [record], NO_WATERMARK)
    one, two = decode(record).events.payment[0], other.decode(batch).events.payment[0]
    assert GOOD["payment_fingerprint"] not in one
    assert one != two
    assert one == decode(record).events.payment[0]


def test_a_bad_row_is_named_with_table_and_column() -> None:
    row = {"run_id": "r", "metric": "read", "value": "many"}
    with pytest.raises(DistilwatchError) as caught:
        normalise_row(TABLES["run_health"], row)
    assert "run_health" in caught.value.where
    assert "value" in caught.value.where
