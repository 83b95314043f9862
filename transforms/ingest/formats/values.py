"""Values as contract 1 has them, from those that gateways write."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from schemas.events import EVENT_FIELDS

_HASH = re.compile(r"[0-9A-Za-z_]{8,128}")
_TEXTS = frozenset(f.name for f in EVENT_FIELDS if f.kind == "string")
_WHOLE = frozenset(f.name for f in EVENT_FIELDS if f.kind == "integer")
_NUMBERS = frozenset(f.name for f in EVENT_FIELDS if f.kind == "number")


def settled(found: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with the types of contract 1 where nothing is lost by it; the rest is left as it is,
    to be refused by name. Numbers are taken for texts, and texts of digits for numbers. What
    identifies a person more than we need becomes less: an address its network, an agent a hash."""
    fields: dict[str, Any] = {}
    for name, value in found.items():
        if value is None:
            continue
        if name in _TEXTS and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        elif name in _WHOLE:
            value = whole(value)
        elif name in _NUMBERS and isinstance(value, str):
            value = _number(value)
        if name in _NARROWED and isinstance(value, str):
            value = _NARROWED[name](value)
        fields[name] = value
    return fields


def whole(value: Any) -> Any:
    """A whole number out of a text or a float that is one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        text = value.strip()
        # int() would take other scripts' digits, underscores and thousands of digits.
        if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20:
            return int(text)
    return value


def _number(value: str) -> Any:
    try:
        return float(value)
    except ValueError:
        return value


def milliseconds(seconds: Any) -> Any:
    """A time in seconds since 1970 as milliseconds; anything else, such as a text, as it is."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return seconds
    try:
        return round(seconds * 1000)
    except (ValueError, OverflowError):
        return "not finite"


@lru_cache(maxsize=1 << 16)
def prefix(address: str) -> str | None:
    """The network of an address: its /24, or its /48; None where it is none. The address itself
    goes no further. A network stays as it is, unless it is smaller than these."""
    host, slash, length = address.strip().partition("/")
    try:
        found = ipaddress.ip_interface(host.split("%")[0] + slash + length)
    except ValueError:
        return None
    ip, bits = found.ip, found.network.prefixlen
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip, bits = ip.ipv4_mapped, max(bits - 96, 0)
    most = 24 if ip.version == 4 else 48
    return str(ipaddress.ip_network((ip, min(bits, most)), strict=False))


@lru_cache(maxsize=1 << 16)
def client(agent: str) -> str:
    """A user agent as a client fingerprint; what is a hash already, such as of TLS, stays."""
    if _HASH.fullmatch(agent):
        return agent
    return "ua-" + hashlib.sha256(agent.encode("utf-8", "replace")).hexdigest()[:24]


_NARROWED = {"ip_prefix": prefix, "client_fingerprint": client}
