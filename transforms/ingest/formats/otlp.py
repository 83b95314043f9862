"""Spans of the OpenTelemetry conventions for generative AI, as OTLP in JSON or in protobuf.

A record is what an exporter of the OpenTelemetry Collector writes: one export request with the
spans of many resources. Spans are requests when `gen_ai.operation.name` says that something was
generated; spans of tools, agents and embeddings are others. Fields are looked for among the
attributes of the span, then of its events, then of its resource; conventions before 1.37 are read,
too.

https://github.com/open-telemetry/semantic-conventions-genai
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import msgspec

from schemas.errors import DistilwatchError, how_to_install
from transforms.ingest.formats import messages
from transforms.ingest.formats.reading import Fields, Read
from transforms.ingest.formats.values import milliseconds, whole
from transforms.ingest.refusals import Refused, refused_by

GENERATES = frozenset({"chat", "generate_content", "text_completion"})
DEFAULTS: dict[str, tuple[str, ...]] = {
    "account_id": ("user.id", "enduser.id"),
    "payment_fingerprint": ("payment.fingerprint",),
    "organization_id": ("organization.id",),
    "credential_id": ("credential.id",),
    "account_created_at": ("user.created_at",),
    "account_tier": ("user.tier",),
    "account_segment": ("user.segment",),
    "ip_prefix": ("client.address", "http.client_ip"),
    "country": ("geo.country.iso_code", "client.geo.country_iso_code"),
    "asn": ("client.as.number",),
    "client_fingerprint": ("tls.client.ja3", "user_agent.original", "http.user_agent"),
    "model": ("gen_ai.request.model", "gen_ai.response.model"),
    "endpoint": ("http.route", "url.path", "gen_ai.operation.name"),
    "conversation_id": ("gen_ai.conversation.id", "session.id"),
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "reasoning_tokens": ("gen_ai.usage.reasoning.output_tokens",),
    "max_output_tokens": ("gen_ai.request.max_tokens",),
    "temperature": ("gen_ai.request.temperature",),
    "response_format": ("gen_ai.output.type",),
    "cost_usd": ("gen_ai.usage.cost",),
    "status_code": ("http.response.status_code", "http.status_code"),
}
_MESSAGES = ("gen_ai.input.messages", "gen_ai.prompt")
_NUMBERED = re.compile(r"gen_ai\.prompt\.(\d{1,4})\.(role|content)")
_OLD_EVENTS = {"gen_ai.user.message": "user", "gen_ai.system.message": "system"}
_FAILED = 2  # STATUS_CODE_ERROR
_SPACE = b" \t\r\n"
_FIRST_TAG = b"\n"

Attributes = dict[str, Any]


class _Value(msgspec.Struct, rename="camel", gc=False):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    array_value: _Array | None = None
    kvlist_value: _Pairs | None = None


class _Array(msgspec.Struct, gc=False):
    values: list[_Value] | None = None


class _Pair(msgspec.Struct, gc=False):
    key: str
    value: _Value | None = None


class _Pairs(msgspec.Struct, gc=False):
    values: list[_Pair] | None = None


class _Status(msgspec.Struct, gc=False):
    code: int | str | None = None


class _Event(msgspec.Struct, gc=False):
    name: str = ""
    attributes: list[_Pair] | None = None


class _Span(msgspec.Struct, rename="camel", gc=False):
    trace_id: str = ""
    span_id: str = ""
    start_time_unix_nano: int | str | None = None
    attributes: list[_Pair] | None = None
    events: list[_Event] | None = None
    status: _Status | None = None


class _Scope(msgspec.Struct, gc=False):
    spans: list[msgspec.Raw] | None = None


class _Resource(msgspec.Struct, gc=False):
    attributes: list[_Pair] | None = None


class _ResourceSpans(msgspec.Struct, rename="camel", gc=False):
    resource: _Resource | None = None
    scope_spans: list[_Scope] | None = None


class _Request(msgspec.Struct, rename="camel", gc=False):
    resource_spans: list[_ResourceSpans]


_request = msgspec.json.Decoder(_Request).decode
_span = msgspec.json.Decoder(_Span).decode


def read(raw: bytes, places: dict[str, tuple[str, ...]]) -> Read:
    """Fields of the requests among the spans of a record.

    Args:
      raw: an export request, JSON or protobuf.
      places: attributes by field, the first that is there counts.

    Raises:
      Refused: it is neither.
      DistilwatchError: it is protobuf, and the library that reads it is not installed.
    """
    spans = _spans(raw)
    found: list[Fields | Refused] = []
    others = 0
    for span in spans:
        if isinstance(span, Refused):
            found.append(span)
        elif _is_request(span[1]):
            found.append(_fields(*span, places))
        else:
            others += 1
    return Read(found, others)


def _spans(raw: bytes) -> Iterator[_Parts | Refused]:
    if raw.lstrip(_SPACE)[:1] not in (b"{", b"["):
        return _protobuf_spans(raw)
    # Protobuf, too, begins with a line end, its first field's tag, and goes on with that field's
    # length, which may be the number of a brace.
    if raw[:1] == _FIRST_TAG:
        with suppress(Refused):
            return _json_spans(raw)
        return _protobuf_spans(raw)
    return _json_spans(raw)


_Parts = tuple[Fields, Attributes, list[tuple[str, Attributes]], Attributes]
"""Identity, time and status of a span; its attributes, events, and its resource's attributes."""


