"""Contract 1, version 1: the request event, defined once. Its other forms are made from here.

Names follow the OpenTelemetry conventions for generative AI where these have one. Fields that are
not listed are ignored, so that a producer may send more than this version knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

EVENT_VERSION = 1

Kind = Literal["string", "integer", "number", "time", "vector", "strings"]

_JSON: dict[Kind, dict[str, Any]] = {
    "string": {"type": ["string", "null"]},
    "integer": {"type": ["integer", "null"]},
    "number": {"type": ["number", "null"]},
    "time": {"type": ["string", "integer", "null"]},
    "vector": {"type": ["string", "array", "null"], "items": {"type": "number"}},
    "strings": {"type": ["array", "null"], "items": {"type": "string"}},
}
_AVRO: dict[Kind, list[Any]] = {
    "string": ["string"],
    "integer": ["long"],
    "number": ["double"],
    "time": ["string", "long"],
    "vector": ["string", {"type": "array", "items": "float"}],
    "strings": [{"type": "array", "items": "string"}],
}
_WORDS: dict[Kind, str] = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "time": "RFC 3339 string (UTC without an offset), or integer milliseconds UTC, no seconds",
    "vector": "array of numbers, or base64 of little-endian float16 or float32",
    "strings": "array of strings",
}


@dataclass(frozen=True, slots=True)
class EventField:
    """A field of the event.

    Attributes:
      name: the same in JSON and Avro.
      kind: of its value.
      meaning: for people.
      required: whether an event without it is refused.
    """

    name: str
    kind: Kind
    meaning: str
    required: bool = False

    def json_schema(self) -> dict[str, Any]:
        """Its JSON Schema."""
        schema = dict(_JSON[self.kind])
        if self.required:
            allowed = [name for name in schema["type"] if name != "null"]
            schema["type"] = allowed if len(allowed) > 1 else allowed[0]
            if self.kind == "string":
                schema["minLength"] = 1
        return schema | {"description": self.meaning}

    def avro(self) -> dict[str, Any]:
        """Its Avro field."""
        kinds = _AVRO[self.kind]
        if self.required:
            kind = kinds if len(kinds) > 1 else kinds[0]
            return {"name": self.name, "doc": self.meaning, "type": kind}
        return {
            "name": self.name,
            "doc": self.meaning,
            "type": ["null", *kinds],
            "default": None,
        }

    def markdown(self) -> str:
        """Its row of the documentation."""
        required = "yes" if self.required else ""
        return f"| `{self.name}` | {_WORDS[self.kind]} | {required} | {self.meaning} |"


EVENT_FIELDS = (
    EventField("event_id", "string", "unique within the account, not empty; a repeat counts "
               "once (in a stream within `ingest.dedupe_horizon`, 1 h, and as long as an "
               "event is not late)", True),
    EventField("event_time", "time", "when the request was made. Refused: more than "
               "`ingest.max_future` (10 min) ahead of the clock, before "
               "`ingest.min_event_time` (2015), or later than "
               "`ingest.allowed_lateness` (1 h) behind the watermark", True),
    EventField("account_id", "string", "the lab's own opaque id, kept as it is; not empty", True),
    EventField("payment_fingerprint", "string", "becomes a keyed pseudonym on arrival"),
    EventField("organization_id", "string", "organization of the account"),
    EventField("credential_id", "string", "API key or login, as an opaque id"),
    EventField("account_created_at", "time", "when the account was opened; one that cannot be "
               "read refuses the record"),
    EventField("account_tier", "string", "with the segment, the account's peer group"),
    EventField("account_segment", "string", "consumer, api, enterprise, research …"),
    EventField("ip_prefix", "string", "network of the client, such as a /24 or /48"),
    EventField("country", "string", "country of the network; not used so far"),
    EventField("asn", "integer", "autonomous system number of the network; not used so far"),
    EventField("client_fingerprint", "string", "hash of TLS and user agent"),
    EventField("model", "string", "model that was asked"),
    EventField("endpoint", "string", "endpoint that was called; not used so far"),
    EventField("conversation_id", "string", "groups the turns of one conversation"),
    EventField("turn_index", "integer", "turn of the conversation, from 0"),
    EventField("system_prompt_hash", "string", "hash of the system prompt"),
    EventField("prompt_text", "string", "hashed on arrival, embedded where no vector came "
               "(`embedding.kind: hashing`), then dropped; its first `ingest.max_text_chars` "
               "(200,000) count"),
    EventField("embedding", "vector", "vector of the prompt, as long as the bundle's "
               "(`embedding.dim`, 384); another length, or what is not finite, refuses the record"),
    EventField("embedding_model", "string", "model that made the vector; of another than the "
               "bundle's the vector is left aside, none counts as the bundle's"),
    EventField("embedding_dtype", "string", "of a base64 vector: float32, or else float16"),
    EventField("input_tokens", "integer", "tokens of the prompt"),
    EventField("output_tokens", "integer", "tokens of the answer"),
    EventField("reasoning_tokens", "integer", "tokens of reasoning in it"),
    EventField("max_output_tokens", "integer", "limit that the request set"),
    EventField("temperature", "number", "sampling temperature; not used so far"),
    EventField("tool_names", "strings", "tools that were offered"),
    EventField("response_format", "string", "such as json_schema; a text, no object"),
    EventField("status_code", "integer", "HTTP status; 429 and 403 tell of a block"),
    EventField("cost_usd", "number", "list price of the request, for the exposure estimate"),
)  # fmt: skip


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of an event."""
    fields = {field.name: field.json_schema() for field in EVENT_FIELDS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "distilwatch request event",
        "type": "object",
        "required": [field.name for field in EVENT_FIELDS if field.required],
        "properties": fields | {"schema_version": {"const": EVENT_VERSION}},
    }


def avro_schema() -> dict[str, Any]:
    """Avro schema of an event."""
    version = {"name": "schema_version", "type": "int", "default": EVENT_VERSION}
    return {
        "type": "record",
        "name": "request_event",
        "namespace": f"distilwatch.v{EVENT_VERSION}",
        "fields": [*(field.avro() for field in EVENT_FIELDS), version],
    }


def markdown() -> str:
    """The section of the documentation."""
    head = [
        "## The request event, version 1",
        "",
        "One JSON object a request. Only three fields are required; what is missing, or null, "
        "makes the result poorer and never stops the run (`schema_version` may be missing, not "
        "null). A field of another type than here refuses the whole record, an optional one as "
        'well: 3.0 and "3" are no integers. What is refused is a dead letter '
        "([reasons](dead_letters.md#reasons)). Unknown fields are ignored.",
        "",
        "| field | type | required | meaning |",
        "|---|---|---|---|",
    ]
    rows = [field.markdown() for field in EVENT_FIELDS]
    return "\n".join([*head, *rows, "| `schema_version` | integer |  | 1 |", ""])
