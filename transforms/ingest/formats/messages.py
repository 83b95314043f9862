"""What a request's messages say: its new text, its turn, its system prompt.

Read are the chat messages of OpenAI's and Anthropic's APIs, and those of the OpenTelemetry
conventions. The history that a request brings along was said before and is not read again: of a
conversation, the text that counts is the last message of the user.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from transforms.ingest.formats.reading import Fields

_USER = frozenset({"user", "human"})
_SYSTEM = frozenset({"system", "developer"})
REDACTED = frozenset({"redacted-by-litellm", "[REDACTED]"})


def fields_of(messages: Any, system: Any = None) -> Fields:
    """prompt_text, turn_index and system_prompt_hash of a request, those that can be told.

    Args:
      messages: a text, messages, or either as JSON.
      system: the system prompt where it is no message.
    """
    said = opened(messages)
    if isinstance(said, str):
        return {"prompt_text": _said(said), **_system([text_of(opened(system))])}
    if not isinstance(said, list):
        return _system([text_of(opened(system))])
    turns: list[str] = []
    rules = [text_of(opened(system))]
    for message in said:
        if isinstance(message, str):
            turns.append(message)
            continue
        if not isinstance(message, Mapping):
            continue
        role = str(message.get("role") or "user").lower()
        text = text_of(message.get("parts", message.get("content")))
        if role in _USER:
            turns.append(text)
        elif role in _SYSTEM:
            rules.append(text)
    found = _system(rules)
    if turns:
        found |= {"prompt_text": _said(turns[-1]), "turn_index": len(turns) - 1}
    return found


def opened(value: Any) -> Any:
    """A value that may have been packed into a text as JSON: an array or object of it."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def text_of(content: Any) -> str:
    """The text of a message's content: a text, or the texts among its parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        return ""
    return "\n".join(part for part in map(_part, content) if part)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping) or part.get("type", "text") not in ("text", "input_text"):
        return ""
    text = part.get("text", part.get("content"))
    return text if isinstance(text, str) else ""


def tool_names(tools: Any) -> list[str] | None:
    """Names of the tools that a request offers, in either API's form or OpenTelemetry's."""
    tools = opened(tools)
    if not isinstance(tools, list):
        return None
    found = []
    for tool in tools:
        if isinstance(tool, Mapping):
            inner = tool.get("function")
            name = tool.get("name") or (inner.get("name") if isinstance(inner, Mapping) else None)
            found.append(str(name or tool.get("type") or "tool"))
    return found


def response_format(value: Any) -> str | None:
    """The kind of answer that was asked for."""
    value = opened(value)
    if isinstance(value, Mapping):
        value = value.get("type")
    return value if isinstance(value, str) else None


def _said(text: str) -> str | None:
    return None if not text or text in REDACTED else text


def _system(rules: Iterable[str]) -> Fields:
    text = "\n".join(rule for rule in rules if rule and rule not in REDACTED)
    return {"system_prompt_hash": hashlib.sha256(text.encode()).hexdigest()} if text else {}
