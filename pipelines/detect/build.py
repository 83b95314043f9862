"""The pipeline of `detect`: the whole way of an event, with an end and without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from pipelines.detect.controlled import ControlledFindings
from pipelines.detect.findings import Findings
from pipelines.detect.plan import Plan
from pipelines.parts import (
    decoder,
    embeds_texts,
    link_options,
    read_events,
    session_options,
)
from transforms.alerts.control import ControlDiscoveries
from transforms.clusters.rows import Finding
from transforms.clusters.transforms import ORDER, AccountProfile, Cluster, FindClusters, Found
from transforms.coverage.sketch import CoverageSketch
from transforms.ingest.transforms import CleanEvents, DecodeAndPlace, dead_letter_row
from transforms.scoring.calibration import combine_with_cluster
from transforms.scoring.fit import ACCOUNT_SESSION, PAYMENT_SESSION, PROFILE
from transforms.scoring.handler import Scored, ScoringHandler
from transforms.scoring.levels import rows_of_profiles, rows_of_sketches, score_row
from transforms.sessions.endless import CombineNowAndThen
from transforms.sessions.identity import ACCOUNT, session_id
from transforms.sessions.transforms import (
    PANES,
    FoldEvents,
    Profile,
    Session,
    SessionizeBounded,
    SessionizeEndless,
)
from transforms.sinks.staging import StageTable

_COUNTS_MS = 2_000
_SOON_MS = 1_000
_SESSION_LEVELS = {"account": ACCOUNT_SESSION, "payment": PAYMENT_SESSION}


def build(pipeline: beam.Pipeline, plan: Plan, folder: str) -> None:
    """The whole way of an event.

    Args:
      pipeline: to build into.
      plan: whether input ends decides only how sessions are cut and how often results come.
      folder: where rows are staged.
    """
    config, run_id, policy, bundle = plan.config, plan.run_id, plan.policy, plan.bundle
    sessions = session_options(config, plan.endless)
    early_ms, late_ms = sessions.early_firing_ms, sessions.allowed_lateness_ms
    to_element = DecodeAndPlace(decoder(config), bundle, embeds_texts(config))
    ingested = read_events(
        pipeline, plan.options.inputs, to_element, config.ingest.batch_records,
        config.ingest.watermark_lag_ms, config.ingest.idle_after_ms, *_reading(plan),
    )  # fmt: skip
    clean = ingested | "Clean" >> CleanEvents(config.ingest.dedupe_horizon_ms)
    partials = clean.events | "Fold" >> FoldEvents(sessions)

    session_rows = []
    sessionize = SessionizeEndless if plan.endless else SessionizeBounded
    found = partials | "Sessions" >> sessionize(sessions)
    for kind, level in _SESSION_LEVELS.items():
        session_rows.append(
            found
            | f"Only_{kind}" >> beam.Filter(lambda s, kind: s.kind == kind, kind)
            | f"Score_{kind}" >> RunInference(ScoringHandler(bundle, level, rows_of_sketches))
            | f"Rows_{kind}" >> beam.Map(_session_row, level, run_id)
        )
    profiles = (
        partials
        | "Profiles" >> Profile(config.profiles.window_ms, early_ms, late_ms)
        | "NameWindow" >> beam.ParDo(_ProfileFn())
        | "ScoreProfiles"
        >> RunInference(ScoringHandler(bundle, PROFILE, rows_of_profiles, policy.max_p))
    )
    clusters = profiles | "Clusters" >> FindClusters(
        bundle, link_options(config), policy.max_p, config.profiles.window_ms, early_ms, late_ms,
        plan.earlier,
    )  # fmt: skip
    flagged = clusters | "Findings" >> _findings(plan, early_ms, late_ms)

    tables = {
        "session_scores": (
            (*session_rows, _profile_rows(clusters, run_id)) | "AllScores" >> beam.Flatten()
        ),
        "flagged_clusters": flagged | "ClusterRows" >> beam.Map(lambda finding: finding.cluster),
        "cluster_members": flagged | "MemberRows" >> beam.FlatMap(_member_rows),
        "dead_letters": clean.refused | "LetterRows" >> beam.Map(dead_letter_row, run_id),
        "run_health": (
            clean.counts
            | "AddCounts" >> CombineNowAndThen(_Sum(), 0, _COUNTS_MS if plan.endless else 0, 0)
            | "HealthRows"
            >> beam.MapTuple(lambda name, n: {"run_id": run_id, "metric": name, "value": n})
        ),
    }
    for name, rows in tables.items():
        _ = rows | f"Stage_{name}" >> StageTable(name, folder)


def _reading(plan: Plan) -> tuple[int | None, int]:
    """Into how many readers a topic without an end is divided, and how long each reads at once.

    One: of several, that whose partitions are idle would go on from its own latest event, and one
    that has never seen any would hold up all.
    """
    return None, plan.config.flink.read_for if plan.runner == "flink" else 1_000


def _findings(plan: Plan, early_ms: int, late_ms: int) -> beam.PTransform:
    alerts, policy = plan.config.alerts, plan.policy
    if alerts.control == "budget":
        return Findings(policy, plan.run_id, plan.endless, plan.bundle)
    # As of clusters: a verdict follows soon on what it is about.
    period, window_ms = min(early_ms, _SOON_MS), plan.config.profiles.window_ms
    control = ControlDiscoveries(
        alerts.false_discovery_rate, policy.max_p, window_ms, period, late_ms, ORDER + 1
    )
    return ControlledFindings(policy, plan.run_id, plan.bundle, control)


class _ProfileFn(beam.DoFn):  # type: ignore[misc]
    def process(
        self,
        element: tuple[str, CoverageSketch],
        window: Any = beam.DoFn.WindowParam,
        pane: Any = beam.DoFn.PaneInfoParam,
    ) -> Iterator[AccountProfile]:
        account, sketch = element
        start, end = window.start.micros // 1000, window.end.micros // 1000
        yield AccountProfile(account, start, end, sketch, PANES[pane.timing])


class _Sum(beam.CombineFn):  # type: ignore[misc]
    """Adds records up."""

    def create_accumulator(self) -> int:
        return 0

    def add_input(self, accumulator: int, element: int) -> int:
        return accumulator + element

    def merge_accumulators(self, accumulators: Iterable[int]) -> int:
        return sum(accumulators)

    def extract_output(self, accumulator: int) -> int:
        return accumulator


def _session_row(scored: Scored[Session], level: str, run_id: str) -> dict[str, Any]:
    session = scored.item
    return score_row(
        scored, session.sketch, session.session_id, level, session.kind, session.key,
        session.pane, run_id,
    )  # fmt: skip


def _profile_rows(clusters: Found, run_id: str) -> beam.PCollection[dict[str, Any]]:
    singles = clusters.singles | "SingleRows" >> beam.Map(profile_row, run_id)
    members = clusters.clusters | "MemberProfiles" >> beam.FlatMap(_cluster_profiles, run_id)
    rows = (singles, members) | "ProfileRows" >> beam.Flatten()
    # Sessions have left their windows; collections in different windows must not be flattened.
    return rows | "LeaveProfileWindows" >> beam.WindowInto(beam.window.GlobalWindows())


def profile_row(scored: Scored[AccountProfile], run_id: str) -> dict[str, Any]:
    """The row of an account over its window."""
    profile = scored.item
    name = session_id(PROFILE, profile.account, profile.window_start_ms)
    row = score_row(
        scored, profile.sketch, name, PROFILE, ACCOUNT, profile.account, profile.pane, run_id
    )
    window = {"window_start": profile.window_start_ms, "window_end": profile.window_end_ms}
    return row | window | {"combined_p_value": scored.p_value}


def _cluster_profiles(scored: Scored[Cluster], run_id: str) -> Iterator[dict[str, Any]]:
    for member in scored.item.members:
        row = profile_row(member.scored, run_id)
        yield row | {
            "combined_p_value": combine_with_cluster(member.scored.p_value, scored.p_value),
            "cluster_id": scored.item.cluster_id,
        }


def _member_rows(finding: Finding) -> list[dict[str, Any]]:
    return finding.members
