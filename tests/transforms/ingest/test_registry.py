"""Records in the wire format of a schema registry: old and new ones, spoilt ones, and outages."""

from __future__ import annotations

import base64
import io
import json
import pickle
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import fastavro
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DistilwatchError
from schemas.events import avro_schema
from tests.support.registry import Registry, basic, registry_running
from transforms.ingest.batch import Decoded, RecordBatch, encode_events
from transforms.ingest.decode import Decoder
from transforms.ingest.pseudonyms import Pseudonymiser
from transforms.ingest.registry import (
    SchemaRegistry,
    UnknownSchema,
    UnusableSchema,
    Writer,
    framed,
    schema_id,
)

DIM = 4
T0 = 1_780_272_000_000
EVENT: dict[str, Any] = {
    "event_id": "e1", "event_time": T0, "account_id": "a1", "payment_fingerprint": "pm_1",
    "prompt_text": "What is a monad?", "temperature": 0.5, "tool_names": ["search"],
    "input_tokens": 12, "embedding": [1.0, 2.0, 3.0, 4.0], "asn": 64500,
}  # fmt: skip
OLD = {
    "type": "record", "name": "Request", "namespace": "com.lab", "fields": [
        {"name": "event_id", "type": "string"},
        {"name": "event_time", "type": "long"},
        {"name": "account_id", "type": "string"},
    ],
}  # fmt: skip
# Newer than we are, and freer: fields that contract 1 has not, enums, logical types, bytes.
NEW = {
    "type": "record", "name": "RequestV9", "namespace": "com.lab", "fields": [
        {"name": "trace", "type": {"type": "record", "name": "Trace", "fields": [
            {"name": "parent", "type": ["null", "com.lab.RequestV9"], "default": None},
            {"name": "id", "type": {"type": "fixed", "name": "Id", "size": 2}}]}},
        {"name": "event_id", "type": "string"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "account_id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "account_tier", "type": {"type": "enum", "name": "Tier",
                                          "symbols": ["FREE", "API"]}},
        {"name": "account_created_at", "type": ["null", {"type": "int", "logicalType": "date"}]},
        {"name": "cost_usd", "type": ["null", "int", "float"]},
        {"name": "input_tokens", "type": "int"},
        {"name": "embedding", "type": ["null", "bytes"]},
        {"name": "region", "type": "string"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Registry]:
    with registry_running() as registry:
        yield registry


@pytest.fixture(autouse=True)
def _fresh(server: Registry) -> None:
    server.asked.clear()
    server.failures.clear()
    server.auth = None


def decoder(server: Registry, **options: Any) -> Decoder:
    schemas = SchemaRegistry(server.url, **options)
    return Decoder(Pseudonymiser(b"k" * 32), "model", DIM, schemas=schemas)


def avro(schema: Any, record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


def decode(by: Decoder, *records: bytes) -> Decoded:
    return by.decode(RecordBatch("kafka://t", 0, np.arange(len(records)), list(records)))


def refusals(decoded: Decoded) -> list[tuple[str, int | None]]:
    return [(letter.reason, letter.schema_id) for letter in decoded.refused]


def test_avro_by_contract_one_is_the_same_event_as_json(server: Registry) -> None:
    number = server.register("requests-value", avro_schema())
    found = decode(decoder(server), framed(number, avro(avro_schema(), EVENT)), orjson.dumps(EVENT))
    assert not found.refused
    one, other = (encode_events(found.events.take(np.array([i]))) for i in range(2))
    assert one == other
    assert found.texts == ["What is a monad?"] * 2


def test_records_of_older_and_newer_producers_are_resolved_by_the_names_of_fields(
    server: Registry,
) -> None:
    old = server.register("old", OLD)
    new = server.register("new", NEW)
    vector = np.arange(1, 5, dtype="<f2").tobytes()
    when = datetime.fromtimestamp(T0 / 1000, UTC)
    newer = {
        "trace": {"parent": None, "id": b"xx"}, "event_id": "e2", "event_time": when,
        "account_id": UUID(int=7), "account_tier": "API", "account_created_at": when.date(),
        "cost_usd": 1, "input_tokens": 7, "embedding": vector, "region": "eu",
    }  # fmt: skip
    oldest = {"event_id": "e1", "event_time": T0, "account_id": "a1"}
    found = decode(decoder(server), framed(old, avro(OLD, oldest)), framed(new, avro(NEW, newer)))
    assert refusals(found) == []
    events = found.events
    assert events.time_ms.tolist() == [T0, T0]
    assert events.account.tolist() == ["a1", str(UUID(int=7))]
    assert events.peer.tolist() == ["|", "api|"]
    assert events.input_tokens.tolist() == [0, 7]
    assert events.cost_microusd.tolist() == [0, 1_000_000]
    assert found.has_vector.tolist() == [False, True]
    assert events.account_created_ms[1] == T0 // 86_400_000 * 86_400_000


def test_a_time_without_a_zone_is_utc_wherever_the_worker_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    local = {"type": "long", "logicalType": "local-timestamp-millis"}
    schema = {"type": "record", "name": "r", "fields": [{"name": "event_time", "type": local}]}
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        read = Writer(1, fastavro.parse_schema(schema)).read(avro(schema, {"event_time": T0}))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert read == {"event_time": T0}


def test_json_in_the_same_format_and_schemas_that_refer_to_others(server: Registry) -> None:
    as_json = server.register("json", {"type": "object"}, "JSON")
    server.register("com.lab/Who", {"type": "record", "name": "com.lab.Who", "fields": [
        {"name": "name", "type": "string"}]})  # fmt: skip
    whole = {**OLD, "fields": [*OLD["fields"], {"name": "who", "type": "com.lab.Who"}]}
    reference = {"name": "com.lab.Who", "subject": "com.lab/Who", "version": 1}
    number = server.register("whole", whole, references=[reference])
    alone = {
        **OLD,
        "fields": [
            *OLD["fields"],
            {
                "name": "who",
                "type": {
                    "type": "record",
                    "name": "com.lab.Who",
                    "fields": [{"name": "name", "type": "string"}],
                },
            },
        ],
    }
    record = {"event_id": "e", "event_time": T0, "account_id": "a", "who": {"name": "x"}}
    found = decode(
        decoder(server), framed(as_json, orjson.dumps(EVENT)), framed(number, avro(alone, record))
    )
    assert refusals(found) == []
    assert found.events.account.tolist() == ["a1", "a"]
    assert "/subjects/com.lab%2FWho/versions/1" in server.asked


def test_what_cannot_be_read_is_a_dead_letter_with_its_schema(server: Registry) -> None:
    good = server.register("good", OLD)
    protobuf = server.register("protobuf", 'syntax = "proto3";', "PROTOBUF")
    broken = server.register("broken", '{"type": "record"')
    dangling = server.register(
        "dangling", {**OLD, "fields": [{"name": "x", "type": "com.lab.Nobody"}]},
        references=[{"name": "com.lab.Nobody", "subject": "nobody", "version": 1}],
    )  # fmt: skip
    no_record = server.register("no_record", '"string"')
    record = avro(OLD, {"event_id": "e", "event_time": T0, "account_id": "secret"})
    bad_type = {**OLD, "fields": [*OLD["fields"][:2], {"name": "account_id", "type": "long"}]}
    typed = server.register("typed", bad_type)
    partial = server.register("partial", {**OLD, "fields": OLD["fields"][:2]})
    found = decode(
        decoder(server),
        framed(99_999, record),
        framed(protobuf, record),
        framed(broken, record),
        framed(dangling, record),
        framed(good, record[:-3]),
        framed(good, record + b"x"),
        framed(no_record, avro("string", "secret")),
        framed(typed, avro(bad_type, {"event_id": "e", "event_time": T0, "account_id": 3})),
        framed(partial, avro({**OLD, "fields": OLD["fields"][:2]},
                             {"event_id": "e", "event_time": T0})),
        b"\0\0",
        framed(good, record),
    )  # fmt: skip
    assert refusals(found) == [
        ("unknown_schema", 99_999), ("unusable_schema", protobuf), ("unusable_schema", broken),
        ("unusable_schema", dangling), ("not_avro", good), ("not_avro", good),
        ("not_avro", no_record), ("wrong_type", typed), ("missing_field", partial),
        ("not_json", None),
    ]  # fmt: skip
    assert len(found.events) == 1
    assert not any("secret" in letter.detail for letter in found.refused)


def test_without_a_registry_framed_records_are_dead_letters_that_say_so() -> None:
    plain = Decoder(Pseudonymiser(b"k" * 32), "model", DIM)
    found = decode(plain, framed(7, b"whatever"), orjson.dumps(EVENT))
    assert refusals(found) == [("no_registry", 7)]
    assert len(found.events) == 1


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_stop_the_stream(junk: bytes) -> None:
    writer = fastavro.parse_schema(NEW)
    schemas = SchemaRegistry("http://127.0.0.1:9")
    schemas._known[5] = Writer(5, writer)
    by = Decoder(Pseudonymiser(b"k" * 32), "model", DIM, schemas=schemas)
    found = decode(by, framed(5, junk), orjson.dumps(EVENT))
    assert len(found.events) + len(found.refused) == 2


def test_a_schema_is_asked_for_once_and_an_unknown_one_again_after_a_while(
    server: Registry,
) -> None:
    now = [0.0]
    schemas = SchemaRegistry(server.url, clock=lambda: now[0])
    number = server.register("once", OLD)
    for _ in range(3):
        assert schemas.writer(number).schema_id == number
    for _ in range(3):
        with pytest.raises(UnknownSchema):
            schemas.writer(77_777)
    assert server.asked == [f"/schemas/ids/{number}", "/schemas/ids/77777"]
    server.schemas[77_777] = {"schema": json.dumps(OLD)}
    now[0] += 60
    assert schemas.writer(77_777).avro is not None
    protobuf = server.register("twice", "x", "PROTOBUF")
    for _ in range(2):
        with pytest.raises(UnusableSchema):
            schemas.writer(protobuf)
    assert server.asked.count(f"/schemas/ids/{protobuf}") == 1


def test_many_records_of_a_schema_that_cannot_be_read_keep_nothing(server: Registry) -> None:
    schemas = SchemaRegistry(server.url)
    number = server.register("kept", "x", "PROTOBUF")
    frames = []
    for _ in range(3):
        with pytest.raises(UnusableSchema, match="protobuf is not read") as refused:
            schemas.writer(number)
        frames.append(len(list(traceback.walk_tb(refused.value.__traceback__))))
    # What is raised again and again would hold every frame that it came through, records and all.
    assert frames[0] == frames[2]


def test_known_schemas_are_read_while_another_is_waited_for(server: Registry) -> None:
    known, other = server.register("known", OLD), server.register("other", OLD)
    waiting, go_on = threading.Event(), threading.Event()

    def sleep(_: float) -> None:
        waiting.set()
        go_on.wait(300)

    schemas = SchemaRegistry(server.url, sleep=sleep)
    schemas.writer(known)
    server.failures = [503]
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(schemas.writer, other)
        try:
            assert waiting.wait(120)
            assert threads.submit(schemas.writer, known).result(120).schema_id == known
        finally:
            go_on.set()
        assert slow.result(120).schema_id == other


def test_an_outage_is_waited_out_and_nothing_is_refused_for_it(
    server: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    number = server.register("outage", OLD)
    server.failures = [503, 0, 500, 429]
    by = decoder(server, timeout_s=0.2, sleep=lambda _: None)
    record = avro(OLD, {"event_id": "e", "event_time": T0, "account_id": "a"})
    found = decode(by, framed(number, record))
    assert refusals(found) == []
    assert len(found.events) == 1
    assert [r.levelname for r in caplog.records if "reading waits" in r.message] == ["WARNING"]


def test_a_registry_that_stays_away_is_an_error_not_a_loss(server: Registry) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    schemas = SchemaRegistry(
        "http://127.0.0.1:9", timeout_s=0.2, patience_s=60, clock=lambda: now[0], sleep=sleep
    )
    with pytest.raises(DistilwatchError, match="no record is lost"):
        schemas.writer(1)
    assert 60 <= now[0] < 75
    with pytest.raises(DistilwatchError, match="does not answer"):
        schemas.check()


@pytest.mark.parametrize("how", ["basic", "token"])
def test_secrets_come_from_the_environment_and_are_never_told(
    server: Registry, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    number = server.register(f"auth-{how}", OLD)
    server.auth = basic("me", "secret") if how == "basic" else "Bearer secret"
    options = {"user": "me", "password_env": "REGISTRY"} if how == "basic" else {
        "token_env": "REGISTRY"}  # fmt: skip
    monkeypatch.delenv("REGISTRY", raising=False)
    with pytest.raises(DistilwatchError, match="REGISTRY is not set"):
        SchemaRegistry(server.url, **options).writer(number)
    monkeypatch.setenv("REGISTRY", "wrong-secret")
    with pytest.raises(DistilwatchError, match=r"refuses us \(401\)") as refused:
        SchemaRegistry(server.url, **options).writer(number)
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("REGISTRY", "secret")
    schemas = SchemaRegistry(server.url, **options)
    assert schemas.writer(number).schema_id == number
    copy = pickle.dumps(schemas)
    assert b"secret" not in copy
    assert pickle.loads(copy).writer(number).schema_id == number


def test_ids_are_read_from_the_frame_only() -> None:
    assert schema_id(framed(2**31, b"")) == 2**31
    assert schema_id(b"{}") is None
    assert schema_id(b"\0\0\0\1") is None
    assert schema_id(b"") is None


def test_base64_in_an_avro_string_is_a_vector_as_in_json(server: Registry) -> None:
    number = server.register("text-vector", avro_schema())
    text = base64.b64encode(np.ones(DIM, "<f2").tobytes()).decode()
    good = EVENT | {"embedding": text}
    bad = EVENT | {"embedding": "%%%"}
    found = decode(
        decoder(server), *(framed(number, avro(avro_schema(), one)) for one in (good, bad))
    )
    assert found.has_vector.tolist() == [True]
    assert refusals(found) == [("vector_undecodable", number)]


def test_the_address_is_told_without_its_user() -> None:
    assert SchemaRegistry("http://me:secret@host:1/api").place == "http://host:1/api"
