"""A span of the past, scored anew as the live job scored it, or would have.

Rows of a span [from, to): sessions that begin in it, and profile windows and clusters that touch
it. To get each of them whole, more is read than the span: sessions are cut at multiples of
`sessions.max_length`, profiles at multiples of `profiles.window`, so reading from the multiple
before to the multiple after is enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.config import Config
from transforms.ingest.transforms import Span

_FIRST_MS, _LAST_MS = 0, 1 << 52
# What is later has no end: people write 9999-12-31, and whole windows end beyond Python's calendar.
_FAR_MS = 253_370_764_800_000  # 9999-01-01


@dataclass(frozen=True, slots=True)
class Backfill:
    """What is to be scored, and what has to be read for it.

    Attributes:
      asked: the span.
      read: span of the events that its rows need.
      skew_ms: how far a record's Kafka timestamp may lie behind its event time.
    """

    asked: Span
    read: Span
    skew_ms: int

    @classmethod
    def of(cls, from_ms: int | None, to_ms: int | None, config: Config) -> Backfill | None:
        """What a span needs; None where there is neither a begin nor an end."""
        if from_ms is None and to_ms is None:
            return None
        asked = Span(
            max(from_ms or 0, _FIRST_MS), _LAST_MS if to_ms is None or to_ms > _FAR_MS else to_ms
        )
        lengths = config.sessions.max_length_ms, config.profiles.window_ms
        starts = [asked.start_ms // n * n for n in lengths]
        ends = [-(-asked.end_ms // n) * n for n in lengths]
        return cls(asked, Span(min(starts), max(ends)), config.ingest.max_future_ms)

    def has_session(self, start_ms: int) -> bool:
        """Whether a session that begins then is part of it."""
        return self.asked.start_ms <= start_ms < self.asked.end_ms

    def has_window(self, start_ms: int, end_ms: int) -> bool:
        """Whether a profile window touches it."""
        return start_ms < self.asked.end_ms and end_ms > self.asked.start_ms

    def source(self, uri: str) -> str:
        """Where to begin in an input: a record is written after its event, but for the skew of
        clocks, so a topic need not be read from its beginning."""
        if not uri.startswith("kafka://") or "start=" in uri or not self.read.start_ms:
            return uri
        moment = datetime.fromtimestamp((self.read.start_ms - self.skew_ms) / 1000, UTC)
        return f"{uri}{'&' if '?' in uri else '?'}start={moment.isoformat()}"

    def words(self) -> str:
        """What is read, for people."""

        def when(ms: int) -> str:
            return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")

        begin = when(self.read.start_ms) if self.read.start_ms else "the beginning"
        end = "the end" if self.asked.end_ms == _LAST_MS else when(self.read.end_ms)
        return f"Events from {begin} to {end} UTC are read, so that every row is whole"
