"""Where identifiers are kept between ingest and matching: sealed, and in an encrypted file.

Raw fingerprints never leave ingest. What leaves is s·H(x), with a scalar s of this lab's own: no
hash that could be looked up, and yet a point that can be blinded and evaluated, because the order
in which scalars are multiplied does not matter. Who has the file needs the key to read it, and the
same key to test a guess.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.errors import DistilwatchError
from transforms.file_lock import alone_with
from transforms.secret_files import made_once
from transforms.sharing.private import voprf
from transforms.sharing.private.identifiers import Sealed, point_of

_MAGIC = b"distilwatch-sealed-1\n"
_NONCE_BYTES = 12
_LEAST_BYTES = 16
_HIDDEN = 32


class Sealer:
    """Seals identifiers under a secret key of at least 16 bytes; another than that of pseudonyms,
    so that who may match need not be able to link tables, and the other way round."""

    def __init__(self, key: bytes) -> None:
        if len(key) < _LEAST_BYTES:
            raise DistilwatchError(
                f"the key that seals identifiers has {len(key)} bytes",
                "DISTILWATCH_SEAL_KEY",
                f"give at least {_LEAST_BYTES} random bytes",
            )
        self._key = key
        self.scalar = voprf.key_pair(_derived(key, b"scalar"), b"distilwatch-seal").secret
        self._cached = lru_cache(maxsize=1 << 15)(self._seal)

    def __repr__(self) -> str:
        return "Sealer(key hidden)"

    def __reduce__(self) -> tuple[object, ...]:
        return Sealer, (self._key,)

    @property
    def mark(self) -> str:
        """Tells this key from others, and nothing of it; 32 hex digits."""
        return _derived(self._key, b"mark").hex()[:32]

    def hidden(self, local: str) -> str:
        """Our own name of an identifier, for files that are kept beside the network: it is an
        unkeyed hash, which would give up whatever can be guessed. 32 hex digits."""
        key = _derived(self._key, b"local")
        return hmac.new(key, local.encode(), sha256).hexdigest()[:_HIDDEN]

    def seal(self, kind: str, value: str) -> bytes:
        """s·H(x) of an identifier, 32 bytes.

        Raises:
          ValueError: as of `canonical`.
        """
        return self._cached(kind, value)

    def _seal(self, kind: str, value: str) -> bytes:
        return voprf.multiply(self.scalar, [point_of(kind, value)])[0]

    def cipher(self) -> AESGCM:
        """Encrypts the file."""
        return AESGCM(_derived(self._key, b"file"))


def _derived(key: bytes, use: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, b"distilwatch sealed identifiers " + use).derive(key)


def load_seal_key(variable: str, home: Path) -> bytes:
    """The key from the environment, else this user's own, made on first use.

    Raises:
      DistilwatchError: when the file cannot be read or written.
    """
    if os.environ.get(variable):
        return os.environ[variable].encode()
    path = home / "seal.key"
    try:
        if not path.exists():
            made_once(path, secrets.token_hex(32).encode())
        return path.read_bytes().strip()
    except OSError as error:
        raise DistilwatchError(
            f"the key that seals identifiers cannot be read ({error.strerror})",
            str(path),
            f"set {variable}",
        ) from error


def write_sealed(
    path: Path, identifiers: Iterable[Sealed], sealer: Sealer, suspects: bool = False
) -> int:
    """Adds identifiers to a file, which is made when there is none; returns how many it has then.

    Args:
      path: of the file.
      identifiers: to be added.
      sealer: of this lab.
      suspects: nobody has confirmed whose they are; the file says so from then on, if there are
        any.

    Raises:
      DistilwatchError: when the file cannot be written, or is another's.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with alone_with(path):
            before = _decrypted(path, sealer) if path.exists() else _Contents([])
            added = [*identifiers]
            known = {*before.identifiers, *added}
            suspects = (suspects and bool(added)) or before.suspects
            with os.fdopen(
                os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"
            ) as out:
                out.write(_encrypted(known, sealer, suspects))
            partial.replace(path)
    except OSError as error:
        raise DistilwatchError(
            f"sealed identifiers cannot be written ({error.strerror})", str(path), "choose a folder"
        ) from error
    return len(known)


class _Contents(NamedTuple):
    identifiers: list[Sealed]
    suspects: bool = False


def _encrypted(identifiers: Iterable[Sealed], sealer: Sealer, suspects: bool) -> bytes:
    rows = [[kind, local, point.hex()] for kind, local, point in sorted(identifiers)]
    said = json.dumps({"suspects": rows} if suspects else rows).encode()
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return _MAGIC + nonce + sealer.cipher().encrypt(nonce, said, _MAGIC)


def read_sealed(path: Path, sealer: Sealer) -> list[Sealed]:
    """Identifiers of a file that `write_sealed` wrote, in order.

    Raises:
      DistilwatchError: when it cannot be read, was changed, or was sealed under another key.
    """
    return _decrypted(path, sealer).identifiers


def holds_suspects(path: Path, sealer: Sealer) -> bool:
    """Whether some of a file's identifiers are of clusters that nobody has confirmed.

    Raises:
      DistilwatchError: as of `read_sealed`.
    """
    return _decrypted(path, sealer).suspects


def _decrypted(path: Path, sealer: Sealer) -> _Contents:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DistilwatchError(
            f"sealed identifiers cannot be read ({error.strerror})",
            str(path),
            "make them with `distilwatch share match seal`",
        ) from error
    nonce = data[len(_MAGIC) : len(_MAGIC) + _NONCE_BYTES]
    try:
        if not data.startswith(_MAGIC):
            raise InvalidTag
        text = sealer.cipher().decrypt(nonce, data[len(_MAGIC) + _NONCE_BYTES :], _MAGIC)
    except (InvalidTag, ValueError):
        raise DistilwatchError(
            "these are no identifiers that this key has sealed",
            str(path),
            "use the DISTILWATCH_SEAL_KEY that sealed them, or seal them again",
        ) from None
    said = json.loads(text)
    suspects = isinstance(said, dict)
    rows = said["suspects"] if suspects else said
    found = [Sealed(kind, local, bytes.fromhex(point)) for kind, local, point in rows]
    return _Contents(found, suspects)
