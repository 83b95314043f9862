"""Contract 1 as it is parsed, and the reason why a record is none of it."""

from __future__ import annotations

from typing import Any

import msgspec

from transforms.ingest.refusals import EMPTY, Refused, refused_by


class RequestEvent(msgspec.Struct, gc=False):
    """Contract 1 as it is parsed; see `schemas`."""

    event_id: str
    event_time: str | int
    account_id: str
    payment_fingerprint: str | None = None
    organization_id: str | None = None
    credential_id: str | None = None
    account_created_at: str | int | None = None
    account_tier: str | None = None
    account_segment: str | None = None
    ip_prefix: str | None = None
    country: str | None = None
    asn: int | None = None
    client_fingerprint: str | None = None
    model: str | None = None
    endpoint: str | None = None
    conversation_id: str | None = None
    turn_index: int | None = None
    system_prompt_hash: str | None = None
    prompt_text: str | None = None
    embedding: bytes | list[float] | None = None  # bytes: base64, decoded by the parser
    embedding_model: str | None = None
    embedding_dtype: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    tool_names: list[str] | None = None
    response_format: str | None = None
    status_code: int | None = None
    cost_usd: float | None = None
    schema_version: int = 1


class _AnyVector(RequestEvent, gc=False):
    """The same with a vector of any text, for records that the parser refuses: what is no base64
    has a reason of its own, and does not matter in a vector of another model."""

    embedding: str | list[float] | None = None  # type: ignore[assignment]


_parse = msgspec.json.Decoder(RequestEvent).decode
parse_lines = msgspec.json.Decoder(RequestEvent).decode_lines
_parse_any = msgspec.json.Decoder(_AnyVector).decode


def event_of(record: dict[str, Any]) -> RequestEvent:
    """A decoded record as an event; msgspec looks at names and types as it does in JSON."""
    try:
        return msgspec.convert(record, RequestEvent)
    except msgspec.ValidationError:
        pass
    try:
        return msgspec.convert(record, _AnyVector)
    except msgspec.ValidationError as error:
        raise refused_by(error) from None


def parse_record(raw: bytes) -> RequestEvent:
    try:
        return _parse(raw)
    except msgspec.ValidationError:
        return _parse_again(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("not_json" if raw else EMPTY) from None


def _parse_again(raw: bytes) -> RequestEvent:
    """Parses what was refused, to find the reason, or that only the vector is no base64."""
    try:
        return _parse_any(raw)
    except msgspec.ValidationError as error:
        raise refused_by(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("not_json") from None
