"""Two labs that match in private, with a clock that only the test moves."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transforms.sharing.private.client import Matches, find_matches
from transforms.sharing.private.identifiers import DEVICE, PAYMENT, Sealed, local_name
from transforms.sharing.private.ledger import Ledger
from transforms.sharing.private.sealed import Sealer
from transforms.sharing.private.server import Answer, MatchOptions, MatchServer, Terms

OPTIONS = MatchOptions(batch=8, quota=32, period_ms=1_000, epoch_ms=10_000, least_published=16)
TOKEN = "t" * 40


@dataclass
class Clock:
    """Milliseconds that only the test moves."""

    now: int = 1_000_000

    def __call__(self) -> int:
        return self.now


@dataclass
class Lab:
    """A lab with a key of its own."""

    sealer: Sealer = field(default_factory=lambda: Sealer(secrets.token_bytes(32)))

    def sealed(self, *values: str, kind: str = PAYMENT) -> list[Sealed]:
        return [Sealed(kind, local_name("own " + v), self.sealer.seal(kind, v)) for v in values]


@dataclass
class Direct:
    """A server that is reached without HTTP; keeps what it saw."""

    server: MatchServer
    name: str = "lab-b"
    seen: list[list[bytes]] = field(default_factory=list)

    def terms(self) -> Terms:
        return self.server.terms(self.name)

    def evaluate(self, epoch: int, kind: str, points: Sequence[bytes]) -> Answer:
        self.seen.append(list(points))
        return self.server.evaluate(self.name, epoch, kind, points)

    def published(self, epoch: int, kind: str) -> list[bytes]:
        return self.server.published(self.name, epoch, kind)


class Two:
    """Lab A, which has confirmed three cards, and lab B, which asks."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.a, self.b = Clock(), Lab(), Lab()
        self.ledger = Ledger(folder / "ledger.sqlite")
        self.server = MatchServer(self.ledger, self.a.sealer, OPTIONS, self.clock)
        self.ledger.confirm(self.a.sealed("card-1", "card-2", "card-3"))
        self.ledger.confirm(self.a.sealed("ja4-1", kind=DEVICE))
        self.peer = Direct(self.server)

    def ask(self, *values: str, kind: str = PAYMENT) -> Matches:
        return find_matches(
            self.peer, kind, self.b.sealed(*values, kind=kind), self.b.sealer, least_batch=8
        )
