"""Of clusters in a stream: what is flagged, and what takes that back, in any order."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from pipelines.detect.worth_saying import Said, WorthSaying, hear
from transforms.clusters.rows import Finding
from transforms.sinks.known_clusters import RESOLVED

DAY = 86_400_000


def finding(revision: int, flagged: bool, cluster: str = "c") -> Finding:
    status = "open" if flagged else RESOLVED
    row = {"cluster_id": cluster, "window_start": 7 * DAY, "revision": revision, "status": status}
    return Finding(row, [{"cluster_id": cluster, "revision": revision}])


def newest(rows: list[Finding]) -> tuple[int, str] | None:
    return max(((f.cluster["revision"], f.cluster["status"]) for f in rows), default=None)


@given(st.lists(st.booleans(), max_size=8), st.randoms(use_true_random=False))
def test_the_newest_row_says_what_holds_whatever_the_order(flags: list[bool], draw: Any) -> None:
    findings = [finding(i, flag) for i, flag in enumerate(flags)]
    mixed = list(findings)
    draw.shuffle(mixed)
    said, passed = Said(), []
    for one in mixed:
        said, now = hear(said, one)
        passed += now
    first = flags.index(True) if any(flags) else len(flags)
    assert newest(passed) == newest(findings[first:])
    revisions = [f.cluster["revision"] for f in passed]
    assert len(set(revisions)) == len(revisions)
    assert {i for i, flag in enumerate(flags) if flag} <= set(revisions)
    # The same again, as after a retry, adds nothing that would change what holds.
    for one in mixed:
        said, now = hear(said, one)
        passed += now
    assert newest(passed) == newest(findings[first:])


@pytest.mark.parametrize(
    ("flags", "holds"), [((True, False), False), ((False, True), True), ((True, False, True), True)]
)
def test_of_what_is_said_of_one_revision_the_last_holds(
    flags: tuple[bool, ...], holds: bool
) -> None:
    said, passed = Said(), []
    for flag in flags:
        said, now = hear(said, finding(7, flag))
        passed += now
    assert (passed[-1].cluster["status"] != RESOLVED) == holds


def test_each_cluster_has_state_of_its_own() -> None:
    made = [finding(1, False, "never"), finding(1, True, "once"), finding(2, False, "once")]
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        passed = (
            pipeline
            | beam.Create(made)
            | WorthSaying(40 * DAY)
            | beam.Map(lambda f: (f.cluster["cluster_id"], f.cluster["revision"]))
        )
        assert_that(passed, equal_to([("once", 1), ("once", 2)]))
