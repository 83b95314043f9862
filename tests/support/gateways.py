"""What gateways would have written of requests, after the schemas that they publish."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

Event = dict[str, Any]
AGENT = "lab-sdk/3.1 python"


def started_ms(event: Event) -> int:
    """The time of a request in milliseconds."""
    at = event["event_time"]
    if isinstance(at, int):
        return at
    return round(datetime.fromisoformat(at).timestamp() * 1000)


def _messages(event: Event) -> list[dict[str, Any]]:
    """A conversation whose last turn is the event's; its history is no new text."""
    history: list[dict[str, Any]] = []
    for turn in range(event.get("turn_index") or 0):
        history += [
            {"role": "user", "content": f"earlier question {turn}"},
            {"role": "assistant", "content": f"earlier answer {turn}"},
        ]
    text = event.get("prompt_text")
    return [*history, {"role": "user", "content": [{"type": "text", "text": text}]}] if text else []


def _tools(event: Event) -> list[dict[str, Any]] | None:
    names = event.get("tool_names")
    return names and [{"type": "function", "function": {"name": name}} for name in names]


def litellm(event: Event) -> dict[str, Any]:
    """A standard logging payload."""
    at, status = started_ms(event) / 1000, event.get("status_code") or 200
    spend = {
        name: event.get(name)
        for name in ("payment_fingerprint", "account_created_at", "account_tier",
                     "account_segment", "country", "asn", "client_fingerprint")
    }  # fmt: skip
    failed = status >= 400
    return {
        "id": event["event_id"],
        "trace_id": "t-" + event["event_id"],
        "session_id": event.get("conversation_id"),
        "call_type": "acompletion",
        "stream": False,
        "response_cost": event.get("cost_usd"),
        "status": "failure" if failed else "success",
        "error_str": "nothing to see" if failed else None,
        "error_information": {"error_code": str(status), "error_class": "X"} if failed else None,
        "total_tokens": (event.get("input_tokens") or 0) + (event.get("output_tokens") or 0),
        "prompt_tokens": event.get("input_tokens"),
        "completion_tokens": event.get("output_tokens"),
        "startTime": at,
        "endTime": at + 1.5,
        "model_map_information": {"model_map_key": "m", "model_map_value": None},
        "model": event.get("model") and "upstream/" + event["model"],
        "model_group": event.get("model"),
        "api_base": "https://upstream.example",
        "metadata": {
            "user_api_key_hash": event.get("credential_id"),
            "user_api_key_alias": None,
            "user_api_key_org_id": event.get("organization_id"),
            "user_api_key_team_id": None,
            "user_api_key_user_id": event["account_id"],
            "spend_logs_metadata": spend,
            "requester_ip_address": event.get("ip_prefix"),
            "usage_object": {
                "completion_tokens_details": {"reasoning_tokens": event.get("reasoning_tokens")}
            },
        },
        "cache_hit": None,
        "request_tags": ["User-Agent: lab-sdk", f"User-Agent: {AGENT}"],
        "end_user": "",
        "requester_ip_address": None,
        "messages": _messages(event),
        "response": {"choices": [{"message": {"role": "assistant", "content": "an answer"}}]},
        "model_parameters": {
            "temperature": event.get("temperature"),
            "max_tokens": event.get("max_output_tokens"),
            "tools": _tools(event),
            "response_format": event.get("response_format") and {"type": event["response_format"]},
        },
        "hidden_params": {"model_id": None},
    }


def kong(event: Event) -> dict[str, Any]:
    """A log entry with the request's body, which Kong writes as a text."""
    headers = {
        "host": "gateway.example", "user-agent": AGENT, "authorization": "REDACTED",
        "x-ja3": None,
        "x-payment-fingerprint": event.get("payment_fingerprint"),
        "x-organization-id": event.get("organization_id"),
        "x-account-created-at": event.get("account_created_at"),
        "x-account-tier": event.get("account_tier"),
        "x-account-segment": event.get("account_segment"),
        "x-country": event.get("country"),
        "x-asn": event.get("asn") and str(event["asn"]),
        "x-conversation-id": event.get("conversation_id"),
    }  # fmt: skip
    body = {
        "model": event.get("model"), "messages": _messages(event),
        "temperature": event.get("temperature"), "max_tokens": event.get("max_output_tokens"),
        "tools": _tools(event),
        "response_format": event.get("response_format") and {"type": event["response_format"]},
    }  # fmt: skip
    return {
        "workspace": "w", "source": "upstream", "upstream_uri": "/v1/chat/completions?key=secret",
        "upstream_status": event.get("status_code") or 200,
        "client_ip": event.get("ip_prefix"),
        "started_at": started_ms(event),
        "tries": [{"ip": "192.0.2.1", "port": 443}],
        "request": {
            "id": event["event_id"], "uri": "/v1/chat/completions?key=secret", "method": "POST",
            "size": 323, "querystring": {}, "headers": headers,
        },
        "response": {"status": event.get("status_code") or 200, "size": 900, "headers": {}},
        "latencies": {"kong": 3, "proxy": 970, "request": 976},
        "consumer": {"id": "c-1", "username": "u", "custom_id": event["account_id"]},
        "authenticated_entity": {"id": event.get("credential_id")},
        "ai": {
            "ai-prompt-guard": {"meta": {"request_model": event.get("model") and "no"}},
            "proxy": {
                "payload": {"request": json.dumps(body), "response": "{}"},
                "meta": {
                    "request_model": event.get("model"), "provider_name": "openai",
                    "response_model": None, "operation_name": "chat", "llm_latency": 972,
                },
                "usage": {
                    "prompt_tokens": event.get("input_tokens"),
                    "completion_tokens": event.get("output_tokens"),
                    "completion_tokens_details": {
                        "reasoning_tokens": event.get("reasoning_tokens")
                    },
                    "cost": event.get("cost_usd"),
                },
            },
        },
    }  # fmt: skip


