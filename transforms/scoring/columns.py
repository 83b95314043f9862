"""Rows of the table session_scores for thousands of keys at once, made in columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.tables import TABLES
from transforms.coverage.layout import Sum
from transforms.coverage.stack import SketchStack
from transforms.scoring.handler import ScoredRows


def score_table(
    names: Sequence[str],
    level: str,
    kinds: Sequence[str],
    keys: Sequence[str],
    stack: SketchStack,
    scored: ScoredRows,
    run_id: str,
    **more: Any,
) -> pa.Table:
    """The rows that `score_row` makes one by one, as an Arrow table of the table's schema.

    Args:
      names: ids of n sessions, or of n profiles.
      level: that they were scored at.
      kinds, keys: of each one's key.
      stack: what was done under each.
      scored: of each.
      run_id: of the rows.
      more: other columns by their names, n values each.
    """
    n, events = len(names), stack.sums[:, Sum.EVENTS]
    columns: dict[str, Any] = {
        "session_id": names,
        "revision": events,
        "level": [level] * n,
        "key_kind": kinds,
        "key": [key.encode("utf-8", "replace").decode() for key in keys],
        "session_start": stack.first_ms,
        "session_end": stack.last_ms,
        "pane": ["on_time"] * n,
        "peer_group": scored.peer_groups,
        "request_count": events,
        "input_tokens": stack.sums[:, Sum.INPUT_TOKENS],
        "output_tokens": stack.sums[:, Sum.OUTPUT_TOKENS],
        "features": _features(scored),
        "score": scored.scores.score,
        "p_value": scored.scores.p_value,
        "bundle_version": [scored.bundle_version] * n,
        "run_id": [run_id] * n,
        **more,
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


def _features(scored: ScoredRows) -> pa.Array:
    """The list column `features`: of each key those that are known."""
    known = np.isfinite(scored.features)
    _, column = np.nonzero(known)
    parts = {
        "name": pa.DictionaryArray.from_arrays(
            pa.array(column, pa.int32()), pa.array(scored.columns, pa.string())
        ).dictionary_decode(),
        "value": scored.features[known],
        "normal_low": scored.scores.low[known],
        "normal_high": scored.scores.high[known],
        "z": scored.scores.z[known],
    }
    kind = TABLES["session_scores"].arrow().field("features").type
    fields = [kind.value_type.field(i) for i in range(kind.value_type.num_fields)]
    structs = pa.StructArray.from_arrays(
        [_array(parts[field.name], field, 0) for field in fields], fields=fields
    )
    offsets = np.concatenate([[0], np.cumsum(known.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), structs, type=kind)
