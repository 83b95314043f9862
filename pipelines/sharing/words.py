"""What `distilwatch share` shows people: what would leave, to the byte and in words."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from pipelines.sharing.store import Proposal
from transforms.sharing.canonical import EXTENSION
from transforms.sharing.select import Candidate
from transforms.sharing.stix import is_constant


def verdict_lines(candidates: Sequence[Candidate]) -> list[str]:
    """What leaves and what stays, and why."""
    lines = []
    for one in sorted(candidates, key=lambda c: c.indicator is None):
        mark = "leaves" if one.indicator is not None else "stays "
        sure = "" if one.indicator is None else f", confidence {one.indicator.confidence}"
        lines.append(f"  {mark}  {one.kind.value}: {one.what}{sure} ({one.why})")
    return lines


def proposal_line(one: Proposal) -> str:
    """A proposal in a line."""
    approved = f", approved by {one.approved_by}" if one.approved_by else ""
    return (
        f"{one.name}  {one.state:<8}  to {one.to}: {one.about}, {one.objects} objects, "
        f"{one.size:,} bytes; proposed by {one.proposed_by} {time_of(one.proposed_ms)}{approved}"
    )


def preview_lines(proposal: Proposal, data: bytes) -> list[str]:
    """All that a proposal would send, object by object; payloads as what is in them."""
    lines = [proposal_line(proposal), ""]
    constants = 0
    for obj in orjson.loads(data)["objects"]:
        if is_constant(obj):
            constants += 1
            continue
        lines.append(f"{obj['type']} {obj['id']}")
        for name, value in _told(obj).items():
            lines.append(f"    {name}: {value}")
    lines += [
        "",
        f"{constants} more are the same for everybody: markings, and what our properties mean.",
        f"SHA-256 of the {proposal.size:,} bytes: {proposal.digest}",
    ]
    return lines


def entry_line(entry: Mapping[str, Any]) -> str:
    """An entry of the log in a line."""
    left_out = ("seq", "at", "action", "prev", "hash", "payload", "policy")
    shown = {
        k: f"{len(v)}" if isinstance(v, list) else v for k, v in entry.items() if k not in left_out
    }
    told = " ".join(f"{k}={v}" for k, v in sorted(shown.items()) if v not in ("", None))
    return f"{entry['seq']:>5}  {time_of(entry['at'])}  {entry['action']:<8} {told}"


def time_of(ms: int) -> str:
    """A time for people."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _told(obj: Mapping[str, Any]) -> dict[str, Any]:
    told = {k: v for k, v in obj.items() if k not in ("type", "id", "spec_version", "extensions")}
    for name, value in obj.get("extensions", {}).get(EXTENSION, {}).items():
        if name == "payload":
            told["payload"] = _payload(value)
        elif name not in ("extension_type", "signature"):
            told[name] = value
    return told


def _payload(encoded: str) -> str:
    raw = orjson.loads(base64.b64decode(encoded))
    values = raw.pop("values", None)
    told = orjson.dumps(raw).decode()
    return (
        told if values is None else f"{told} and {len(base64.b64decode(values)) // 4} noisy cells"
    )
