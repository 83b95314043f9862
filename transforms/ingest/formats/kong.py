"""Log entries of Kong AI Gateway, as the plugins kafka-log, file-log and http-log write them.

A record is one entry, or an array of them. An entry of a request to a model has an object `ai` with
an object for each plugin that took part, that of the proxy among them. The prompt is there when the
proxy's `logging.log_payloads` is on. A request that Kong itself turned away has no `ai`: with the
status 403 or 429 it is kept all the same, because it tells of a block; other entries without are
no requests to a model.

https://developer.konghq.com/ai-gateway/ai-audit-log-reference/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transforms.ingest.formats import messages
from transforms.ingest.formats.documents import Document, parts_of, reader
from transforms.ingest.formats.reading import Fields, Read, completed
from transforms.ingest.formats.values import whole
from transforms.ingest.refusals import Refused

_HEADER = "request.headers."
DEFAULTS: dict[str, tuple[str, ...]] = {
    "event_id": ("request.id", "response.headers.x-kong-request-id"),
    "event_time": ("started_at",),
    "account_id": ("consumer.custom_id", "consumer.username", "consumer.id"),
    "payment_fingerprint": (_HEADER + "x-payment-fingerprint",),
    "organization_id": (_HEADER + "x-organization-id",),
    "credential_id": ("authenticated_entity.id",),
    "account_created_at": (_HEADER + "x-account-created-at",),
    "account_tier": (_HEADER + "x-account-tier",),
    "account_segment": (_HEADER + "x-account-segment",),
    "ip_prefix": ("client_ip",),
    "country": (_HEADER + "x-country", _HEADER + "cf-ipcountry"),
    "asn": (_HEADER + "x-asn",),
    "client_fingerprint": (_HEADER + "x-ja3", _HEADER + "user-agent"),
    "model": ("ai.*.meta.request_model", "ai.*.meta.response_model"),
    "endpoint": ("request.uri",),
    "conversation_id": (_HEADER + "x-conversation-id",),
    "input_tokens": ("ai.*.usage.prompt_tokens", "ai.*.usage.prompt_token"),
    "output_tokens": ("ai.*.usage.completion_tokens", "ai.*.usage.completion_token"),
    "reasoning_tokens": ("ai.*.usage.completion_tokens_details.reasoning_tokens",),
    "status_code": ("response.status",),
    "cost_usd": ("ai.*.usage.cost",),
}
_ALSO = ("ai", "ai.payload.request", "ai.*.payload.request", "ai.*.meta.operation_name")
_PREFER = ("proxy", "ai-proxy", "ai-proxy-advanced")
_BLOCKED = (403, 429)
_OTHERS = frozenset({"embeddings", "embedding", "rerank", "image", "audio"})


def read(raw: bytes, places: dict[str, tuple[str, ...]]) -> Read:
    """Fields of the requests of a record.

    Raises:
      Refused: it is neither a JSON object nor an array.
    """
    parse = reader(
        tuple(dict.fromkeys([*_ALSO, *(p for own in places.values() for p in own)])), _PREFER
    )
    parts = parts_of(raw)
    found: list[Fields | Refused] = []
    others = 0
    for part in parts:
        try:
            document = parse(part)
        except Refused as error:
            if len(parts) == 1:
                raise
            found.append(error)
            continue
        if _is_request(document):
            found.append(_fields(document, places))
        else:
            others += 1
    return Read(found, others)


def _is_request(document: Document) -> bool:
    ai = document.first(("ai",))
    if isinstance(ai, Mapping) and ai:
        operation = document.first(("ai.*.meta.operation_name",))
        return not (isinstance(operation, str) and operation in _OTHERS)
    return whole(document.first(("response.status",))) in _BLOCKED


def _fields(document: Document, places: dict[str, tuple[str, ...]]) -> Fields:
    fields: Fields = {field: document.first(paths) for field, paths in places.items()}
    if isinstance(fields["endpoint"], str):
        fields["endpoint"] = fields["endpoint"].split("?")[0]  # keys may follow
    asked = messages.opened(document.first(("ai.payload.request", "ai.*.payload.request")))
    return completed(fields, _of_request(asked)) if isinstance(asked, Mapping) else fields


def _of_request(asked: Mapping[str, Any]) -> Fields:
    """What the body of the request says, in OpenAI's or Anthropic's form."""
    said = next((asked[n] for n in ("messages", "input", "prompt") if asked.get(n)), None)
    limit = next(
        (asked[n] for n in ("max_completion_tokens", "max_output_tokens", "max_tokens")
         if asked.get(n) is not None), None,
    )  # fmt: skip
    return {
        **messages.fields_of(said, asked.get("system") or asked.get("instructions")),
        "max_output_tokens": limit,
        "temperature": asked.get("temperature"),
        "tool_names": messages.tool_names(asked.get("tools")),
        "response_format": messages.response_format(asked.get("response_format")),
    }
