"""What is matched: identifiers in the one form that both labs give them before they are hashed.

Two labs find a match only when they hold the same text. A payment fingerprint is worth matching
where it is the same at every merchant (such as EMVCo's Payment Account Reference, or a hash that
the forum agreed on), and not where the processor makes one for each merchant.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from transforms.coverage.layout import Items
from transforms.ingest.hashing import hash64
from transforms.sharing.private import voprf

PAYMENT, DEVICE, NETWORK = "payment", "device", "network"
KINDS: Mapping[str, Items] = {
    PAYMENT: Items.PAYMENT, DEVICE: Items.CLIENT, NETWORK: Items.NETWORK,
}  # fmt: skip
_VERSION = b"distilwatch-identifier-v1"
_MOST_BYTES = 1_024
_SEPARATORS = str.maketrans("", "", " -\t")


class Sealed(NamedTuple):
    """An identifier as it is kept once its text is gone.

    Attributes:
      kind: payment, device or network.
      local: what this lab's own tables and sketches call it, 14 hex digits (see `local_name`).
      point: 32 bytes, s·H(x), which says nothing to those without this lab's scalar s.
    """

    kind: str
    local: str
    point: bytes


def canonical(kind: str, value: str) -> bytes:
    """The form that is hashed: Unicode NFKC, no case; in payments no spaces or hyphens, and of a
    network the usual form of its prefix, whichever of its addresses it was written with.

    Raises:
      ValueError: when the kind is unknown, nothing or too much is left, or a network is none.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of identifier: {kind}")
    text = unicodedata.normalize("NFKC", value).strip().casefold()
    if kind == PAYMENT:
        text = text.translate(_SEPARATORS)
    if kind == NETWORK:
        try:
            text = str(ipaddress.ip_network(text, strict=False))
        except ValueError:  # whose message has the text in it
            raise ValueError("an identifier that is no network") from None
    data = text.encode()
    if not 0 < len(data) <= _MOST_BYTES:
        raise ValueError(f"an identifier of {len(data)} bytes")
    return data


def point_of(kind: str, value: str) -> bytes:
    """H(x), 32 bytes; identifiers of two kinds and the same text have different points."""
    parts = (_VERSION, kind.encode(), canonical(kind, value))
    return voprf.hash_to_group(b"".join(len(p).to_bytes(2, "big") + p for p in parts))


def local_name(name: str) -> str:
    """What sketches and links call a thing: of a payment from its pseudonym, of a device from its
    fingerprint, of a network from its prefix as the events have it."""
    return f"{hash64(name) >> 8:014x}"
