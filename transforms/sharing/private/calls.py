"""How requests and answers of private matching are signed, so that neither can be made up, changed
or played again: HMAC-SHA-256 under the token that the two labs share for this pair of roles."""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import NamedTuple

from schemas.errors import DistilwatchError

PEER, TIME, NONCE, SIGNATURE = (
    "x-distilwatch-peer",
    "x-distilwatch-time",
    "x-distilwatch-nonce",
    "x-distilwatch-signature",
)
SKEW_MS = 60_000  # of the two labs' clocks, and how long a request is on its way
PEER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_LEAST_TOKEN = 32


class Signed(NamedTuple):
    """What a signature of a request is of.

    Attributes:
      peer: name of the lab that asks.
      time_ms: milliseconds UTC.
      nonce: random, used once.
      method, path: of the request.
      body: bytes.
    """

    peer: str
    time_ms: int
    nonce: str
    method: str
    path: str
    body: bytes


def _mac(token: str, *parts: bytes) -> str:
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.new(token.encode(), framed, sha256).hexdigest()


def request_signature(token: str, signed: Signed) -> str:
    """Of a request, 64 hex digits."""
    texts = ("request", signed.peer, str(signed.time_ms), signed.nonce, signed.method, signed.path)
    return _mac(token, *(text.encode() for text in texts), sha256(signed.body).digest())


def answer_signature(token: str, nonce: str, status: int, body: bytes) -> str:
    """Of the answer to the request with that nonce, 64 hex digits."""
    return _mac(token, b"answer", nonce.encode(), str(status).encode(), sha256(body).digest())


def same(one: str, other: str) -> bool:
    """Compares signatures without telling by its time where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())


def checked_token(token: str, where: str) -> str:
    """A token that nobody guesses.

    Raises:
      DistilwatchError: when it is shorter than 32 characters.
    """
    if len(token) < _LEAST_TOKEN:
        raise DistilwatchError(
            f"a token of {len(token)} characters" if token else "there is no token",
            where,
            f"give both labs the same {_LEAST_TOKEN} random characters or more, "
            "such as of `openssl rand -hex 32`",
        )
    return token


def token_variable(peer: str) -> str:
    """The environment variable of a peer's token."""
    return "DISTILWATCH_MATCH_TOKEN_" + peer.upper().replace("-", "_")