def _json_spans(raw: bytes) -> Iterator[_Parts | Refused]:
    try:
        request = _request(raw)
    except msgspec.ValidationError as error:
        raise refused_by(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("not_json") from None
    return _each_span(request)


def _each_span(request: _Request) -> Iterator[_Parts | Refused]:
    for one in request.resource_spans:
        resource = _named(one.resource.attributes if one.resource else None)
        for scope in one.scope_spans or ():
            for raw in scope.spans or ():
                try:
                    span = _span(raw)
                    yield _parts(span, resource)
                except msgspec.ValidationError as error:
                    yield refused_by(error)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    yield Refused("wrong_type")


def _parts(span: _Span, resource: Attributes) -> _Parts:
    code = span.status.code if span.status else None
    base = _base(
        span.trace_id, span.span_id, whole(span.start_time_unix_nano), code in (_FAILED,
        "STATUS_CODE_ERROR"),
    )  # fmt: skip
    events = [(event.name, _named(event.attributes)) for event in span.events or ()]
    return base, _named(span.attributes), events, resource


def _base(trace: str, span: str, start_ns: Any, failed: bool) -> Fields:
    identity = f"{trace}-{span}" if trace and span else None
    known = isinstance(start_ns, int) and not isinstance(start_ns, bool) and start_ns > 0
    return {
        "event_id": identity,
        "event_time": start_ns // 1_000_000 if known else start_ns or None,
        "status_code": 500 if failed else None,
    }


def _protobuf_spans(raw: bytes) -> Iterator[_Parts | Refused]:
    try:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )
    except ImportError as error:
        raise DistilwatchError(
            "OTLP in protobuf cannot be read: opentelemetry-proto is not installed",
            "ingest.format: otlp",
            f"{how_to_install('otlp')}, or let the exporter write otlp_json",
        ) from error
    try:
        request = ExportTraceServiceRequest.FromString(raw)
    except DecodeError:
        raise Refused("not_otlp") from None
    if not request.resource_spans:
        raise Refused("not_otlp")
    return _each_message(request)


def _each_message(request: Any) -> Iterator[_Parts]:
    for one in request.resource_spans:
        resource = _named_messages(one.resource.attributes)
        for scope in one.scope_spans:
            for span in scope.spans:
                yield (
                    _base(
                        span.trace_id.hex(), span.span_id.hex(), span.start_time_unix_nano,
                        span.status.code == _FAILED,
                    ),
                    _named_messages(span.attributes),
                    [(event.name, _named_messages(event.attributes)) for event in span.events],
                    resource,
                )  # fmt: skip


def _named(pairs: list[_Pair] | None) -> Attributes:
    return {pair.key: _plain(pair.value) for pair in pairs or ()}


def _plain(value: _Value | None) -> Any:
    if value is None:
        return None
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        return whole(value.int_value)
    if value.double_value is not None:
        return value.double_value
    if value.array_value is not None:
        return [_plain(item) for item in value.array_value.values or ()]
    if value.kvlist_value is not None:
        return _named(value.kvlist_value.values)
    return value.bool_value


def _named_messages(pairs: Iterable[Any]) -> Attributes:
    return {pair.key: _plain_message(pair.value) for pair in pairs}


def _plain_message(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain_message(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _named_messages(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def _is_request(attributes: Attributes) -> bool:
    operation = attributes.get("gen_ai.operation.name")
    if operation is None:  # before it was required
        return "gen_ai.request.model" in attributes
    return isinstance(operation, str) and operation in GENERATES


def _fields(
    base: Fields,
    attributes: Attributes,
    events: list[tuple[str, Attributes]],
    resource: Attributes,
    places: dict[str, tuple[str, ...]],
) -> Fields:
    around = [attributes, *(own for _, own in events), resource]

    def first(names: Iterable[str]) -> Any:
        for name in names:
            for own in around:
                value = own.get(name)
                if value is not None and value != "":
                    return value
        return None

    fields = base | {
        field: value for field, names in places.items() if (value := first(names)) is not None
    }
    if fields["status_code"] in (None, 500):
        error = whole(first(["error.type"]))
        if isinstance(error, int) and 100 <= error <= 999:
            fields["status_code"] = error
    if isinstance(fields.get("account_created_at"), float):
        fields["account_created_at"] = milliseconds(fields["account_created_at"])
    fields |= messages.fields_of(
        first(_MESSAGES) or _numbered(attributes) or _old(events),
        first(["gen_ai.system_instructions"]),
    )
    tools = messages.tool_names(first(["gen_ai.tool.definitions", "gen_ai.request.tools"]))
    return fields | ({"tool_names": tools} if tools else {})


def _numbered(attributes: Attributes) -> list[Fields]:
    """Messages that are spread over attributes with numbers in their names."""
    found: dict[int, Fields] = {}
    for name, value in attributes.items():
        match = _NUMBERED.fullmatch(name)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = value
    return [found[number] for number in sorted(found)]


def _old(events: list[tuple[str, Attributes]]) -> list[Fields]:
    """Messages that are events of the span, as they were before 1.37."""
    return [
        {"role": _OLD_EVENTS[name], "content": own.get("content")}
        for name, own in events
        if name in _OLD_EVENTS
    ]
