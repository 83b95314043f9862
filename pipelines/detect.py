"""`distilwatch detect`: request events in, flagged clusters out."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from pipelines.config import Config
from pipelines.console import Console
from pipelines.parts import (
    beam_options,
    decoder,
    embeds_texts,
    link_options,
    read_events,
    session_options,
)
from schemas.tables import TABLES
from transforms.alerts.policy import AlertPolicy, budgeted_max_p
from transforms.clusters.rows import Finding, cluster_finding, single_finding
from transforms.clusters.transforms import AccountProfile, Cluster, FindClusters, Found
from transforms.coverage.sketch import CoverageSketch
from transforms.ingest.transforms import CleanEvents, DecodeAndPlace, dead_letter_row
from transforms.scoring.bundle import load_bundle
from transforms.scoring.calibration import combine_bonferroni
from transforms.scoring.fit import ACCOUNT_SESSION, PAYMENT_SESSION, PROFILE
from transforms.scoring.handler import Scored, ScoringHandler, VerifiedBundle
from transforms.scoring.levels import rows_of_sketches, score_row
from transforms.sessions.identity import ACCOUNT, session_id
from transforms.sessions.transforms import FoldEvents, Profile, Session, SessionizeBounded
from transforms.sinks import duckdb_path
from transforms.sinks.duckdb import write_database
from transforms.sinks.parquet import parquet_folder, write_parquet
from transforms.sinks.staging import StageTable, staged

_SESSION_LEVELS = {"account": ACCOUNT_SESSION, "payment": PAYMENT_SESSION}


@dataclass(frozen=True)
class DetectOptions:
    """What to read, score with, and write to."""

    inputs: list[str]
    bundle: Path
    outputs: list[str]
    config: Config
    runner: str
    run_id: str | None
    beam_args: list[str]


@dataclass(frozen=True)
class DetectSummary:
    """What the run did."""

    run_id: str
    bundle_version: str
    health: dict[str, int]
    rows: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "run_id": self.run_id,
            "bundle_version": self.bundle_version,
            "health": self.health,
            "rows": self.rows,
        }

    def lines(self) -> list[str]:
        """For people."""
        health = self.health
        return [
            f"{health.get('read', 0):,} records read: {health.get('scored', 0):,} scored, "
            f"{health.get('refused', 0):,} refused, {health.get('duplicate', 0):,} repeats.",
            f"{self.rows.get('flagged_clusters', 0):,} clusters flagged with "
            f"{self.rows.get('cluster_members', 0):,} accounts (bundle {self.bundle_version}).",
        ]


def detect(options: DetectOptions, console: Console) -> DetectSummary:
    """Runs the main job over bounded input and writes its tables.

    Raises:
      DistilwatchError: when bundle, input or output cannot be used.
    """
    console.step("Verify the bundle")
    bundle = load_bundle(options.bundle)
    manifest = (options.bundle / "manifest.json").read_bytes()
    verified = VerifiedBundle(str(options.bundle), hashlib.sha256(manifest).hexdigest())
    run_id = options.run_id or _run_id(options, bundle.version)
    alerts, window_ms = options.config.alerts, options.config.profiles.window_ms
    policy = AlertPolicy(
        budgeted_max_p(
            alerts.max_p, alerts.pages_per_day, window_ms, int(bundle.training["accounts"])
        ),
        high_exposure_usd=alerts.severity.high_exposure_usd,
        critical_exposure_usd=alerts.severity.critical_exposure_usd,
        high_accounts=alerts.severity.high_accounts,
    )
    tmp = options.config.run.tmp
    with tempfile.TemporaryDirectory(prefix="distilwatch-detect-", dir=tmp) as folder:
        console.step("Score sessions, profiles and clusters")
        run = beam_options(options.runner, options.beam_args, options.config.run.parallelism)
        with beam.Pipeline(options=run) as pipeline:
            build(pipeline, options, verified, policy, run_id, folder)
        console.step("Write the tables")
        # Tables first: an alert must not speak of what cannot be looked up.
        for uri in sorted(options.outputs, key=lambda uri: uri.startswith("kafka:")):
            _write(uri, run_id, folder)
        rows = {name: staged(folder, name).num_rows for name in TABLES}
        health = {row["metric"]: row["value"] for row in staged(folder, "run_health").to_pylist()}
    return DetectSummary(run_id, bundle.version, health, rows)


def _run_id(options: DetectOptions, version: str) -> str:
    """The same run over the same input, with the same bundle and settings, has the same name."""
    text = "\x1f".join([*options.inputs, version, options.config.model_dump_json()])
    return "run-" + hashlib.sha256(text.encode()).hexdigest()[:12]


def _write(uri: str, run_id: str, folder: str) -> None:
    if uri.startswith("duckdb:"):
        write_database(duckdb_path(uri), folder)
    elif uri.startswith("parquet:"):
        write_parquet(parquet_folder(uri), run_id, folder)
    else:
        from transforms.sinks.kafka import send_rows

        send_rows(uri, staged(folder, "flagged_clusters").to_pylist())


def build(
    pipeline: beam.Pipeline,
    options: DetectOptions,
    bundle: VerifiedBundle,
    policy: AlertPolicy,
    run_id: str,
    folder: str,
) -> None:
    """The whole way of an event."""
    config, sessions = options.config, session_options(options.config)
    to_element = DecodeAndPlace(decoder(config), bundle, embeds_texts(config))
    ingested = read_events(pipeline, options.inputs, to_element, config.ingest.batch_records)
    clean = ingested | "Clean" >> CleanEvents(config.ingest.dedupe_horizon_ms)
    partials = clean.events | "Fold" >> FoldEvents(sessions)

    session_rows = []
    found = partials | "Sessions" >> SessionizeBounded(sessions)
    for kind, level in _SESSION_LEVELS.items():
        session_rows.append(
            found
            | f"Only_{kind}" >> beam.Filter(lambda s, kind: s.kind == kind, kind)
            | f"Score_{kind}" >> RunInference(ScoringHandler(bundle, level, rows_of_sketches))
            | f"Rows_{kind}" >> beam.Map(_session_row, level, run_id)
        )
    profiles = (
        partials
        | "Profiles" >> Profile(config.profiles.window_ms, 0, sessions.allowed_lateness_ms)
        | "NameWindow" >> beam.ParDo(_ProfileFn())
        | "ScoreProfiles"
        >> RunInference(ScoringHandler(bundle, PROFILE, rows_of_sketches, policy.max_p))
    )
    clusters = profiles | "Clusters" >> FindClusters(
        bundle, link_options(config), policy.max_p, config.profiles.window_ms, 0,
        sessions.allowed_lateness_ms,
    )  # fmt: skip
    findings = (
        clusters.clusters | "JudgeClusters" >> beam.Map(cluster_finding, policy, run_id),
        clusters.singles | "JudgeSingles" >> beam.Map(single_finding, policy, run_id),
    ) | "Findings" >> beam.Flatten()
    flagged = findings | "OnlyFlagged" >> beam.Filter(lambda finding: finding is not None)

    tables = {
        "session_scores": (
            (*session_rows, _profile_rows(clusters, run_id)) | "AllScores" >> beam.Flatten()
        ),
        "flagged_clusters": flagged | "ClusterRows" >> beam.Map(lambda finding: finding.cluster),
        "cluster_members": flagged | "MemberRows" >> beam.FlatMap(_member_rows),
        "dead_letters": clean.refused | "LetterRows" >> beam.Map(dead_letter_row, run_id),
        "run_health": (
            clean.counts
            | "CountsInOne" >> beam.WindowInto(beam.window.GlobalWindows())
            | "AddCounts" >> beam.CombinePerKey(sum)
            | "HealthRows"
            >> beam.MapTuple(lambda name, n: {"run_id": run_id, "metric": name, "value": n})
        ),
    }
    for name, rows in tables.items():
        _ = rows | f"Stage_{name}" >> StageTable(name, folder)


class _ProfileFn(beam.DoFn):  # type: ignore[misc]
    def process(
        self, element: tuple[str, CoverageSketch], window: Any = beam.DoFn.WindowParam
    ) -> Iterator[AccountProfile]:
        account, sketch = element
        yield AccountProfile(
            account, window.start.micros // 1000, window.end.micros // 1000, sketch
        )


def _session_row(scored: Scored[Session], level: str, run_id: str) -> dict[str, Any]:
    session = scored.item
    return score_row(
        scored, session.sketch, session.session_id, level, session.kind, session.key,
        session.pane, run_id,
    )  # fmt: skip


def _profile_rows(clusters: Found, run_id: str) -> beam.PCollection[dict[str, Any]]:
    singles = clusters.singles | "SingleRows" >> beam.Map(_profile_row, run_id)
    members = clusters.clusters | "MemberProfiles" >> beam.FlatMap(_cluster_profiles, run_id)
    rows = (singles, members) | "ProfileRows" >> beam.Flatten()
    # Sessions have left their windows; collections in different windows must not be flattened.
    return rows | "LeaveProfileWindows" >> beam.WindowInto(beam.window.GlobalWindows())


def _profile_row(scored: Scored[AccountProfile], run_id: str) -> dict[str, Any]:
    profile = scored.item
    name = session_id(PROFILE, profile.account, profile.window_start_ms)
    row = score_row(
        scored, profile.sketch, name, PROFILE, ACCOUNT, profile.account, "on_time", run_id
    )
    return row | {"combined_p_value": scored.p_value}


def _cluster_profiles(scored: Scored[Cluster], run_id: str) -> Iterator[dict[str, Any]]:
    for member in scored.item.members:
        row = _profile_row(member.scored, run_id)
        yield row | {
            "combined_p_value": combine_bonferroni(member.scored.p_value, scored.p_value),
            "cluster_id": scored.item.cluster_id,
        }


def _member_rows(finding: Finding) -> list[dict[str, Any]]:
    return finding.members
