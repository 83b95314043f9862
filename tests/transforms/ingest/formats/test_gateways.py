"""Documents of gateways against the same requests as events of contract 1."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DistilwatchError
from schemas.events import EVENT_FIELDS
from tests.support import gateways
from transforms.ingest.batch import DeadLetter, Decoded, Events, RecordBatch
from transforms.ingest.decode import Decoder
from transforms.ingest.forgotten import Forgotten, _words, note
from transforms.ingest.formats import adapter_of, defaults_of, names
from transforms.ingest.formats.values import prefix
from transforms.ingest.pseudonyms import Pseudonymiser
from transforms.ingest.refusals import FORGOTTEN

KEY = b"k" * 32
T0 = 1_780_272_000_000
SECRET = "the very secret prompt"
EVENTS: list[dict[str, Any]] = [
    {
        "event_id": f"e{i}", "event_time": T0 + 1000 * i, "account_id": f"acct-{i % 3}",
        "payment_fingerprint": f"card-{i % 2}", "organization_id": "org-1",
        "credential_id": "key-9", "account_created_at": "2026-01-05T00:00:00Z",
        "account_tier": "Pro", "account_segment": "api", "ip_prefix": "203.0.113.0/24",
        "country": "NL", "asn": 64500, "model": "big-1", "conversation_id": f"c{i}",
        "turn_index": i % 3, "prompt_text": f"{SECRET} {i}", "input_tokens": 10 + i,
        "output_tokens": 20, "reasoning_tokens": 5, "max_output_tokens": 400,
        "temperature": 0.25, "tool_names": ["search", "run"] if i % 2 else None,
        "response_format": "json_schema", "status_code": 429 if i == 4 else 200,
        "cost_usd": 0.004,
    }
    for i in range(6)
]  # fmt: skip
EVENTS.append({"event_id": "bare", "event_time": T0, "account_id": "acct-7"})


def decoder(form: str, **places: tuple[str, ...]) -> Decoder:
    return Decoder(Pseudonymiser(KEY), "model", 4, adapter=adapter_of(form, places))


def decode(form: str, *records: bytes, **places: tuple[str, ...]) -> Decoded:
    batch = RecordBatch("kafka://t", 3, np.arange(100, 100 + len(records)), list(records))
    return decoder(form, **places).decode(batch)


def records(form: str, events: list[dict[str, Any]]) -> list[bytes]:
    if form == "otlp":
        return [orjson.dumps(gateways.export([gateways.span(e) for e in events]))]
    make: Callable[[dict[str, Any]], Any] = getattr(gateways, form)
    return [orjson.dumps(make(event)) for event in events]


def bad(form: str) -> dict[str, Any]:
    """A request without an account."""
    event = EVENTS[0] | {"event_id": "spoilt", "account_id": "x"}
    if form == "otlp":
        span = gateways.span(event)
        span["attributes"] = [p for p in span["attributes"] if p["key"] != "user.id"]
        return span
    made: dict[str, Any] = getattr(gateways, form)(event)
    if form == "litellm":
        made["metadata"] |= {"user_api_key_user_id": None, "user_api_key_hash": ""}
    else:
        del made["consumer"]
    return made


def columns(events: Events, leave: tuple[str, ...]) -> dict[str, Any]:
    return {f.name: getattr(events, f.name) for f in fields(Events) if f.name not in leave}


@pytest.mark.parametrize("form", names())
def test_a_gateways_documents_are_the_events_that_they_tell_of(form: str) -> None:
    made = decode(form, *records(form, EVENTS))
    plain = Decoder(Pseudonymiser(KEY), "model", 4).decode(
        RecordBatch("kafka://t", 3, np.arange(len(EVENTS)), [orjson.dumps(e) for e in EVENTS])
    )
    assert made.refused == []
    assert made.texts == plain.texts
    # Spans have their own ids; contract 1 has the TLS fingerprint, gateways a user agent at best.
    leave = ("client", "event_hash") if form == "otlp" else ("client",)
    wanted = columns(plain.events, leave)
    found = columns(made.events, leave)
    for name, column in wanted.items():
        np.testing.assert_array_equal(found[name], column, err_msg=name)
    assert len(set(made.events.event_hash.tolist())) == len(EVENTS)
    assert made.events.client[0] != 0


def test_protobuf_says_what_json_says() -> None:
    request = gateways.export([gateways.span(e) for e in EVENTS])
    one = decode("otlp", orjson.dumps(request)).events
    two = decode("otlp", gateways.protobuf(request)).events
    for name, column in columns(one, ()).items():
        np.testing.assert_array_equal(getattr(two, name), column, err_msg=name)


@pytest.mark.parametrize("length", [ord("{"), ord("[")])
def test_protobuf_that_begins_as_json_does_is_protobuf(length: int) -> None:
    """Its first two bytes are a line end, the tag, and the length of what follows: a brace."""
    span = gateways.span(EVENTS[0])
    span["attributes"] = [a for a in span["attributes"] if a["key"] == "gen_ai.operation.name"]
    requests = (
        gateways.protobuf({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
        for span in ({**span, "name": "n" * padding} for padding in range(60))
    )
    raw = next(raw for raw in requests if raw[:2] == bytes([10, length]))
    # It is read, and has no account.
    (letter,) = decode("otlp", raw).refused
    assert letter.reason == "missing_field"


@pytest.mark.parametrize("form", ["litellm", "kong"])
def test_an_array_is_its_documents(form: str) -> None:
    each = [orjson.loads(r) for r in records(form, EVENTS)]
    whole = decode(form, orjson.dumps([*each, bad(form), 7]))
    assert len(whole.events) == len(EVENTS)
    (letter,) = whole.refused
    assert (letter.offset, letter.reason) == (100, "missing_field")
    assert "account_id" in letter.detail
    if form == "litellm":
        wrapped = orjson.dumps([{"standard_logging_object": one} for one in each])
        assert len(decode(form, wrapped).events) == len(EVENTS)


@pytest.mark.parametrize("form", names())
def test_what_is_spoilt_is_refused_and_its_neighbours_are_not(form: str) -> None:
    good = records(form, EVENTS[:2])
    spoilt = bad(form) if form != "otlp" else gateways.export([gateways.span(EVENTS[3]), bad(form)])
    found = decode(
        form, good[0], b"", orjson.dumps(spoilt), b"{", b"[1", b"\xff\xfe", b"{}" * 3, *good[1:]
    )
    assert len(found.events) == (3 if form == "otlp" else 2)
    assert found.empty == 1
    reasons = {letter.offset: letter.reason for letter in found.refused}
    assert reasons[102] == "missing_field"
    assert reasons[103] == "not_json"
    assert reasons[106] == ("missing_field" if form == "otlp" else "not_json")
    assert reasons[104] == ("wrong_type" if form == "otlp" else "not_json")
    assert reasons[105] == ("not_otlp" if form == "otlp" else "not_json")
    assert all(SECRET not in letter.detail for letter in found.refused)


@pytest.mark.parametrize(
    ("form", "document"),
    [
        ("litellm", gateways.litellm(EVENTS[0]) | {"call_type": "aembedding"}),
        ("litellm", gateways.litellm(EVENTS[0]) | {"call_type": "image_generation"}),
        ("kong", {k: v for k, v in gateways.kong(EVENTS[0]).items() if k != "ai"}),
        ("kong", gateways.kong(EVENTS[0]) | {"ai": {"proxy": {"meta": {
            "operation_name": "embeddings"}}}}),
        ("otlp", gateways.export([gateways.other_span(1)])),
        ("otlp", gateways.export([])),
    ],
)  # fmt: skip
def test_what_asks_no_model_is_only_counted(form: str, document: dict[str, Any]) -> None:
    found = decode(form, orjson.dumps(document))
    assert not found.refused
    assert len(found.events) == 0
    assert found.others == (0 if document == gateways.export([]) else 1)


def test_what_kong_turned_away_tells_of_a_block() -> None:
    entry = gateways.kong(EVENTS[4])
    del entry["ai"]
    events = decode("kong", orjson.dumps(entry)).events
    assert events.status.tolist() == [429]
    assert events.account.tolist() == ["acct-1"]


def test_places_can_be_set() -> None:
    document = gateways.litellm(EVENTS[0])
    document["end_user"] = 4711
    document["metadata"]["requester_custom_headers"] = {"x-card": "card-9"}
    events = decode(
        "litellm", orjson.dumps(document), account_id=("nowhere.at.all", "end_user"),
        payment_fingerprint=("metadata.requester_custom_headers.x-card",),
    ).events  # fmt: skip
    assert events.account.tolist() == ["4711"]
    assert events.payment.tolist() == [Pseudonymiser(KEY)("card-9")]
    spans = gateways.export([gateways.span(EVENTS[0])], tenant__id="t-1")
    assert decode("otlp", orjson.dumps(spans), account_id=("tenant.id",)).events.account == ["t-1"]


def test_a_place_that_was_set_comes_before_what_is_made_of_the_request() -> None:
    entry = gateways.kong(EVENTS[0])
    entry["request"]["headers"] |= {"x-limit": "50", "x-cost": "0.75"}
    places = {
        "max_output_tokens": ("request.headers.x-limit",),
        "cost_usd": ("request.headers.x-nowhere", "request.headers.x-cost"),
        "response_format": ("request.headers.x-nowhere",),
    }
    events = decode("kong", orjson.dumps(entry), **places).events
    assert events.max_output_tokens.tolist() == [50]
    assert events.cost_microusd.tolist() == [750_000]
    assert events.structured.tolist() == [True]  # as the request says
    payload = gateways.litellm(EVENTS[4])
    payload["metadata"]["requester_metadata"] = {"form": "text"}
    places = {
        "response_format": ("metadata.requester_metadata.form",),
        "status_code": ("metadata.requester_metadata.nowhere",),
    }
    events = decode("litellm", orjson.dumps(payload), **places).events
    assert events.structured.tolist() == [False]
    assert events.status.tolist() == [429]


def test_an_address_goes_no_further_than_its_network() -> None:
    assert prefix("203.0.113.77") == "203.0.113.0/24"
    assert prefix("2001:db8:1:2::9%eth0") == "2001:db8:1::/48"
    assert prefix("::ffff:203.0.113.5") == "203.0.113.0/24"
    assert prefix("unix:/tmp/socket") is None
    assert prefix("203.0.113.77/32") == "203.0.113.0/24"
    assert prefix("2001:db8:1:2::9/128") == "2001:db8:1::/48"
    assert prefix("::ffff:203.0.113.5/128") == "203.0.113.0/24"
    assert prefix("10.1.2.3/8") == "10.0.0.0/8"


@pytest.mark.parametrize("form", names())
def test_an_address_and_an_agent_become_less_wherever_they_are_found(form: str) -> None:
    at = adapter_of(form, {"ip_prefix": ("address",), "client_fingerprint": ("agent",)})
    assert at is not None
    document: Any = orjson.loads(records(form, EVENTS[:1])[0])
    said = {"address": "203.0.113.77", "agent": "curl/8.5.0 of anna@example.org"}
    if form == "otlp":
        document = gateways.export([gateways.span(EVENTS[0])], **said)
    else:
        document |= said
    (fields_found,), _ = at(orjson.dumps(document))
    assert isinstance(fields_found, dict)
    assert fields_found["ip_prefix"] == "203.0.113.0/24"
    assert fields_found["client_fingerprint"].startswith("ua-")


def test_texts_that_a_proxy_redacted_are_none() -> None:
    document = gateways.litellm(EVENTS[0])
    document["messages"] = [{"role": "user", "content": "redacted-by-litellm"}]
    assert decode("litellm", orjson.dumps(document)).texts == [None]


@pytest.mark.parametrize(
    "pairs",
    [
        [("gen_ai.prompt.1.role", "user"), ("gen_ai.prompt.1.content", SECRET),
         ("gen_ai.prompt.0.role", "system"), ("gen_ai.prompt.0.content", "rules")],
        [("gen_ai.system_instructions", '[{"type":"text","content":"rules"}]'),
         ("gen_ai.input.messages", json.dumps(
             [{"role": "user", "parts": [{"type": "text", "content": SECRET}]}]))],
    ],
)  # fmt: skip
def test_older_and_newer_conventions_say_the_same(pairs: list[tuple[str, str]]) -> None:
    span = gateways.span(EVENTS[6])
    span["attributes"] += [{"key": k, "value": {"stringValue": v}} for k, v in pairs]
    found = decode("otlp", orjson.dumps(gateways.export([span])))
    assert found.texts == [SECRET]
    assert found.events.turn.tolist() == [0]
    assert found.events.system_prompt[0] != 0


def test_nothing_is_kept_of_a_record_with_a_forgotten_account(tmp_path: Path) -> None:
    note(tmp_path / "list", KEY, "acct-1", "test", {})
    deciding = replace(decoder("otlp"), forgotten=Forgotten.open(tmp_path / "list", KEY))
    spans = [bad("otlp"), *(gateways.span(event) for event in EVENTS)]
    record = orjson.dumps(gateways.export(spans))
    found = deciding.decode(RecordBatch("t", 0, np.arange(1), [record]))
    (letter,) = found.refused
    assert (letter.reason, letter.raw) == (FORGOTTEN, b"")
    assert "acct-1" not in found.events.account.tolist()
    assert len(found.events) == 5


@pytest.mark.parametrize("form", ["events", *names()])
@pytest.mark.parametrize("how", ["cut off", "no time", "escaped"])
def test_nor_of_one_that_was_refused_before_its_account_was_read(
    tmp_path: Path, form: str, how: str
) -> None:
    """Broken JSON, a field of a wrong type, an id written with an escape: the bytes go all the
    same. Of an account whose id is only longer, they stay."""
    note(tmp_path / "list", KEY, "acct-1", "test", {})
    forgotten = Forgotten.open(tmp_path / "list", KEY)
    decoding = Decoder(
        Pseudonymiser(KEY), "model", 4, forgotten=forgotten,
        adapter=adapter_of(form, {}),
    )  # fmt: skip

    def letter(account: str) -> DeadLetter:
        event = EVENTS[1] | {"account_id": account}
        if how == "no time" and form == "events":
            event["event_time"] = [1]
        raw = orjson.dumps(event) if form == "events" else records(form, [event])[0]
        if how == "cut off":
            raw = raw[:-2]
        elif how == "escaped":
            raw = raw.replace(b'"acct', b'"\\u0061cct')[:-2]
        elif form != "events":
            raw = raw[: raw.rindex(b"}")]
        (found,) = decoding.decode(RecordBatch("t", 0, np.arange(1), [raw])).refused
        return found

    assert (letter("acct-1").reason, letter("acct-1").raw) == (FORGOTTEN, b"")
    assert letter("acct-12").reason != FORGOTTEN
    assert letter("acct-12").raw


@pytest.mark.parametrize("name", ["acct-1", "a", "é1", "x" * 40, '"quoted"', "4711"])
@pytest.mark.parametrize("before", [b"", b"\x0a\x06", b"\x02\x48\x50", b'"(', b"\x00"])
def test_names_are_found_in_binary_records(tmp_path: Path, name: str, before: bytes) -> None:
    note(tmp_path / "list", KEY, name, "test", {})
    forgotten = Forgotten.open(tmp_path / "list", KEY)
    raw = b"\x00\x01" + before + name.encode() + b"\x12\x08whatever"
    assert forgotten.named_in(raw)
    assert not forgotten.named_in(raw.replace(name.encode(), b"other"))
    assert not Forgotten().named_in(raw)


def test_a_text_that_never_ends_takes_no_square_of_time() -> None:
    """With quotes in it, as a gateway that cuts long records off leaves it: hours, otherwise."""
    raw = b'{"account_id": "acct-1", "prompt_text": "' + b'\\"' * 2_000_000
    assert list(_words(raw)) == ["account_id", "acct-1", "prompt_text"]


@pytest.mark.parametrize("form", names())
def test_a_decoder_travels_to_workers(form: str) -> None:
    again = pickle.loads(pickle.dumps(decoder(form)))
    batch = RecordBatch("t", 0, np.arange(1), records(form, EVENTS[:1]))
    assert len(again.decode(batch).events) == 1


def test_places_that_there_are_not_are_told() -> None:
    with pytest.raises(DistilwatchError, match="no input format"):
        adapter_of("helicone", {})
    with pytest.raises(DistilwatchError, match="cannot be set"):
        adapter_of("kong", {"prompt_text": ("x",)})
    with pytest.raises(DistilwatchError, match="have their fields where they are"):
        adapter_of("events", {"account_id": ("x",)})
    assert set(defaults_of("kong")) <= {f.name for f in EVENT_FIELDS}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


def mangled(document: Any, values: Any, at: int) -> Any:
    """The document with one of its values, the `at`th, replaced."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            places.append((node, key))
            if isinstance(value, dict | list):
                walk(value)

    walk(document)
    node, key = places[at % len(places)]
    node[key] = values
    return document


@pytest.mark.parametrize("form", names())
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 400), JSON, st.binary(max_size=40))
def test_no_document_stops_the_stream(form: str, at: int, value: Any, junk: bytes) -> None:
    good = records(form, EVENTS[:1])[0]
    odd = json.dumps(mangled(orjson.loads(good), value, at)).encode("utf-8", "replace")
    found = decode(form, good, odd, junk, good)
    assert 2 <= len(found.events) <= 3
    assert len(found.events) + len(found.refused) + found.others + found.empty <= 5
    assert all(SECRET not in letter.detail for letter in found.refused)
    assert all(letter.raw in (odd, junk) for letter in found.refused)
