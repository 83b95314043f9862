"""Sessions of input that ends: scored thousands at a time, and their rows made in columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.utils.windowed_value import WindowedValue
from numpy.typing import NDArray

from schemas.tables import TABLES
from transforms.coverage.layout import Sum
from transforms.scoring.bundle import Bundle
from transforms.scoring.fit import ACCOUNT_SESSION, PAYMENT_SESSION
from transforms.scoring.handler import VerifiedBundle
from transforms.scoring.model import FeatureRows, Scores, ScoringModel
from transforms.scoring.rows import PeerGroups, sketch_rows
from transforms.sessions.identity import ACCOUNT, PAYMENT, SessionKey, session_id
from transforms.sessions.shards import Named

SESSION_LEVELS = {ACCOUNT: ACCOUNT_SESSION, PAYMENT: PAYMENT_SESSION}
"""The level that sessions of each kind of key are scored at."""
_END = beam.window.GlobalWindow().max_timestamp()


@dataclass(eq=False)
class ScoreSessions(beam.PTransform):  # type: ignore[misc]
    """From sessions to Arrow tables of session_scores.

    Attributes:
      bundle: to score with.
      run_id: of the rows.
    """

    bundle: VerifiedBundle
    run_id: str

    def expand(self, sessions: beam.PCollection[Named]) -> beam.PCollection[pa.Table]:
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
        self._count = 0

    def process(self, sessions: Named) -> Iterator[pa.Table]:
        self._waiting.append(sessions)
        self._count += len(sessions.names)
        if self._count >= self._FULL:
            yield from self._score()

    def finish_bundle(self) -> Iterator[Any]:
        for table in self._score():
            yield WindowedValue(table, _END, (beam.window.GlobalWindow(),))

    def _score(self) -> Iterator[pa.Table]:
        waiting, self._waiting, self._count = self._waiting, [], 0
        if waiting:
            yield session_scores(Named.concat(waiting), self._bundle, self._run_id)


def session_scores(sessions: Named, bundle: Bundle, run_id: str) -> pa.Table:
    """Rows of session_scores for n sessions, each under its encoded `SessionKey`."""
    keys = [SessionKey.decode(name) for name in sessions.names]
    kinds = np.array([key.kind for key in keys])
    tables = []
    for kind, level in SESSION_LEVELS.items():
        at = np.flatnonzero(kinds == kind)
        if len(at):
            own = [keys[i] for i in at]
            tables.append(_level_scores(own, sessions.take(at), bundle, level, run_id))
    return pa.concat_tables(tables)


def _level_scores(
    keys: list[SessionKey], sessions: Named, bundle: Bundle, level: str, run_id: str
) -> pa.Table:
    stack, n = sessions.stack, len(keys)
    peers = PeerGroups(bundle.references).of_all(stack)
    rows = sketch_rows(stack, peers, bundle.references)
    model = bundle.models.get(level)
    if model is None:  # nothing is known of this level, so nothing is said
        score, p_value, groups = np.zeros(n), np.ones(n), rows.groups
        features = _no_features(n)
    else:
        scores, groups = model.score(rows), model.peer_groups(rows)
        score, p_value = scores.score, scores.p_value
        features = _features(model, rows, scores)
    first = stack.first_ms.tolist()
    events = stack.sums[:, Sum.EVENTS]
    columns: dict[str, Any] = {
        "session_id": [session_id(k.kind, k.key, at) for k, at in zip(keys, first, strict=True)],
        "revision": events,
        "level": [level] * n,
        "key_kind": [key.kind for key in keys],
        "key": [key.key.encode("utf-8", "replace").decode() for key in keys],
        "session_start": stack.first_ms,
        "session_end": stack.last_ms,
        "pane": ["on_time"] * n,
        "peer_group": groups,
        "request_count": events,
        "input_tokens": stack.sums[:, Sum.INPUT_TOKENS],
        "output_tokens": stack.sums[:, Sum.OUTPUT_TOKENS],
        "features": features,
        "score": score,
        "p_value": p_value,
        "bundle_version": [bundle.version] * n,
        "run_id": [run_id] * n,
    }
    schema = TABLES["session_scores"].arrow()
    arrays = [_array(columns.get(field.name), field, n) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: Any, field: pa.Field, n: int) -> pa.Array:
    if values is None:
        return pa.nulls(n, field.type)
    if isinstance(values, pa.Array):
        return values
    return pa.array(values, field.type)


def _features(model: ScoringModel, rows: FeatureRows, scores: Scores) -> pa.Array:
    """The list column `features`: of each key those that are known."""
    known = np.isfinite(rows.features)
    _, column = np.nonzero(known)
    parts = {
        "name": pa.DictionaryArray.from_arrays(
            pa.array(column, pa.int32()), pa.array(model.columns, pa.string())
        ).dictionary_decode(),
        "value": rows.features[known],
        "normal_low": scores.low[known],
        "normal_high": scores.high[known],
        "z": scores.z[known],
    }
    return _lists(known.sum(axis=1), parts)


def _no_features(n: int) -> pa.Array:
    none = np.empty(0)
    parts = {"name": pa.array([], pa.string()), "value": none, "normal_low": none,
             "normal_high": none, "z": none}  # fmt: skip
    return _lists(np.zeros(n, np.int64), parts)


def _lists(sizes: NDArray[np.int64], parts: dict[str, Any]) -> pa.Array:
    kind = TABLES["session_scores"].arrow().field("features").type
    fields = [kind.value_type.field(i) for i in range(kind.value_type.num_fields)]
    structs = pa.StructArray.from_arrays(
        [_array(parts[field.name], field, 0) for field in fields], fields=fields
    )
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), structs, type=kind)
