"""The lab that has confirmed identifiers: holds the key, evaluates, and publishes outputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from transforms.sharing.private import voprf
from transforms.sharing.private.identifiers import KINDS
from transforms.sharing.private.ledger import Epoch, Ledger
from transforms.sharing.private.sealed import Sealer

DAY_MS = 86_400_000


class Refused(Exception):
    """A request that is not answered: a stable word, what to tell, and an HTTP status."""

    def __init__(self, reason: str, message: str, status: int) -> None:
        super().__init__(message)
        self.reason, self.message, self.status = reason, message, status


@dataclass(frozen=True, slots=True)
class MatchOptions:
    """Attributes:
    batch: points of one request, exactly; the asker fills up with points of its own.
    quota: points that one peer may have evaluated in a period; filling counts.
    period_ms: of the quota, milliseconds.
    epoch_ms: how long a key lives.
    least_published: outputs that are published at least; their number is a power of two.
    """

    batch: int = 256
    quota: int = 4_096
    period_ms: int = DAY_MS
    epoch_ms: int = 7 * DAY_MS
    least_published: int = 256


class Terms(NamedTuple):
    """What a peer needs to know before it asks."""

    epoch: int
    ends_ms: int
    public_key: bytes
    batch: int
    quota_left: int


class Answer(NamedTuple):
    """Evaluated points, and the proof that one key was used for all."""

    epoch: int
    points: list[bytes]
    proof: bytes


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(eq=False)
class MatchServer:
    """Answers peers; the key of each peer and epoch is its own, so that two of them who put
    together what they got cannot compare it, and nothing from an old epoch can be used.

    Attributes:
      ledger: of keys, confirmed identifiers, quotas and the log.
      sealer: that sealed the confirmed identifiers.
      options: sizes and times.
      now_ms: the clock.
    """

    ledger: Ledger
    sealer: Sealer
    options: MatchOptions = field(default_factory=MatchOptions)
    now_ms: Callable[[], int] = _now_ms

    def begin(self) -> None:
        """Ends an epoch that was over while nobody served, and destroys its seed."""
        self._epoch()

    def terms(self, peer: str) -> Terms:
        """Of the present epoch."""
        epoch, now = self._epoch(), self.now_ms()
        used = self.ledger.used(peer, now - self.options.period_ms)
        left = max(0, self.options.quota - used)
        return Terms(
            epoch.number, epoch.ends_ms, _key(epoch, peer).public, self.options.batch, left
        )

    def evaluate(self, peer: str, epoch: int, kind: str, points: Sequence[bytes]) -> Answer:
        """Evaluates a batch.

        Raises:
          Refused: for another epoch, another size, what is no point, or beyond the quota. Points
            are looked at before the quota is touched, and every refusal is logged.
        """
        own, now = self._epoch(), self.now_ms()
        try:
            self._check(own, epoch, kind)
            if len(points) != self.options.batch:
                raise Refused("batch", f"give exactly {self.options.batch} points", 400)
            try:
                points = [voprf.checked_point(point) for point in points]
            except voprf.BadPoint:
                raise Refused("point", "there is something that is no point", 400) from None
        except Refused as refused:
            # A kind that there is not is the peer's own text, of any length.
            known = kind if kind in KINDS else ""
            self.ledger.note(peer, "evaluate", own.number, known, 0, now, refused.reason)
            raise
        if not self.ledger.spend(
            peer, kind, len(points), own.number, now, self.options.period_ms, self.options.quota
        ):
            raise Refused("quota", "the quota of this period is used up", 429)
        key = _key(own, peer)
        answered = voprf.multiply(key.secret, points)
        return Answer(own.number, answered, voprf.prove(key, points, answered))

    def published(self, peer: str, epoch: int, kind: str) -> list[bytes]:
        """Outputs of all confirmed identifiers of a kind under the peer's key, in the order of
        their bytes, filled up with outputs of nothing.

        Raises:
          Refused: for another epoch or kind.
        """
        own = self._epoch()
        self._check(own, epoch, kind)
        key = _key(own, peer)
        # Points are sealed with s: k/s times s·H(x) is k·H(x).
        real = voprf.multiply(
            key.secret, voprf.divide(self.sealer.scalar, self.ledger.confirmed(kind))
        )
        outputs = {voprf.output(kind, point) for point in real}
        size = self.options.least_published
        while size < len(outputs):
            size *= 2
        # The same ones each time, or whoever looks twice would know which they are.
        filling = _derived(own, f"filling\x1f{peer}\x1f{kind}")
        for i in range(size - len(outputs)):
            label = f"{i}".encode()
            outputs.add(HKDF(SHA256(), voprf.OUTPUT_BYTES, None, label).derive(filling))
        self.ledger.note(peer, "confirmed", own.number, kind, len(outputs), self.now_ms())
        return sorted(outputs)

    def _epoch(self) -> Epoch:
        return self.ledger.epoch(self.now_ms(), self.options.epoch_ms)

    @staticmethod
    def _check(own: Epoch, epoch: int, kind: str) -> None:
        if kind not in KINDS:
            raise Refused("kind", f"the kinds are {', '.join(KINDS)}", 400)
        if epoch != own.number:
            raise Refused("epoch", f"the epoch is {own.number}: begin anew", 409)


def _derived(epoch: Epoch, use: str) -> bytes:
    return HKDF(SHA256(), 32, None, use.encode()).derive(epoch.seed)


def _key(epoch: Epoch, peer: str) -> voprf.KeyPair:
    return voprf.key_pair(epoch.seed, f"distilwatch-match\x1f{epoch.number}\x1f{peer}".encode())
