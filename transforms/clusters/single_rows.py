"""Rows of session_scores of accounts in no cluster, in columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.utils.windowed_value import WindowedValue

from transforms.clusters.singles import Singles
from transforms.scoring.columns import score_table
from transforms.scoring.fit import PROFILE
from transforms.sessions.identity import ACCOUNT, session_id

_END = beam.window.GlobalWindow().max_timestamp()


@dataclass(eq=False)
class SingleRows(beam.PTransform):  # type: ignore[misc]
    """From `Singles`, which have left their windows, to Arrow tables of session_scores."""

    run_id: str

    def expand(self, singles: beam.PCollection[Singles]) -> beam.PCollection[pa.Table]:
        return singles | "Rows" >> beam.ParDo(_RowsFn(self.run_id)).with_output_types(pa.Table)


class _RowsFn(beam.DoFn):  # type: ignore[misc]
    """Gathers what a bundle of elements brings: every table that leaves becomes a file."""

    _FULL = 4_000  # rows

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    def start_bundle(self) -> None:
        self._waiting: list[pa.Table] = []

    def process(self, singles: Singles) -> Iterator[pa.Table]:
        self._waiting.append(single_rows(singles, self._run_id))
        if sum(map(len, self._waiting)) >= self._FULL:
            yield from self._gathered()

    def finish_bundle(self) -> Iterator[Any]:
        for table in self._gathered():
            yield WindowedValue(table, _END, (beam.window.GlobalWindow(),))

    def _gathered(self) -> Iterator[pa.Table]:
        waiting, self._waiting = self._waiting, []
        if waiting:
            yield pa.concat_tables(waiting)


def single_rows(singles: Singles, run_id: str) -> pa.Table:
    """Rows of session_scores of n accounts over their window."""
    n, start_ms = len(singles.names), singles.start_ms
    return score_table(
        [session_id(PROFILE, name, start_ms) for name in singles.names],
        PROFILE,
        [ACCOUNT] * n,
        singles.names,
        singles.stack,
        singles.scored,
        run_id,
        window_start=[start_ms] * n,
        window_end=[singles.end_ms] * n,
        combined_p_value=singles.scored.scores.p_value,
    )
