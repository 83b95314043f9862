"""The lab that asks: blinds, checks the proof, unblinds, and compares by itself."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from schemas.errors import DistilwatchError
from transforms.sharing.private import voprf
from transforms.sharing.private.identifiers import Sealed
from transforms.sharing.private.sealed import Sealer
from transforms.sharing.private.server import Answer, Terms

MOST_BATCH = 4_096


class Peer(Protocol):
    """The other lab, however it is reached."""

    def terms(self) -> Terms: ...

    def evaluate(self, epoch: int, kind: str, points: Sequence[bytes]) -> Answer: ...

    def published(self, epoch: int, kind: str) -> list[bytes]: ...


class Matches(NamedTuple):
    """What came of a query.

    Attributes:
      found: identifiers that the other lab has confirmed.
      asked: identifiers that were evaluated.
      left: how many were not, because the quota did not reach.
      evaluated: points that were evaluated, filling included.
      published: size of the other lab's set, filling included.
      epoch: of the other lab's key.
      public_key: that it showed, and that its proofs are of.
      last: point of the last identifier that was asked, to go on behind; b"" where none was.
    """

    found: list[Sealed]
    asked: int
    left: int
    evaluated: int
    published: int
    epoch: int
    public_key: bytes
    last: bytes = b""


def find_matches(
    peer: Peer,
    kind: str,
    identifiers: Sequence[Sealed],
    sealer: Sealer,
    pinned: Mapping[int, bytes] | None = None,
    least_batch: int = 256,
    after: bytes = b"",
) -> Matches:
    """Which of our identifiers the other lab has confirmed; it does not learn which, nor how many.

    Args:
      peer: the other lab.
      kind: of the identifiers.
      identifiers: sealed by `sealer`; only those of the kind are asked.
      sealer: of this lab.
      pinned: public keys that the other lab has shown us before, by epoch.
      least_batch: points of one request at least. The fewer the server may have, the better it
        knows how many identifiers we ask.
      after: where the quota does not reach for all, those behind this point are asked first, in the
        order of their points, and those up to it last; see `Matches.last`.

    Raises:
      DistilwatchError: when the other lab's key has changed within its epoch, its epochs go
        backwards, it wants batches that tell too much or are too large, or its proof is wrong.
    """
    terms = peer.terms()
    _check_key(terms, pinned or {})
    if not least_batch <= terms.batch <= MOST_BATCH:
        raise DistilwatchError(
            f"the other lab wants batches of {terms.batch:,} points, not of {least_batch:,} to "
            f"{MOST_BATCH:,}",
            "private matching",
            "ask it for `serve --batch 256`: smaller ones tell it how many identifiers we ask; "
            "--least-batch takes them nevertheless",
        )
    own = sorted(
        (one for one in dict.fromkeys(identifiers) if one.kind == kind),
        key=lambda one: (one.point <= after, one.point),
    )
    batches = min(-(-len(own) // terms.batch), max(terms.quota_left, 0) // terms.batch)
    asked = own[: batches * terms.batch]
    outputs: dict[bytes, Sealed] = {}
    for i in range(batches):
        part = asked[i * terms.batch : (i + 1) * terms.batch]
        outputs.update(_evaluated(peer, terms, kind, part, sealer))
    published = peer.published(terms.epoch, kind)
    found = [outputs[value] for value in published if value in outputs]
    return Matches(
        sorted(found), len(asked), len(own) - len(asked), batches * terms.batch, len(published),
        terms.epoch, terms.public_key, asked[-1].point if asked else b"",
    )  # fmt: skip


def _check_key(terms: Terms, pinned: Mapping[int, bytes]) -> None:
    newest = max(pinned, default=terms.epoch)
    if terms.epoch < newest:
        what = f"the other lab is back in epoch {terms.epoch}, after {newest}"
    elif pinned.get(terms.epoch, terms.public_key) != terms.public_key:
        what = f"the other lab shows another key within its epoch {terms.epoch}"
    else:
        return
    raise DistilwatchError(
        what,
        "private matching",
        "ask it why: two keys would let it tell our questions apart; if it has lost its state, "
        "take it out of match-pins.json",
    )


def _evaluated(
    peer: Peer, terms: Terms, kind: str, part: Sequence[Sealed], sealer: Sealer
) -> dict[bytes, Sealed]:
    """Outputs of one batch, which is filled up and in an order that says nothing."""
    places: list[Sealed | None] = [*part, *[None] * (terms.batch - len(part))]
    secrets.SystemRandom().shuffle(places)
    blinds = [voprf.random_scalar() for _ in places]
    blinded = [
        voprf.multiply(
            blind, [place.point if place else voprf.hash_to_group(secrets.token_bytes(32))]
        )[0]
        for blind, place in zip(blinds, places, strict=True)
    ]
    answer = peer.evaluate(terms.epoch, kind, blinded)
    try:
        right = voprf.proves(terms.public_key, blinded, answer.points, answer.proof)
    except voprf.BadPoint:
        right = False
    if not right:
        raise DistilwatchError(
            "the other lab's answer does not prove that its key made it",
            "private matching",
            "do not use it, and ask the other lab; its server may be broken or not honest",
        )
    outputs = {}
    for place, blind, point in zip(places, blinds, answer.points, strict=True):
        if place is not None:
            # What was asked is r·s·H(x).
            [bare] = voprf.divide(voprf.product(blind, sealer.scalar), [point])
            outputs[voprf.output(kind, bare)] = place
    return outputs
