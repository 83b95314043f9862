"""Raw bytes of dead letters are kept only encrypted: AES-256-SIV (RFC 5297), bound to their place.

SIV needs no random nonce, so a second run over the same records writes the same bytes, and a
repeated nonce, which breaks other modes, cannot happen. The place of the record (source, partition,
offset) is authenticated with it: bytes that were moved to another row are refused.

A sealed record begins with `DL1` and the id of its key, so that keys can change: the variable holds
one key or several, divided by commas. The first seals, all of them open.
"""

from __future__ import annotations

import base64
import os
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.errors import DistilwatchError

_MAGIC = b"DL1"
_ID_BYTES = 8
_LEAST_BYTES = 32
_MAKE = "make one with `openssl rand -base64 32`"
Place = tuple[str, int, int]
"""Source, partition and offset of a record."""


class LetterKeys:
    """Seals and opens records; see the module.

    Args:
      keys: secret, at least 32 bytes each; the first seals, all open.
      variable: environment variable that has them on workers, too; then pickling takes only its
        name along. None: pickling takes the keys.
    """

    def __init__(self, keys: tuple[bytes, ...], variable: str | None = None) -> None:
        self._keys = keys
        self._variable = variable
        self._ciphers = {key_id(key): AESSIV(_derived(key)) for key in keys}
        self._newest = key_id(keys[0])

    def __repr__(self) -> str:
        return f"LetterKeys({len(self._keys)} hidden)"

    def __reduce__(self) -> tuple[object, ...]:
        if self._variable is not None:
            return letter_keys, (self._variable, True)
        return LetterKeys, (self._keys,)

    def seal(self, raw: bytes, place: Place) -> bytes:
        """Encrypts a record under the newest key, the same bytes each time."""
        sealed = self._ciphers[self._newest].encrypt(raw, _bound_to(place))
        return _MAGIC + self._newest + sealed

    def open(self, sealed: bytes, place: Place) -> bytes:
        """The record.

        Raises:
          DistilwatchError: its key is not among ours, it was changed, or it is of another place.
        """
        where = f"dead letter {place[0]}, partition {place[1]}, offset {place[2]}"
        start = len(_MAGIC) + _ID_BYTES
        cipher = self._ciphers.get(sealed[len(_MAGIC) : start])
        if not sealed.startswith(_MAGIC) or cipher is None:
            raise DistilwatchError(
                f"its key ({sealed[len(_MAGIC) : start].hex()}) is not among those given",
                where,
                "add the older key after a comma to the variable of ingest.dead_letter_key_env",
            )
        try:
            return cipher.decrypt(sealed[start:], _bound_to(place))
        except InvalidTag:
            raise DistilwatchError(
                "its bytes were changed after they were sealed", where, "restore the tables"
            ) from None

    def is_newest(self, sealed: bytes) -> bool:
        """Whether a record was sealed under the key that seals now."""
        return sealed[len(_MAGIC) : len(_MAGIC) + _ID_BYTES] == self._newest


def key_id(key: bytes) -> bytes:
    """Names a key without telling it: eight bytes."""
    return sha256(b"distilwatch dead letter key id\0" + key).digest()[:_ID_BYTES]


def _derived(key: bytes) -> bytes:
    return HKDF(SHA256(), 64, None, b"distilwatch dead letters, AES-256-SIV").derive(key)


def _bound_to(place: Place) -> list[bytes]:
    return [str(part).encode() for part in place]


def letter_keys(variable: str | None, by_name: bool = False) -> LetterKeys | None:
    """Keys out of an environment variable; None when the settings name none.

    Args:
      variable: its name.
      by_name: whether workers have the variable, too, and get only its name.

    Raises:
      DistilwatchError: the variable is not set, or what it holds are no keys.
    """
    if variable is None:
        return None
    where = f"ingest.dead_letter_key_env, {variable}"
    text = os.environ.get(variable, "")
    if not text.strip():
        raise DistilwatchError("the environment variable is not set", where, _MAKE)
    keys = []
    for i, part in enumerate(text.split(","), 1):
        try:
            key = base64.b64decode(part.strip(), validate=True)
        except ValueError:  # binascii's own, and that of letters beyond ASCII
            raise DistilwatchError(f"key {i} is not base64", where, _MAKE) from None
        if len(key) < _LEAST_BYTES:
            raise DistilwatchError(f"key {i} has {len(key)} bytes, too few", where, _MAKE)
        keys.append(key)
    return LetterKeys(tuple(keys), variable if by_name else None)
