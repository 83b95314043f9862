"""Payment fingerprints become keyed pseudonyms on arrival; the raw value goes no further."""

from __future__ import annotations

import hmac
import os
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from schemas.errors import DistilwatchError
from transforms.secret_files import made_once

_LEAST_BYTES = 16


class Pseudonymiser:
    """HMAC-SHA-256 under a secret key (RFC 2104), the first 128 bits in hex.

    Args:
      key: secret, at least 16 bytes.
      variable: environment variable that has the key on workers, too; then pickling takes only its
        name along. None: pickling takes the key.
    """

    def __init__(self, key: bytes, variable: str | None = None) -> None:
        if len(key) < _LEAST_BYTES:
            raise DistilwatchError(
                f"the key for payment fingerprints has {len(key)} bytes",
                "ingest.hmac_key",
                f"give at least {_LEAST_BYTES} random bytes",
            )
        self._key = key
        self._variable = variable
        self._cached = lru_cache(maxsize=1 << 15)(self._make)

    def __repr__(self) -> str:
        return "Pseudonymiser(key hidden)"

    def __reduce__(self) -> tuple[object, ...]:
        if self._variable is not None:
            return _of_variable, (self._variable,)
        return Pseudonymiser, (self._key,)

    def __call__(self, value: str | None) -> str:
        """Pseudonym of a fingerprint, "" for none."""
        return self._cached(value) if value else ""

    def _make(self, value: str) -> str:
        return hmac.new(self._key, value.encode(), sha256).hexdigest()[:32]


def _of_variable(variable: str) -> Pseudonymiser:
    """As of a worker that has the key in its environment."""
    if not os.environ.get(variable):
        raise DistilwatchError(
            "this worker does not have the key for payment fingerprints",
            f"environment variable {variable}",
            "name its secret in dataflow.secrets, and let the workers' account read it",
        )
    return Pseudonymiser(os.environ[variable].encode(), variable)


def load_key(variable: str, file: str | None, home: Path) -> bytes:
    """The secret key: from the environment, else a file, else this user's own, made on first use.

    Raises:
      DistilwatchError: when the file cannot be read or written.
    """
    if os.environ.get(variable):
        return os.environ[variable].encode()
    path = Path(file) if file else home / "payment-hmac.key"
    try:
        if not path.exists() and not file:
            made_once(path, os.urandom(32).hex().encode())
        return path.read_bytes().strip()
    except OSError as error:
        raise DistilwatchError(
            f"the key for payment fingerprints cannot be read ({error.strerror})",
            str(path),
            f"set {variable}, or give a readable file in ingest.hmac_key_file",
        ) from error
