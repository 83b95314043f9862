"""Canonical bytes of JSON objects, and who signed them.

Canonical is: keys sorted, no blanks, UTF-8, as RFC 8785 has it for the strings, integers and truth
values that our objects are made of. TAXII servers keep objects one by one and may write them anew,
so each object is signed by itself, over its canonical bytes without the signature.
"""

from __future__ import annotations

import base64
import binascii
import copy
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

EXTENSION = "extension-definition--03aa39ab-d2c5-5cd2-881f-987a95214e8d"
"""Id of the definition of our properties; the same in every lab and version."""


def canonical(value: Any) -> bytes:
    """Canonical JSON of plain values."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(data: bytes) -> str:
    """SHA-256, 64 hex digits."""
    return sha256(data).hexdigest()


def key_name(key: Ed25519PublicKey) -> str:
    """Short name of a public key: 16 hex digits of its SHA-256."""
    return sha256(key.public_bytes_raw()).hexdigest()[:16]


def signed(obj: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """A copy of an object with a signature among our properties."""
    out = _without_signature(obj)
    ours = out.setdefault("extensions", {}).setdefault(
        EXTENSION, {"extension_type": "property-extension"}
    )
    ours["signed_by"] = key_name(key.public_key())
    ours["signature"] = base64.b64encode(key.sign(canonical(out))).decode()
    return out


def is_signed_by(obj: Mapping[str, Any], keys: list[Ed25519PublicKey]) -> bool:
    """Whether one of the keys made an object's signature."""
    try:
        ours = obj["extensions"][EXTENSION]
        signature = base64.b64decode(ours["signature"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        return False
    message = canonical(_without_signature(obj))
    for key in keys:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            continue
        return bool(key_name(key) == ours.get("signed_by"))
    return False


def _without_signature(obj: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = copy.deepcopy(dict(obj))
    out.get("extensions", {}).get(EXTENSION, {}).pop("signature", None)
    return out
