"""Sessions scored thousands at a time, and their rows made in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.utils.windowed_value import WindowedValue

from transforms.scoring.bundle import Bundle
from transforms.scoring.columns import score_table
from transforms.scoring.fit import ACCOUNT_SESSION, PAYMENT_SESSION
from transforms.scoring.handler import VerifiedBundle, score_rows
from transforms.scoring.rows import PeerGroups, sketch_rows
from transforms.sessions.endless import Reported
from transforms.sessions.identity import ACCOUNT, PAYMENT, SessionKey, session_id
from transforms.sessions.now_and_then import ON_TIME
from transforms.sessions.shards import Named

SESSION_LEVELS = {ACCOUNT: ACCOUNT_SESSION, PAYMENT: PAYMENT_SESSION}
"""The level that sessions of each kind of key are scored at."""
_KEPT = 64  # for trials of other bundles, of those that are scored together
_END = beam.window.GlobalWindow().max_timestamp()


@dataclass(eq=False)
class ScoreSessions(beam.PTransform):  # type: ignore[misc]
    """From sessions, of input that ends or as a stream reports them, to Arrow tables of
    session_scores.

    Attributes:
      bundle: to score with.
      run_id: of the rows.
    """

    bundle: VerifiedBundle
    run_id: str

    def expand(self, sessions: beam.PCollection[Named | Reported]) -> beam.PCollection[pa.Table]:
        return sessions | "Score" >> beam.ParDo(
            _ScoreFn(self.bundle, self.run_id)
        ).with_output_types(pa.Table)


class _ScoreFn(beam.DoFn):  # type: ignore[misc]
    """Gathers what a bundle of elements brings, up to `_FULL` sessions: the cost of a call of the
    detectors hardly depends on how many it is about."""

    _FULL = 4_000

    def __init__(self, bundle: VerifiedBundle, run_id: str) -> None:
        self._source, self._run_id = bundle, run_id

    def setup(self) -> None:
        self._bundle = self._source.load()

    def start_bundle(self) -> None:
        self._waiting: list[Named] = []
        self._panes: list[str] = []

    def process(self, element: Named | Reported) -> Iterator[pa.Table]:
        sessions, panes = (
            element if isinstance(element, Reported) else (element, [ON_TIME] * len(element.names))
        )
        self._waiting.append(sessions)
        self._panes += panes
        if len(self._panes) >= self._FULL:
            yield from self._score()

    def finish_bundle(self) -> Iterator[Any]:
        for table in self._score():
            yield WindowedValue(table, _END, (beam.window.GlobalWindow(),))

    def _score(self) -> Iterator[pa.Table]:
        waiting, self._waiting = self._waiting, []
        panes, self._panes = self._panes, []
        if waiting:
            sessions = Named.concat(waiting)
            for kind, level in SESSION_LEVELS.items():
                self._source.keep(level, _newest_of(kind, sessions))
            yield self._source.scored(
                self._bundle, lambda bundle: session_scores(sessions, bundle, self._run_id, panes)
            )


def _newest_of(kind: str, sessions: Named) -> list[Any]:
    """The last sessions of a kind of key, a few, for trials of other bundles."""
    keys = [SessionKey.decode(name) for name in sessions.names]
    at = [i for i, key in enumerate(keys) if key.kind == kind][-_KEPT:]
    sketches = sessions.stack.take(np.array(at, np.int64)).sketches()
    return [
        SimpleNamespace(kind=kind, key=keys[i].key, sketch=sketch)
        for i, sketch in zip(at, sketches, strict=True)
    ]


def session_scores(
    sessions: Named, bundle: Bundle, run_id: str, panes: Sequence[str] | None = None
) -> pa.Table:
    """Rows of session_scores for n sessions, each under its encoded `SessionKey`, and for the pane
    of each; None: all are on time."""
    if panes is None:
        panes = [ON_TIME] * len(sessions.names)
    keys = [SessionKey.decode(name) for name in sessions.names]
    kinds = np.array([key.kind for key in keys])
    tables = []
    for kind, level in SESSION_LEVELS.items():
        at = np.flatnonzero(kinds == kind)
        if len(at):
            own = [keys[i] for i in at]
            pane = [panes[i] for i in at.tolist()]
            tables.append(_level_scores(own, sessions.take(at), pane, bundle, level, run_id))
    return pa.concat_tables(tables)


def _level_scores(
    keys: list[SessionKey],
    sessions: Named,
    panes: list[str],
    bundle: Bundle,
    level: str,
    run_id: str,
) -> pa.Table:
    stack = sessions.stack
    peers = PeerGroups(bundle.references).of_all(stack)
    # Of sessions nobody asks for reasons.
    scored = score_rows(sketch_rows(stack, peers, bundle.references), bundle, level, 0.0)
    begins = stack.first_ms.tolist()
    names = [session_id(k.kind, k.key, ms) for k, ms in zip(keys, begins, strict=True)]
    kinds, own = [key.kind for key in keys], [key.key for key in keys]
    return score_table(names, level, kinds, own, stack, scored, run_id, pane=panes)
