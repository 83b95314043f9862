"""What a job that takes events one by one does with one of them, whatever engine carries it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.accumulator import Accumulator, Request
from bench.baseline import EmbedFn, RefusedError, keyed, parse
from bench.case import LEVELS, Case
from pipelines.parts import decoder
from transforms.scoring.handler import Scored, score_items
from transforms.scoring.levels import rows_of_sketches
from transforms.sessions.identity import SessionKey, session_id
from transforms.sessions.transforms import Session


class OneByOne:
    """The functions of the per-event pipeline, without Beam around them."""

    def __init__(self, case: Case) -> None:
        self._decoder = decoder(case.config)
        self._bundle = case.verified().load()
        self._max_length_ms = case.config.sessions.max_length_ms
        self._embed = EmbedFn(self._decoder, case.verified())
        self._embed.setup()

    def request(self, line: str) -> Request | None:
        """A record, decoded and placed; None when it is refused."""
        try:
            parsed = parse(line, self._decoder)
        except RefusedError:
            return None
        return next(self._embed.process(parsed))

    def keyed(self, request: Request) -> list[tuple[str, Request]]:
        """A request under its account, and under its payment fingerprint if it has one."""
        return list(keyed((request.name, request), self._max_length_ms))

    def score(self, sessions: Sequence[Session]) -> Iterable[Scored[Session]]:
        """Scores sessions of any kind, those of a kind together."""
        for kind, level in LEVELS.items():
            of_kind = [session for session in sessions if session.kind == kind]
            if of_kind:
                yield from score_items(of_kind, self._bundle, level, rows_of_sketches, 0.0)


def session_of(name: str, accumulator: Accumulator) -> Session:
    """The session that an accumulator holds.

    Args:
      name: an encoded `SessionKey`.
      accumulator: of all its requests.
    """
    key, sketch = SessionKey.decode(name), accumulator.sketch()
    return Session(
        key.kind,
        key.key,
        session_id(key.kind, key.key, sketch.first_ms),
        sketch.first_ms,
        sketch.last_ms,
        "on_time",
        sketch,
    )
