"""The standard logging payload of the LiteLLM proxy, one for each finished or failed call.

A record is one payload, an array of them (as the generic API callback sends), or an object with the
payload under `standard_logging_object` (as callbacks get it).

https://docs.litellm.ai/docs/proxy/logging_spec
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from transforms.ingest.formats import messages
from transforms.ingest.formats.documents import Document, parts_of, reader
from transforms.ingest.formats.reading import Fields, Read, completed
from transforms.ingest.formats.values import milliseconds, whole
from transforms.ingest.refusals import Refused

_SPEND, _ASKED = "metadata.spend_logs_metadata.", "metadata.requester_metadata."
DEFAULTS: dict[str, tuple[str, ...]] = {
    "event_id": ("id",),
    "event_time": ("startTime",),
    "account_id": ("metadata.user_api_key_user_id", "metadata.user_api_key_hash"),
    "payment_fingerprint": (_SPEND + "payment_fingerprint", _ASKED + "payment_fingerprint"),
    "organization_id": ("metadata.user_api_key_org_id", "metadata.user_api_key_team_id"),
    "credential_id": ("metadata.user_api_key_hash",),
    "account_created_at": (_SPEND + "account_created_at",),
    "account_tier": (_SPEND + "account_tier",),
    "account_segment": (_SPEND + "account_segment",),
    "ip_prefix": ("requester_ip_address", "metadata.requester_ip_address"),
    "country": (_SPEND + "country",),
    "asn": (_SPEND + "asn",),
    "client_fingerprint": (_SPEND + "client_fingerprint",),
    "model": ("model_group", "model"),
    "endpoint": ("call_type",),
    "conversation_id": ("session_id",),
    "input_tokens": ("prompt_tokens",),
    "output_tokens": ("completion_tokens",),
    "reasoning_tokens": ("metadata.usage_object.completion_tokens_details.reasoning_tokens",),
    "max_output_tokens": (
        "model_parameters.max_completion_tokens",
        "model_parameters.max_tokens",
        "model_parameters.max_output_tokens",
    ),
    "temperature": ("model_parameters.temperature",),
    "cost_usd": ("response_cost",),
}
_ALSO = (
    "call_type", "status", "error_information.error_code", "messages", "request_tags",
    "model_parameters.tools", "model_parameters.response_format", "model_parameters.system",
    "model_parameters.instructions",
)  # fmt: skip
_GENERATES = re.compile(r"completion|responses|anthropic_messages|generate_content|pass_through")
_AGENT = "User-Agent: "


class _Wrapper(msgspec.Struct, gc=False):
    standard_logging_object: msgspec.Raw = msgspec.Raw(b"")


_wrapper = msgspec.json.Decoder(_Wrapper).decode


def read(raw: bytes, places: dict[str, tuple[str, ...]]) -> Read:
    """Fields of the requests of a record.

    Raises:
      Refused: it is neither a JSON object nor an array.
    """
    parse = reader(tuple(dict.fromkeys([*_ALSO, *(p for own in places.values() for p in own)])))
    parts = parts_of(raw)
    found: list[Fields | Refused] = []
    others = 0
    for part in parts:
        try:
            document = parse(_unwrapped(part))
        except Refused as error:
            if len(parts) == 1:
                raise
            found.append(error)
            continue
        call = document.first(("call_type",))
        if isinstance(call, str) and not _GENERATES.search(call):
            others += 1
        else:
            found.append(_fields(document, places))
    return Read(found, others)


def _unwrapped(part: bytes | msgspec.Raw) -> bytes | msgspec.Raw:
    if b'"standard_logging_object"' not in memoryview(part).tobytes()[:4096]:
        return part
    try:
        return _wrapper(part).standard_logging_object or part
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return part  # to be refused with its reason


def _fields(document: Document, places: dict[str, tuple[str, ...]]) -> Fields:
    fields: Fields = {field: document.first(paths) for field, paths in places.items()}
    fields["event_time"] = milliseconds(fields["event_time"])
    if fields["client_fingerprint"] is None:
        fields["client_fingerprint"] = _agent(document.first(("request_tags",)))
    system = document.first(("model_parameters.system", "model_parameters.instructions"))
    fields |= messages.fields_of(document.first(("messages",)), system)
    tools = messages.tool_names(document.first(("model_parameters.tools",)))
    wanted = messages.response_format(document.first(("model_parameters.response_format",)))
    said = {"tool_names": tools, "response_format": wanted, "status_code": _status(document)}
    return completed(fields, said)


def _status(document: Document) -> int | None:
    if document.first(("status",)) != "failure":
        return 200
    code = whole(document.first(("error_information.error_code",)))
    return code if isinstance(code, int) and 100 <= code <= 999 else 500


def _agent(tags: Any) -> str | None:
    """The proxy puts the user agent among the tags, once short and once with its version."""
    if not isinstance(tags, list):
        return None
    agents = [t[len(_AGENT) :] for t in tags if isinstance(t, str) and t.startswith(_AGENT)]
    return max(agents, key=len, default=None)
