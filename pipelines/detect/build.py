"""The pipeline of `detect`: the whole way of an event, with an end and without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import apache_beam as beam
import numpy as np

from pipelines.detect.backfill import Backfill
from pipelines.detect.controlled import ControlledFindings
from pipelines.detect.findings import Findings, name_in_window
from pipelines.detect.plan import Plan
from pipelines.detect.sightings import sightings_of
from pipelines.detect.worth_saying import WorthSaying
from pipelines.parts import (
    Reading,
    decoder,
    discovery_rates,
    embeds_texts,
    link_options,
    read_events,
    session_options,
    watching,
)
from transforms.alerts.control import ControlDiscoveries
from transforms.clusters.elements import AccountProfile, Cluster, version_of
from transforms.clusters.overtaken import DropOvertaken, Keyed
from transforms.clusters.profile_scores import ScoreProfiles
from transforms.clusters.rows import Finding
from transforms.clusters.single_rows import SingleRows
from transforms.clusters.singles import Singles
from transforms.clusters.together import FindClustersTogether, FoundTogether
from transforms.clusters.transforms import ORDER, FindClusters, Found
from transforms.coverage.layout import DAY_MS
from transforms.ingest.dead_letters import LetterRows
from transforms.ingest.pace import Pace
from transforms.ingest.sealing import letter_keys
from transforms.ingest.transforms import CleanEvents, DecodeAndPlace
from transforms.scoring.calibration import combine_with_cluster
from transforms.scoring.fit import PROFILE
from transforms.scoring.handler import Scored
from transforms.scoring.levels import score_row
from transforms.scoring.together import ScoreSessions
from transforms.sessions.identity import ACCOUNT, session_id
from transforms.sessions.now_and_then import PANE_ORDER, CombineNowAndThen
from transforms.sessions.shards import Named
from transforms.sessions.transforms import (
    FoldSlices,
    FoldTogether,
    ProfileBounded,
    ProfileEndless,
    SessionizeBounded,
    SessionizeEndless,
)
from transforms.sinks.outgoing import Outgoing, Staging

_COUNTS_MS = 2_000
_SOON_MS = 1_000
_SETTLE_MS = 15_000


def build(pipeline: beam.Pipeline, plan: Plan, out: str | Outgoing) -> None:
    """The whole way of an event.

    Args:
      pipeline: to build into.
      plan: whether input ends decides only how sessions and profiles are made, all at once or as
        they come, and how often results come.
      out: where rows go; a folder to stage them in.
    """
    if isinstance(out, str):
        out = Staging(out)
    config, run_id, policy, bundle = plan.config, plan.run_id, plan.policy, plan.bundle
    sessions = session_options(config, plan.endless)
    early_ms, late_ms = sessions.early_firing_ms, sessions.allowed_lateness_ms
    span = plan.backfill
    to_element = DecodeAndPlace(
        decoder(config, plan.keys_by_name), bundle, embeds_texts(config),
        None if span is None else span.read,
    )  # fmt: skip
    inputs = plan.options.inputs if span is None else [span.source(u) for u in plan.options.inputs]
    ingested = read_events(pipeline, inputs, to_element, _reading(plan), plan.options.letters)
    clean = ingested | "Clean" >> CleanEvents(
        config.ingest.dedupe_horizon_ms, gathers=not plan.endless
    )
    if plan.endless:
        folded = clean.events | "Fold" >> FoldSlices(sessions)
        reported: Any = folded | "Sessions" >> SessionizeEndless(
            sessions, timeless=plan.runner == "prism"
        )
        profiles = (
            folded
            | "Profiles"
            >> ProfileEndless(config.profiles.window_ms, early_ms, late_ms, sessions.shards)
            | "ScoreProfiles" >> ScoreProfiles(bundle, policy.max_p)
        )
    else:
        folded = clean.events | "Fold" >> FoldTogether(sessions)
        together = folded | "Sessions" >> SessionizeBounded(sessions)
        profiles = together | "Profiles" >> ProfileBounded(config.profiles.window_ms, late_ms)
        if span is not None:
            together |= "SessionsOfSpan" >> beam.FlatMap(_of_span, span)
            profiles |= "WindowsOfSpan" >> beam.ParDo(_WindowsOfSpanFn(span))
        reported = together
    scores = reported | "ScoreSessions" >> ScoreSessions(bundle, run_id)
    out.put_columns("Stage_sessions", "session_scores", scores)
    find = FindClusters if plan.endless else FindClustersTogether
    clusters = profiles | "Clusters" >> find(
        bundle, link_options(config), policy.max_p, config.profiles.window_ms, early_ms, late_ms,
        plan.earlier, plan.cannot_link, watching(config, plan.endless), sessions.shards,
    )  # fmt: skip
    flagged = clusters | "Findings" >> _findings(plan, early_ms, late_ms)
    if plan.endless and not out.knows_what_was_said:
        flagged |= "WorthSaying" >> WorthSaying(config.profiles.window_ms + 2 * late_ms + DAY_MS)

    tables = {
        "flagged_clusters": flagged | "ClusterRows" >> beam.Map(lambda finding: finding.cluster),
        "cluster_members": flagged | "MemberRows" >> beam.FlatMap(_member_rows),
        "sightings": _sightings(clusters, run_id, sessions.shards),
        "cluster_evidence": flagged | "EvidenceRows" >> beam.FlatMap(_evidence_rows),
        "dead_letters": clean.refused | "LetterRows" >> beam.Map(_letter_rows(plan)),
        "run_health": (
            clean.counts
            | "AddCounts" >> CombineNowAndThen(_Sum(), 0, _COUNTS_MS if plan.endless else 0, 0)
            | "HealthRows"
            >> beam.MapTuple(lambda name, n: {"run_id": run_id, "metric": name, "value": n})
        ),
    }
    _put_profiles(out, clusters, run_id, sessions.shards)
    for name, rows in tables.items():
        out.put_rows(f"Stage_{name}", name, rows)
    out.close()


def _reading(plan: Plan) -> Reading:
    """How inputs are read.

    One reader of a topic without an end: of several, that whose partitions are idle would go on
    from its own latest event, and one that has never seen any would hold up all.
    """
    config = plan.config
    ingest = config.ingest
    how = Reading(
        ingest.batch_records,
        ingest.watermark_lag_ms,
        ingest.idle_after_ms,
        positions=plan.positions,
        read_with=plan.config.bigquery.read_with,
    )
    read_for = {"flink": config.flink.read_for, "dataflow": config.dataflow.read_for}
    how = replace(how, read_for_ms=read_for.get(plan.runner, how.read_for_ms))
    if plan.runner != "flink":  # it alone needs a pace
        return how
    # Profiles hold the watermark for as long as they report nothing; all that follows is quicker.
    settle_ms = config.sessions.early_firing_ms + _SETTLE_MS
    pace = Pace(config.profiles.window_ms, ingest.allowed_lateness_ms, settle_ms)
    return replace(how, pace=pace)


def _of_span(sessions: Named, span: Backfill) -> Iterator[Named]:
    begins = sessions.stack.first_ms.tolist()
    at = np.array([i for i, ms in enumerate(begins) if span.has_session(ms)], np.int64)
    if len(at):
        yield sessions.take(at)


def _letter_rows(plan: Plan) -> LetterRows:
    ingest = plan.config.ingest
    keys = letter_keys(ingest.dead_letter_key_env, plan.keys_by_name)
    return LetterRows(plan.run_id, keys, ingest.dead_letter_max_bytes)


def _findings(plan: Plan, early_ms: int, late_ms: int) -> beam.PTransform:
    alerts, policy = plan.config.alerts, plan.policy
    if alerts.control == "budget":
        return Findings(policy, plan.run_id, plan.endless, plan.bundle, plan.budget)
    # As of clusters: a verdict follows soon on what it is about.
    period, window_ms = min(early_ms, _SOON_MS), plan.config.profiles.window_ms
    control = ControlDiscoveries(
        discovery_rates(plan.config), policy.max_p, window_ms, period, late_ms, ORDER + 1
    )
    told = ((start, name) for start, names in plan.earlier.revisions.items() for name in names)
    earlier = frozenset(name_in_window(start, name) for start, name in chain(told, plan.flagged))
    return ControlledFindings(
        policy, plan.run_id, plan.bundle, control, earlier, plan.config.sessions.shards
    )


class _WindowsOfSpanFn(beam.DoFn):  # type: ignore[misc]
    def __init__(self, span: Backfill) -> None:
        self._span = span

    def process(
        self, element: tuple[int, Named], window: Any = beam.DoFn.WindowParam
    ) -> Iterator[tuple[int, Named]]:
        if self._span.has_window(window.start.micros // 1000, window.end.micros // 1000):
            yield element


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


def _put_profiles(out: Outgoing, clusters: Found, run_id: str, shards: int) -> None:
    """Rows of accounts over their windows."""
    members = clusters.clusters | "MemberProfiles" >> beam.FlatMap(_cluster_profiles, run_id)
    # Sessions have left their windows; collections in different windows must not be flattened.
    leave = beam.WindowInto(beam.window.GlobalWindows())
    if isinstance(clusters, FoundTogether):
        singles = (
            clusters.singles | "LeaveSingleWindows" >> leave | "SingleRows" >> SingleRows(run_id)
        )
        out.put_columns("Stage_single_profiles", "session_scores", singles)
        label = "Stage_member_profiles"
        rows = members | f"{label}_rows" >> beam.Map(_row_of) | f"{label}_leave" >> leave
        out.put_rows(label, "session_scores", rows)
    else:
        newest = _newest_profiles(clusters.singles, members, run_id, shards)
        out.put_rows(
            "Stage_session_scores", "session_scores", newest | "LeaveProfileWindows" >> leave
        )


def _newest_profiles(
    singles: beam.PCollection[Scored[AccountProfile]],
    members: beam.PCollection[Keyed],
    run_id: str,
    shards: int,
) -> beam.PCollection[dict[str, Any]]:
    """Rows of a stream, where a cluster may come after what was made of its accounts since."""
    alone = singles | "SingleRows" >> beam.Map(_single_profile, run_id)
    versions = (alone, members) | "ProfileRows" >> beam.Flatten()
    return versions | "NewestRows" >> DropOvertaken(_revision_and_pane, _with_latest_pane, shards)


def _row_of(keyed: Keyed) -> Any:
    _, (_, row) = keyed
    return row


def _revision_and_pane(row: dict[str, Any]) -> tuple[int, str]:
    return row["revision"], row["pane"]


def _with_latest_pane(before: tuple[int, str], row: dict[str, Any]) -> dict[str, Any]:
    """The row of a window that is over says so, also where linking comes back to what was early."""
    revision, pane = before
    comes_before = PANE_ORDER.index(row["pane"]) < PANE_ORDER.index(pane)
    is_older = row["revision"] == revision and comes_before
    return row | {"pane": pane} if is_older else row


def _sightings(clusters: Found, run_id: str, shards: int) -> beam.PCollection[dict[str, Any]]:
    leave = beam.WindowInto(beam.window.GlobalWindows())
    if isinstance(clusters, FoundTogether):
        rows = beam.FlatMap(sightings_of, run_id)
        found = clusters.each("SightingRows", Singles.who_hit, rows)
        return found | "LeaveSightingWindows" >> leave
    found = (
        clusters
        | "AllOfThem" >> beam.Flatten()
        | "SightingRows" >> beam.FlatMap(_versions_of_sightings, run_id)
        # A cluster that is no more may come after what was made of its accounts since.
        | "NewestSightings" >> DropOvertaken(shards=shards)
    )
    return found | "LeaveSightingWindows" >> leave


def _versions_of_sightings(scored: Scored[Any], run_id: str) -> Iterator[Keyed]:
    version = version_of(scored.item)
    for row in sightings_of(scored, run_id):
        yield row["sighting_id"], (version, row)


def profile_row(scored: Scored[AccountProfile], run_id: str) -> dict[str, Any]:
    """The row of an account over its window."""
    profile = scored.item
    name = session_id(PROFILE, profile.account, profile.window_start_ms)
    row = score_row(
        scored, profile.sketch, name, PROFILE, ACCOUNT, profile.account, profile.pane, run_id
    )
    window = {"window_start": profile.window_start_ms, "window_end": profile.window_end_ms}
    return row | window | {"combined_p_value": scored.p_value}


def _single_profile(scored: Scored[AccountProfile], run_id: str) -> Keyed:
    return scored.item.account, (version_of(scored.item), profile_row(scored, run_id))


def _cluster_profiles(scored: Scored[Cluster], run_id: str) -> Iterator[Keyed]:
    version = version_of(scored.item)
    for member in scored.item.members:
        row = profile_row(member.scored, run_id) | {
            "combined_p_value": combine_with_cluster(member.scored.p_value, scored.p_value),
            "cluster_id": scored.item.cluster_id,
        }
        yield member.account, (version, row)


def _member_rows(finding: Finding) -> list[dict[str, Any]]:
    return finding.members


def _evidence_rows(finding: Finding) -> tuple[dict[str, Any], ...]:
    return finding.evidence
