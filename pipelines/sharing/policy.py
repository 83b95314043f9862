"""Reads the policy of sharing, and says everything that is wrong with it at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from pipelines.settings.sharing import RecipientConfig, SharingPolicy, TaxiiConfig
from schemas.errors import DistilwatchError
from transforms.scoring.signing import home, signing_key
from transforms.sharing.canonical import digest
from transforms.sharing.indicators import Kind, Marking
from transforms.sharing.receive import Feed
from transforms.sharing.select import Terms
from transforms.sharing.taxii import Place


def policy_path(given: Path | None) -> Path:
    """The file: as given, else `sharing.yaml` in this user's folder."""
    return given or home() / "sharing.yaml"


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that was read.

    Attributes:
      file: where it is.
      digest: SHA-256 of its bytes.
      settings: what it says.
    """

    file: Path
    digest: str
    settings: SharingPolicy

    @property
    def lab(self) -> str:
        return self.settings.lab

    def recipient(self, name: str) -> RecipientConfig:
        """What a recipient may have.

        Raises:
          DistilwatchError: when the policy names no such recipient.
        """
        found = self.settings.recipients.get(name)
        if found is None:
            known = ", ".join(self.settings.recipients) or "none"
            raise DistilwatchError(
                f"nothing may leave to {name}",
                f"{self.file}, recipients: {known}",
                "name it in the policy, or choose one of those",
            )
        return found

    def terms(self, name: str) -> Terms:
        """What may leave to a recipient, as `transforms.sharing.select` wants it."""
        to, limits = self.recipient(name), self.settings.limits
        return Terms(
            name,
            frozenset(Kind(kind) for kind in to.kinds),
            Marking(to.marking),
            to.least_confidence,
            limits.least_accounts,
            limits.least_members,
            {
                Kind.PREFIX_SCAFFOLD: limits.most_others_scaffold,
                Kind.SUFFIX_SCAFFOLD: limits.most_others_scaffold,
                Kind.OPENING_SENTENCE: limits.most_others_scaffold,
                Kind.CLOSING_SENTENCE: limits.most_others_scaffold,
                Kind.NETWORK: limits.most_others_network,
                Kind.CLIENT: limits.most_others_client,
            },
            to.valid_for,
            to.epsilon,
            limits.delta,
            limits.epsilon_total,
            to.tactics,
        )

    def feed(self, name: str) -> tuple[Place, Feed]:
        """Where a feed is, and whom it may carry.

        Raises:
          DistilwatchError: no such feed, or a key that cannot be read.
        """
        found = self.settings.feeds.get(name)
        if found is None:
            known = ", ".join(self.settings.feeds) or "none"
            raise DistilwatchError(
                f"there is no feed {name}", f"{self.file}, feeds: {known}", "name it in the policy"
            )
        keys = {lab: [self._public_key(path)] for lab, path in found.trusted.items()}
        feed = Feed(name, self.lab, keys, Marking(found.strictest))
        return place_of(name, found.taxii), feed

    def key(self) -> Ed25519PrivateKey:
        """The key that what we say is signed with; the user's own for bundles is another one."""
        given = self.settings.signing_key
        path = self._beside(given) if given else home() / "sharing-signing.pem"
        if not given and not path.exists():
            _make_key(path)
        return signing_key(path)

    def _public_key(self, path: str) -> Ed25519PublicKey:
        file = self._beside(path)
        try:
            key = serialization.load_pem_public_key(file.read_bytes())
        except (OSError, ValueError) as error:
            raise DistilwatchError(
                f"a key of the policy cannot be read ({type(error).__name__})",
                str(file),
                "ask the lab for its public key; `distilwatch share key` prints ours",
            ) from error
        if not isinstance(key, Ed25519PublicKey):
            raise DistilwatchError("a key of the policy is not Ed25519", str(file), "replace it")
        return key

    def _beside(self, path: str) -> Path:
        return self.file.absolute().parent / Path(path).expanduser()


def place_of(name: str, taxii: TaxiiConfig) -> Place:
    """A collection as `transforms.sharing.taxii` wants it."""
    return Place(
        name, taxii.url, taxii.user_env, taxii.password_env, taxii.token_env, taxii.ca_file
    )


def read_policy(given: Path | None) -> Policy:
    """Reads and checks the policy.

    Raises:
      DistilwatchError: it is not there, or has mistakes, all of which are named.
    """
    file = policy_path(given)
    try:
        data = file.read_bytes()
        raw = yaml.safe_load(data.decode("utf-8"))
    except FileNotFoundError:
        raise DistilwatchError(
            "there is no policy of sharing, so nothing may leave and nobody is believed",
            str(file),
            "write one (docs/sharing.md has an example), or give another with --policy",
        ) from None
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:  # 2026-13-45; [[[[…
        raise DistilwatchError(
            f"the policy of sharing cannot be read: {error}", str(file), "mend it"
        ) from error
    try:
        settings = SharingPolicy.model_validate(raw)
    except ValidationError as error:
        mistakes = [
            f"\n  {'.'.join(str(part) for part in d['loc']) or 'the file'}: {_plain(d['msg'])}"
            for d in error.errors(include_url=False, include_input=False)
        ]
        raise DistilwatchError(
            f"the policy of sharing has {len(mistakes)} mistakes:{''.join(mistakes)}",
            str(file),
            "docs/sharing.md lists every setting",
        ) from None
    return Policy(file, digest(data), settings)


def _plain(message: str) -> str:
    return {
        "Extra inputs are not permitted": "is no setting",
        "Field required": "is missing",
    }.get(message, message)


def _make_key(path: Path) -> None:
    import os

    private = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise DistilwatchError(
            f"no signing key can be written ({error.strerror})", str(path), "make it writable"
        ) from error
    with os.fdopen(handle, "wb") as out:
        out.write(private)


def public_pem(policy: Policy) -> str:
    """Our public key, for others' policies."""
    return (
        policy.key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
