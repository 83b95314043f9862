"""When one account went on where another stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.report.story import Member

_SOON_MS = 3_600_000
MOST = 12


@dataclass(frozen=True, slots=True)
class HandOver:
    """One account falls silent, another that shares the hand-over begins.

    Attributes:
      at_ms: when the second began.
      before, after: accounts.
      pause_ms: between the last request of the one and the first of the other.
    """

    at_ms: int
    before: str
    after: str
    pause_ms: int

    @property
    def pause(self) -> str:
        """The pause in words."""
        minutes = round(self.pause_ms / 60_000)
        return "at once" if minutes < 1 else f"{minutes} minute{'s' * (minutes > 1)} later"


def hand_overs(members: Sequence[Member]) -> tuple[HandOver, ...]:
    """Hand-overs among members that are linked by one, in order of time.

    The tables say which accounts are linked by a hand-over (a refusal, silence, and another account
    that begins within the hour); when it was follows from their sessions: the first session of the
    one begins within an hour after the last of the other.
    """
    linked: dict[str, list[Member]] = {}
    for member in members:
        for thing in member.shared:
            if thing.kind == "hand_over" and member.sessions:
                linked.setdefault(thing.thing, []).append(member)
    found = {}
    for group in linked.values():
        for before in group:
            end = max(s.end_ms for s in before.sessions)
            for after in group:
                begin = after.sessions[0].start_ms
                if after is not before and 0 <= begin - end <= _SOON_MS:
                    key = before.account, after.account
                    found[key] = HandOver(begin, *key, begin - end)
    return tuple(sorted(found.values(), key=lambda h: (h.at_ms, h.before, h.after)))
