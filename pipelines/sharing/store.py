"""What this lab has proposed, approved, sent and heard: a folder with a log and what it refers to.

```
sharing/
  log.jsonl        append-only, chained by hashes; see `transforms.sharing.log`
  objects/SHA256   the bytes of each proposal
  secret.key       names campaigns, and accounts in the log, for us alone
```
State follows from the log alone.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from schemas.errors import DistilwatchError
from transforms.scoring.signing import home
from transforms.sharing.canonical import digest
from transforms.sharing.indicators import Indicator
from transforms.sharing.log import ShareLog
from transforms.sharing.receive import indicator_of

PROPOSED, APPROVED, REJECTED, SENDING, SENT = "proposed", "approved", "rejected", "sending", "sent"
_SECRET_BYTES = 32
_STATES = {"approve": APPROVED, "reject": REJECTED, "send": SENDING, "sent": SENT}


@dataclass(frozen=True, slots=True)
class Proposal:
    """Bytes that somebody wants to leave.

    Attributes:
      name: `p-` and the first twelve digits of the digest.
      to: recipient.
      about: cluster, indicator, or sightings.
      digest: SHA-256 of the bytes.
      size: bytes.
      objects: how many of them are signed by us.
      proposed_by, proposed_ms: who, and when.
      state: proposed, approved, rejected, sending (it may have left) or sent.
      approved_by: "" while nobody did.
      output: tables that rows go to once it has left; "" for none.
    """

    name: str
    to: str
    about: str
    digest: str
    size: int
    objects: int
    proposed_by: str
    proposed_ms: int
    state: str
    approved_by: str
    output: str


class ShareStore:
    """The folder; made on first use.

    Args:
      folder: of the store; `sharing` in this user's folder without.
      clock: seconds since 1970.
    """

    def __init__(self, folder: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder or home() / "sharing"
        self._clock = clock
        try:
            (self.folder / "objects").mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise DistilwatchError(
                f"the store of sharing cannot be made ({error.strerror})",
                str(self.folder),
                "give a folder that you may write to with --store",
            ) from error
        self.log = ShareLog(self.folder / "log.jsonl")

    def now_ms(self) -> int:
        """Milliseconds UTC."""
        return int(self._clock() * 1000)

    # --- bytes ---------------------------------------------------------------------------------

    def keep(self, data: bytes) -> str:
        """Keeps bytes and returns their SHA-256.

        Raises:
          DistilwatchError: they cannot be written.
        """
        name = digest(data)
        path = self.folder / "objects" / name
        if not path.exists():
            with self._writing(path) as partial:
                partial.write_bytes(data)
                partial.replace(path)
        return name

    def read(self, name: str) -> bytes:
        """Bytes by their SHA-256, which is checked.

        Raises:
          DistilwatchError: they are gone, or were changed.
        """
        path = self.folder / "objects" / name
        data = path.read_bytes() if path.is_file() else b""
        if digest(data) != name:
            raise DistilwatchError(
                "the bytes of a proposal are gone or were changed",
                str(path),
                "propose again; what was approved must be what leaves",
            )
        return data

    # --- names that only we can resolve ----------------------------------------------------------

    def campaign(self, cluster_id: str) -> str:
        """Pseudonym of a cluster. Its id is no such thing: it is a hash of an account's name."""
        return f"campaign-{self._tag('campaign', cluster_id)}"

    def account_tags(self, accounts: Iterable[str]) -> list[str]:
        """Names of accounts in the log, sorted."""
        return sorted(self._tag("account", account) for account in accounts)

    def _tag(self, what: str, name: str) -> str:
        message = f"{what}\x1f{name}".encode()
        return hmac.new(self._secret(), message, sha256).hexdigest()[:16]

    def _secret(self) -> bytes:
        path = self.folder / "secret.key"
        if not path.exists():
            with self._writing(path) as partial:
                handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(handle, "wb") as out:
                    out.write(os.urandom(_SECRET_BYTES))
                with suppress(FileExistsError):  # another process made it meanwhile
                    os.link(partial, path)
        try:
            found = path.read_bytes()
        except OSError as error:
            raise self._unusable(path, "read", error) from error
        if len(found) < _SECRET_BYTES:  # names under a key that can be guessed would hide nobody
            raise DistilwatchError(
                f"the key that names campaigns has {len(found)} bytes, not {_SECRET_BYTES}",
                str(path),
                "restore it from a copy; without one, delete it: campaigns get new names then, and "
                "what accounts have spent of their privacy budgets is forgotten, so that each can "
                "be drawn from as often again (leave the kind coverage out of the policy, or lower "
                "limits.epsilon_total)",
            )
        return found

    @contextmanager
    def _writing(self, path: Path) -> Iterator[Path]:
        """A name to write under first: a file is there as a whole, or not at all."""
        partial = path.with_suffix(f".{os.getpid()}")
        try:
            yield partial
        except OSError as error:
            raise self._unusable(path, "written", error) from error
        finally:
            partial.unlink(missing_ok=True)

    @staticmethod
    def _unusable(path: Path, how: str, error: OSError) -> DistilwatchError:
        return DistilwatchError(
            f"a file of the store of sharing cannot be {how} ({error.strerror})",
            str(path),
            "make room, or give this user the right, then repeat it",
        )

    # --- what the log says -----------------------------------------------------------------------

    def proposals(self) -> list[Proposal]:
        """All proposals, oldest first."""
        found: dict[str, dict[str, Any]] = {}
        for entry in self.log.entries():
            name = str(entry.get("proposal", ""))
            if entry["action"] == "propose":
                found[name] = {**entry, "state": PROPOSED, "approved_by": ""}
            elif entry["action"] in _STATES and name in found:
                found[name]["state"] = _STATES[entry["action"]]
                if entry["action"] == "approve":
                    found[name]["approved_by"] = entry["by"]
        return [
            Proposal(
                name, e["to"], e["about"], e["digest"], e["size"], e["objects"], e["by"], e["at"],
                e["state"], e["approved_by"], e["output"],
            )
            for name, e in found.items()
        ]  # fmt: skip

    def proposal(self, name: str) -> Proposal:
        """The one proposal whose name begins so.

        Raises:
          DistilwatchError: there is none, or there are several.
        """
        found = [p for p in self.proposals() if name and p.name.startswith(name)]
        if len(found) != 1:
            raise DistilwatchError(
                f"{len(found)} proposals begin with {name}"
                if found
                else f"no proposal begins with {name or 'nothing'}",
                str(self.folder),
                "`distilwatch share list` shows them all",
            )
        return found[0]

    def sent(self, lab: str) -> dict[str, list[Indicator]]:
        """Indicators that have left, or may have, by recipient, oldest version first.

        Args:
          lab: our name.
        """
        by_name = {p.name: p for p in self.proposals()}
        found: dict[str, list[Indicator]] = {}
        for entry in self.log.entries():
            if entry["action"] != "send":
                continue
            proposal = by_name[entry["proposal"]]
            for obj in orjson.loads(self.read(proposal.digest))["objects"]:
                if obj["type"] == "indicator":
                    found.setdefault(proposal.to, []).append(indicator_of(obj, lab))
        return found

    def spent(self) -> dict[str, float]:
        """ρ that coverage sketches have cost, by the tag of an account."""
        found: dict[str, float] = {}
        for entry in self.log.entries():
            if entry["action"] == "draw":
                for tag in entry["accounts"]:
                    found[tag] = found.get(tag, 0.0) + entry["rho"]
        return found

    def last_poll(self, feed: str, where: str, output: str) -> dict[str, Any] | None:
        """What the log says of the last poll of a feed; None before the first.

        A feed that has moved to another collection, or whose indicators go to other tables than
        before, begins anew.

        Args:
          feed: its name.
          where: URL of its collection.
          output: tables that its indicators go to.
        """
        found = None
        for entry in self.log.entries():
            # What older versions have logged says nothing of tables.
            known = (entry.get("feed"), entry.get("where"), entry.get("output", output))
            if entry["action"] == "poll" and known == (feed, where, output):
                found = entry
        return found


def write_whole(file: Path, data: bytes) -> None:
    """Writes what is to be handed over; the file is there as a whole, or as it was before.

    Raises:
      DistilwatchError: when it cannot be written.
    """
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(file)
    except OSError as error:
        raise DistilwatchError(
            f"the file cannot be written ({error.strerror})",
            str(file),
            "give another --file, and repeat the command",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
