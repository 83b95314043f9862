"""How the pipeline is put together, where input that ends and a stream differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, TimestampedValue

from pipelines.dataflow.translate import Kind, example_plan
from pipelines.detect.build import (
    _findings,
    _newest_profiles,
    _reading,
    _revision_and_pane,
    _with_latest_pane,
    build,
)
from pipelines.detect.controlled import ControlledFindings
from pipelines.detect.findings import name_in_window
from tests.pipelines.test_findings import profile
from tests.support.events import START_MS
from transforms.clusters.membership import KnownIds
from transforms.coverage.layout import DAY_MS
from transforms.ingest.dedupe import _ShardFn


class _Steps(PipelineVisitor):
    """The DoFn of every step by its label."""

    def __init__(self) -> None:
        self.fns: dict[str, Any] = {}

    def visit_transform(self, node: AppliedPTransform) -> None:
        if isinstance(node.transform, beam.ParDo):
            self.fns[node.full_label] = node.transform.fn


@pytest.mark.parametrize("kind", ["bounded", "endless"])
def test_only_input_that_ends_is_gathered_before_it_is_split(kind: Kind, tmp_path: Any) -> None:
    steps = _Steps()
    with example_plan(kind) as plan:
        pipeline = beam.Pipeline()
        build(pipeline, plan, str(tmp_path))
        pipeline.visit(steps)
    [split] = [fn for name, fn in steps.fns.items() if name.endswith("Clean/Dedupe/ShardByAccount")]
    assert isinstance(split, _ShardFn) == (kind == "bounded")


def test_what_earlier_processes_flagged_is_judged_whether_it_is_in_the_tables_or_not() -> None:
    known = KnownIds(revisions={START_MS: {"in the tables": 3}})
    with example_plan("endless") as plan:
        plan = replace(plan, earlier=known, flagged=[(START_MS, "on its way")])
        findings = _findings(plan, 60_000, 60_000)
    assert isinstance(findings, ControlledFindings)
    names = {name_in_window(START_MS, name) for name in ("in the tables", "on its way")}
    assert findings.earlier == names


# --- rows of profiles -----------------------------------------------------------------------------


def with_pane(name: str, pane: str, linked: int) -> Any:
    one = profile(name)
    return replace(one, item=one.item._replace(pane=pane, linked=linked))


def panes(singles: list[Any], expected: list[str]) -> None:
    """Runs what makes rows of accounts that are alone, and looks at the panes that they tell."""
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        members, alone = (
            pipeline
            | f"Make{name}" >> beam.Create([TimestampedValue(s, START_MS / 1000) for s in items])
            | f"Days{name}" >> beam.WindowInto(FixedWindows(DAY_MS / 1000))
            for name, items in (("Members", []), ("Singles", singles))
        )
        rows = _newest_profiles(alone, members, "run", 4)
        assert_that(rows | beam.Map(lambda row: row["pane"]), equal_to(expected))


def test_linking_that_comes_back_to_what_was_early_does_not_open_a_window_again() -> None:
    singles = [with_pane("a", "on_time", 1), with_pane("a", "early", 2)]
    panes(singles, ["on_time", "on_time"])


def test_what_linking_said_before_tells_nothing_after_what_it_said_since() -> None:
    panes([with_pane("a", "late", 2), with_pane("a", "early", 1)], ["late"])


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ((7, "early"), (7, "on_time"), "on_time"),
        ((7, "on_time"), (7, "early"), "on_time"),
        ((7, "late"), (7, "on_time"), "late"),
        ((7, "late"), (7, "early"), "late"),
        ((7, "on_time"), (7, "late"), "late"),
        # What other events make is another row.
        ((7, "on_time"), (9, "early"), "early"),
    ],
)
def test_the_row_of_a_window_that_is_over_says_so(
    before: tuple[int, str], now: tuple[int, str], told: str
) -> None:
    row = {"revision": now[0], "pane": now[1], "key": "a"}
    said = _with_latest_pane(before, row)
    assert said == {"revision": now[0], "pane": told, "key": "a"}
    assert row["pane"] == now[1]
    assert _revision_and_pane(said) == (now[0], told)


def test_flink_alone_is_given_a_pace_which_is_that_of_the_settings() -> None:
    with example_plan("endless") as plan:
        assert _reading(replace(plan, runner="prism")).pace is None
        pace = _reading(replace(plan, runner="flink")).pace
        assert pace is not None
        assert pace.window_ms == plan.config.profiles.window_ms
        assert pace.lateness_ms == plan.config.ingest.allowed_lateness_ms
        assert pace.settle_ms > plan.config.sessions.early_firing_ms
