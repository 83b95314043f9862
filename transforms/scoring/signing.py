"""Ed25519 keys for bundles: one that this user signs with, and those that are trusted."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schemas.errors import DistilwatchError
from transforms.secret_files import made_once

HOME_VARIABLE = "DISTILWATCH_HOME"


def home() -> Path:
    """Folder of this user's keys: $DISTILWATCH_HOME, else ~/.config/distilwatch."""
    return Path(os.environ.get(HOME_VARIABLE) or Path.home() / ".config" / "distilwatch")


def signing_key(path: Path | None = None) -> Ed25519PrivateKey:
    """Loads the private key, or makes one on first use and trusts it.

    Args:
      path: PEM file without a passphrase; by default `bundle-signing.pem` in `home()`.

    Raises:
      DistilwatchError: when the file is not such a key, or none can be written.
    """
    own = path is None
    path = path or home() / "bundle-signing.pem"
    if path.exists():
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError) as error:
            raise DistilwatchError(
                "the signing key cannot be read", str(path), "give an unencrypted Ed25519 PEM file"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise DistilwatchError(
                "the signing key is not Ed25519", str(path), "make an Ed25519 key"
            )
        return key
    if not own:
        raise DistilwatchError(
            "no signing key there", str(path), "make one, or leave the option out"
        )
    key = Ed25519PrivateKey.generate()
    trusted = home() / "trusted" / "own.pem"
    try:
        trusted.parent.mkdir(parents=True, exist_ok=True)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        if not made_once(path, private):
            return signing_key()  # another process made it meanwhile
        trusted.write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
    except OSError as error:
        raise DistilwatchError(
            f"no signing key can be written ({error.strerror})",
            str(home()),
            f"make the folder writable, or set {HOME_VARIABLE}",
        ) from error
    return key


def trusted_keys() -> list[Ed25519PublicKey]:
    """Public keys in `home()/trusted/*.pem`: copy a colleague's there to accept their bundles."""
    keys = []
    for path in sorted((home() / "trusted").glob("*.pem")):
        try:
            key = serialization.load_pem_public_key(path.read_bytes())
        except ValueError as error:
            raise DistilwatchError(
                "a trusted key cannot be read", str(path), "replace it, or take it away"
            ) from error
        if isinstance(key, Ed25519PublicKey):
            keys.append(key)
    return keys


def is_signed(message: bytes, signature: bytes, keys: list[Ed25519PublicKey]) -> bool:
    """Whether any of the keys made the signature."""
    for key in keys:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            continue
        return True
    return False
