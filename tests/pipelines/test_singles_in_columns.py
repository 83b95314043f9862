"""A whole run in which accounts that are alone go in columns, against one where each goes alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest

from pipelines.console import Console
from pipelines.detect import DetectOptions, controlled, detect
from pipelines.detect.build import profile_row
from pipelines.settings import Config
from schemas.tables import TABLES
from tests.support.commands import query
from tests.support.events import START_MS
from tests.support.sketches import small_bundle
from tests.support.small_world import as_lines, requests, small_config
from transforms.alerts.control import Plain
from transforms.clusters import single_rows, together
from transforms.clusters.singles import Singles, versions_of
from transforms.coverage.layout import DAY_MS
from transforms.scoring.bundle import save_bundle

BUILD = sys.modules["pipelines.detect.build"]  # the package calls its function so, too
HOUR_MS = 3_600_000
SPAN = START_MS // DAY_MS * DAY_MS + DAY_MS
Run = Callable[..., dict[str, list[str]]]


class _RowsOfEach(beam.PTransform):  # type: ignore[misc]
    """`SingleRows` of accounts one by one."""

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self._run_id = run_id

    def expand(self, singles: Any) -> Any:
        each = singles | beam.FlatMap(Singles.each) | beam.Map(profile_row, self._run_id)
        return each | "Tables" >> beam.Map(_table).with_output_types(pa.Table)


def _table(row: dict[str, Any]) -> pa.Table:
    return TABLES["session_scores"].to_arrow([row])


def _each(singles: Singles, max_p: float = 1.0) -> list[Any]:
    return singles.each()


def _all_named(singles: Singles, cap: float) -> Plain:
    tests = [test for one in singles.each() for test in controlled.hypotheses_of(one, False)]
    names, p_values = zip(*((test.name, test.value) for test in tests), strict=True)
    return Plain(versions_of(singles), names, np.array(p_values), np.empty(0))


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Has every account that is alone go through every step by itself from now on."""

    def go_alone() -> None:
        monkeypatch.setattr(BUILD, "SingleRows", _RowsOfEach)
        monkeypatch.setattr(controlled, "plain_tests", _all_named)
        for pick in ("up_to", "who_absorbed", "who_hit"):
            monkeypatch.setattr(Singles, pick, _each)

    return go_alone


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs detect, and returns the rows of each table, sorted."""
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    save_bundle(small_bundle(), tmp_path / "bundle")

    def run_once(
        database: str, inputs: list[Path], config: Config, **more: Any
    ) -> dict[str, list[str]]:
        options = DetectOptions(
            [*map(str, inputs)], tmp_path / "bundle", [f"duckdb:///{tmp_path / database}"], config,
            None, "run", [], **more,
        )  # fmt: skip
        with Console(as_json=True) as console:
            detect(options, console)
        return {
            table: sorted(map(repr, query(tmp_path / database, f"SELECT * FROM {table}")))
            for table in (
                "session_scores", "flagged_clusters", "cluster_members", "cluster_evidence",
                "sightings", "run_health",
            )
        }  # fmt: skip

    return run_once


def days(folder: Path, moved: str) -> list[Path]:
    """Files of two days: half of the accounts share a payment with one other, the rest nothing.

    Args:
      folder: for the files.
      moved: of the accounts on the first day two are on this card.
    """
    made = []
    for day in range(2):
        some = requests(16, 7, 5 * HOUR_MS, START_MS + day * DAY_MS, day)
        for i, one in enumerate(some):
            number = int(one["account_id"][-3:])
            one["event_id"] += f"/{day}/{i}"
            if number >= 8:
                one["payment_fingerprint"] = f"own-{number}"
            if not day and number in (8, 9):
                one["payment_fingerprint"] = f"{moved}-{number % (1 + (moved == 'apart'))}"
        path = folder / f"{moved}-{day}.jsonl"
        path.write_bytes(b"\n".join(as_lines(some)) + b"\n")
        made.append(path)
    return made


@pytest.mark.parametrize("control", ["both", "budget"])
def test_a_run_in_columns_writes_what_one_writes_that_goes_one_by_one(
    control: str,
    tmp_path: Path,
    run: Run,
    one_by_one: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over two windows, with what an earlier run said, a span, and files in either order."""
    config = small_config(alerts__control=control, alerts__max_p=0.6, alerts__pages_per_day=1e5)
    before, now = days(tmp_path, "joined"), days(tmp_path, "apart")

    def all_runs(name: str) -> list[dict[str, list[str]]]:
        # What was joined is apart in the second run, which resolves it.
        return [
            run(f"{name}.duckdb", before, config),
            run(f"{name}.duckdb", now, config),
            run(f"{name}-span.duckdb", now[::-1], config, from_ms=SPAN, to_ms=SPAN + DAY_MS),
        ]

    monkeypatch.setattr(together, "_AT_ONCE", 3)
    monkeypatch.setattr(single_rows._RowsFn, "_FULL", 5)
    found = all_runs("columns")
    one_by_one()
    assert all_runs("each") == found
    _, again, span = found
    sizes = "SELECT DISTINCT account_count FROM flagged_clusters ORDER BY 1"
    assert query(tmp_path / "columns.duckdb", sizes) == [(1,), (2,)]
    assert any("resolved" in row for row in again["flagged_clusters"])
    assert any("profile" in row for row in span["session_scores"])
