"""Who a session belongs to, where it may begin and end, and what it is called."""

from __future__ import annotations

from typing import NamedTuple

from transforms.ingest.hashing import hash64

ACCOUNT = "account"
PAYMENT = "payment"
_SEPARATOR = "\x1f"


class SessionKey(NamedTuple):
    """Grouping key of a session.

    Attributes:
      kind: ACCOUNT or PAYMENT.
      block: index of the aligned block of `max_length_ms` that the events fall in. A key that never
        pauses is cut at the block's end, so no session is longer than one block.
      key: the account id or the payment pseudonym.
    """

    kind: str
    block: int
    key: str

    def encode(self) -> str:
        """One string, because strings have a deterministic coder on every engine."""
        return _SEPARATOR.join((self.kind, str(self.block), self.key))

    @classmethod
    def decode(cls, text: str) -> SessionKey:
        kind, block, key = text.split(_SEPARATOR, 2)
        return cls(kind, int(block), key)


def session_id(kind: str, key: str, window_start_ms: int) -> str:
    """Name of a session: the same for the same key and start, whatever run finds it.

    A late event from before the start makes an earlier session that contains this one; the view
    `current_sessions` then drops the contained row.
    """
    return f"s-{hash64(_SEPARATOR.join((kind, key, str(window_start_ms)))):016x}"