def span(event: Event) -> dict[str, Any]:
    """A span of the conventions for generative AI, as OTLP has it in JSON."""
    ids = int.from_bytes(hashlib.blake2b(event["event_id"].encode(), digest_size=16).digest())
    parts = [
        {"role": m["role"], "parts": [{"type": "text", "content": _content(m)}]}
        for m in _messages(event)
    ]
    named: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "lab",
        "gen_ai.request.model": event.get("model"),
        "gen_ai.conversation.id": event.get("conversation_id"),
        "gen_ai.request.temperature": event.get("temperature"),
        "gen_ai.request.max_tokens": event.get("max_output_tokens"),
        "gen_ai.usage.input_tokens": event.get("input_tokens"),
        "gen_ai.usage.output_tokens": event.get("output_tokens"),
        "gen_ai.usage.reasoning.output_tokens": event.get("reasoning_tokens"),
        "gen_ai.usage.cost": event.get("cost_usd"),
        "gen_ai.output.type": event.get("response_format"),
        "gen_ai.input.messages": json.dumps(parts) if parts else None,
        "gen_ai.tool.definitions": event.get("tool_names")
        and json.dumps([{"type": "function", "name": n} for n in event["tool_names"]]),
        "http.response.status_code": event.get("status_code"),
        "user.id": event["account_id"],
        "user.created_at": event.get("account_created_at"),
        "user.tier": event.get("account_tier"),
        "user.segment": event.get("account_segment"),
        "payment.fingerprint": event.get("payment_fingerprint"),
        "organization.id": event.get("organization_id"),
        "credential.id": event.get("credential_id"),
        "client.address": event.get("ip_prefix"),
        "geo.country.iso_code": event.get("country"),
        "client.as.number": event.get("asn"),
        "user_agent.original": AGENT,
        "request.id": event["event_id"],
        "tls.client.ja3": event.get("client_fingerprint"),
    }
    return {
        "traceId": f"{ids:032x}", "spanId": f"{ids % 2**64:016x}", "name": "chat",
        "kind": 2, "startTimeUnixNano": str(started_ms(event) * 1_000_000 + 1),
        "endTimeUnixNano": str(started_ms(event) * 1_000_000 + 900),
        "attributes": [_pair(k, v) for k, v in named.items() if v is not None],
        "status": {},
    }  # fmt: skip


def other_span(number: int) -> dict[str, Any]:
    """A span of a tool."""
    return {
        "traceId": f"{number:032x}", "spanId": f"{number:016x}", "name": "execute_tool",
        "startTimeUnixNano": "1780272000000000000",
        "attributes": [_pair("gen_ai.operation.name", "execute_tool")],
    }  # fmt: skip


def export(spans: Sequence[dict[str, Any]], **resource: Any) -> dict[str, Any]:
    """An export request with the spans of one resource."""
    pairs = [_pair(k.replace("__", "."), v) for k, v in resource.items()]
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [_pair("service.name", "gateway"), *pairs]},
                "scopeSpans": [{"scope": {"name": "made-up"}, "spans": list(spans)}],
            }
        ]
    }


def protobuf(request: dict[str, Any]) -> bytes:
    """The same in protobuf; ids are hex in JSON, other than protobuf's own JSON has them."""
    import base64

    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    copy = orjson.loads(orjson.dumps(request))
    for one in copy["resourceSpans"]:
        for scope in one["scopeSpans"]:
            for item in scope["spans"]:
                for name in ("traceId", "spanId"):
                    item[name] = base64.b64encode(bytes.fromhex(item[name])).decode()
    data: bytes = ParseDict(copy, ExportTraceServiceRequest()).SerializeToString()
    return data


def _content(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else str(content[0]["text"])


def _pair(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "value": _value(value)}


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": value}
