"""A verifiable oblivious pseudorandom function: ristretto255 with SHA-512 of RFC 9497, mode VOPRF.

The group is that of the package `oblivious` (libsodium), checked against the RFC's own vectors. The
server learns nothing of what it evaluates; the client learns the function of what it asked, and
that one key, whose public half it knows, was used for all of it.

The RFC's last step hashes the input once more. Ours does not: an identifier is only ever at hand
as a point that is sealed (see `sealed`), so the output is a hash of the point k·H(x) alone, the
function of Jarecki, Kiayias and Krawczyk (ASIACRYPT 2014) without its outer input.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import sha512
from hmac import compare_digest
from typing import NamedTuple

import oblivious.ristretto as ristretto

CONTEXT = b"OPRFV1-\x01-ristretto255-SHA512"
ORDER = 2**252 + 27742317777372353535851937790883648493
POINT_BYTES = SCALAR_BYTES = 32
PROOF_BYTES = 64
OUTPUT_BYTES = 32
_IDENTITY = bytes(POINT_BYTES)
_BLOCK_BYTES = 128  # of SHA-512
_ONE = ristretto.scalar.from_int(1)


class BadPoint(ValueError):
    """Bytes that are no element of the group, or the one that hides nothing."""


class KeyPair(NamedTuple):
    """A secret scalar and its public point, 32 bytes each."""

    secret: bytes
    public: bytes


# --- hashing --------------------------------------------------------------------------------------


def _expand(message: bytes, tag: bytes) -> bytes:
    """64 bytes: expand_message_xmd of RFC 9380 with SHA-512."""
    domain = tag + bytes([len(tag)])
    first = sha512(
        bytes(_BLOCK_BYTES) + message + (64).to_bytes(2, "big") + b"\0" + domain
    ).digest()
    return sha512(first + b"\x01" + domain).digest()


def hash_to_group(data: bytes) -> bytes:
    """A point of which nobody knows the logarithm."""
    return bytes(ristretto.point.bytes(_expand(data, b"HashToGroup-" + CONTEXT)))


def hash_to_scalar(data: bytes, tag: bytes = b"HashToScalar-") -> int:
    """An integer below the group's order."""
    return int.from_bytes(_expand(data, tag + CONTEXT), "little") % ORDER


def _framed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


# --- the group ------------------------------------------------------------------------------------


def checked_point(data: bytes) -> bytes:
    """The bytes of a point other than the identity.

    Raises:
      BadPoint: for anything else.
    """
    if len(data) != POINT_BYTES or data == _IDENTITY:
        raise BadPoint("no point of the group")
    try:
        _times(_ONE, data)
    except RuntimeError:
        raise BadPoint("no point of the group") from None
    return data


def _scalar(value: int | bytes) -> ristretto.scalar:
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else value
    return ristretto.scalar.from_int(number % ORDER)


def _times(scalar: ristretto.scalar, point: bytes) -> bytes:
    return bytes(scalar * ristretto.point(point))


def _plus(left: bytes, right: bytes) -> bytes:
    return bytes(ristretto.point(left) + ristretto.point(right))


def _base(scalar: ristretto.scalar) -> bytes:
    return bytes(ristretto.point.base(scalar))


def random_scalar() -> bytes:
    """A secret, uniform and not 0."""
    return (1 + secrets.randbelow(ORDER - 1)).to_bytes(SCALAR_BYTES, "little")


def multiply(scalar: bytes, points: Sequence[bytes]) -> list[bytes]:
    """Each point times a scalar; points are checked first."""
    by = _scalar(scalar)
    return [_times(by, checked_point(point)) for point in points]


def divide(scalar: bytes, points: Sequence[bytes]) -> list[bytes]:
    """Each point times the inverse of a scalar."""
    return multiply(pow(int.from_bytes(scalar, "little"), -1, ORDER).to_bytes(32, "little"), points)


def product(left: bytes, right: bytes) -> bytes:
    """Two scalars multiplied."""
    number = int.from_bytes(left, "little") * int.from_bytes(right, "little") % ORDER
    return number.to_bytes(SCALAR_BYTES, "little")


def key_pair(seed: bytes, info: bytes) -> KeyPair:
    """DeriveKeyPair: the same of the same seed and info.

    Args:
      seed: 32 secret bytes.
      info: what the key is for, up to 65,535 bytes.
    """
    material = seed + _framed(info)
    for counter in range(256):
        secret = hash_to_scalar(material + bytes([counter]), b"DeriveKeyPair")
        if secret:
            break
    return KeyPair(secret.to_bytes(SCALAR_BYTES, "little"), _base(_scalar(secret)))


def output(kind: str, point: bytes) -> bytes:
    """The function's value, 32 bytes, of a point k·H(x)."""
    return sha512(_framed(kind.encode(), point, b"Finalize-distilwatch")).digest()[:OUTPUT_BYTES]


# --- proof that one key was used for all of a batch -----------------------------------------------


class _Composites(NamedTuple):
    asked: bytes
    answered: bytes


def prove(
    key: KeyPair, asked: Sequence[bytes], answered: Sequence[bytes], nonce: bytes | None = None
) -> bytes:
    """GenerateProof: that answered = secret · asked for all, 64 bytes.

    Chaum and Pedersen (CRYPTO 1992), one proof for a batch.

    Args:
      key: that was used.
      asked, answered: n points each.
      nonce: a random scalar; only vectors of tests bring one.
    """
    weights = _weights(key.public, asked, answered)
    combined = _combine(weights, asked)
    both = _Composites(combined, _times(_scalar(key.secret), combined))
    random = _scalar(nonce or random_scalar())
    challenge = _challenge(key.public, both, _base(random), _times(random, combined))
    response = (
        int.from_bytes(bytes(random), "little") - challenge * int.from_bytes(key.secret, "little")
    ) % ORDER
    return challenge.to_bytes(32, "little") + response.to_bytes(32, "little")


def proves(public: bytes, asked: Sequence[bytes], answered: Sequence[bytes], proof: bytes) -> bool:
    """VerifyProof: whether `prove` made it, for this public key and these points.

    Raises:
      BadPoint: when an answer is no point.
    """
    if len(proof) != PROOF_BYTES or len(asked) != len(answered) or not asked:
        return False
    answered = [checked_point(point) for point in answered]
    weights = _weights(checked_point(public), asked, answered)
    both = _Composites(_combine(weights, asked), _combine(weights, answered))
    challenge, response = _scalar(proof[:32]), _scalar(proof[32:])
    again = _challenge(
        public,
        both,
        _plus(_base(response), _times(challenge, public)),
        _plus(_times(response, both.asked), _times(challenge, both.answered)),
    )
    return compare_digest(again.to_bytes(32, "little"), proof[:32])


def _weights(public: bytes, asked: Sequence[bytes], answered: Sequence[bytes]) -> list[int]:
    seed = sha512(_framed(public, b"Seed-" + CONTEXT)).digest()
    return [
        hash_to_scalar(_framed(seed) + i.to_bytes(2, "big") + _framed(c, d) + b"Composite")
        for i, (c, d) in enumerate(zip(asked, answered, strict=True))
    ]


def _combine(weights: Sequence[int], points: Sequence[bytes]) -> bytes:
    total = _IDENTITY
    for weight, point in zip(weights, points, strict=True):
        total = _plus(total, _times(_scalar(weight), point))
    return total


def _challenge(public: bytes, both: _Composites, one: bytes, other: bytes) -> int:
    return hash_to_scalar(_framed(public, both.asked, both.answered, one, other) + b"Challenge")
