"""What a run of `detect` is to do, decided before anything starts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.config import Config
from pipelines.detect.backfill import Backfill
from pipelines.detect.earlier import cannot_links, known_ids
from pipelines.parts import is_endless, known_texts
from transforms.alerts.known import KnownPolicy
from transforms.alerts.policy import AlertBudget, AlertPolicy
from transforms.clusters.cannot_link import CannotLink
from transforms.clusters.membership import NO_IDS, KnownIds
from transforms.ingest.batch import RecordBatch
from transforms.ingest.known import KnownTexts
from transforms.scoring.bundle import read_verified, signed_manifest
from transforms.scoring.handler import VerifiedBundle
from transforms.scoring.store import bundle_folder, is_store
from transforms.sharing.watch.listing import digest
from transforms.sinks.delivery import Delivery


@dataclass(frozen=True)
class DetectOptions:
    """What to read, score with, and write to.

    Attributes:
      runner: direct, prism, flink or dataflow; None: prism for input without an end, direct
        otherwise.
      duration_ms: how long to run over input without an end; None: until stopped.
      savepoint: of Flink, to go on from.
      letters: records that were refused before, and are read together with the inputs.
      from_ms, to_ms: span of event time that is scored; None: from the beginning, to the end.
      alerts: whether flagged clusters go to topics; a backfill should not wake anybody.
    """

    inputs: list[str]
    bundle: Path
    outputs: list[str]
    config: Config
    runner: str | None
    run_id: str | None
    beam_args: list[str]
    duration_ms: int | None = None
    savepoint: str | None = None
    letters: tuple[RecordBatch, ...] = ()
    from_ms: int | None = None
    to_ms: int | None = None
    alerts: bool = True


@dataclass(frozen=True)
class Plan:
    """Options with what follows from them.

    Attributes:
      endless: whether an input has no end, so that reports come early.
      earlier: what earlier runs called the accounts' clusters.
      cannot_link: what staff took out of clusters.
      warnings: what the user should know about the results.
      budget: sets the policy's threshold by the bundle; None: it does not depend on it.
      store: folder whose pointer names the bundle, and is watched; None: one bundle for good.
      backfill: the span of the past that is scored; None: everything that is there.
      positions: folder where readers note how far they are; None: nowhere.
      keys_by_name: whether the job has only the names of secret keys, and every worker finds the
        keys in its environment; otherwise they travel with the job.
      flagged: begin of the window, milliseconds UTC, and name of clusters that earlier processes
        flagged, whether they are in the outputs yet or not.
    """

    options: DetectOptions
    bundle: VerifiedBundle
    bundle_version: str
    policy: AlertPolicy
    run_id: str
    endless: bool
    runner: str
    earlier: KnownIds = NO_IDS
    cannot_link: tuple[CannotLink, ...] = ()
    warnings: tuple[str, ...] = ()
    budget: AlertBudget | None = None
    store: Path | None = None
    backfill: Backfill | None = None
    positions: str | None = None
    keys_by_name: bool = False
    flagged: Sequence[tuple[int, str]] = ()

    @property
    def config(self) -> Config:
        """All settings."""
        return self.options.config


def make_plan(options: DetectOptions) -> Plan:
    """Verifies the bundle and decides what is left open.

    Raises:
      DistilwatchError: when the bundle cannot be used.
    """
    # Read once: workers trust the very bytes whose signature was checked, whatever comes after.
    store = options.bundle if is_store(options.bundle) else None
    folder = bundle_folder(options.bundle)
    manifest = signed_manifest(folder)
    bundle = read_verified(folder, manifest)
    known = known_texts(options.config)
    alerts, window_ms = options.config.alerts, options.config.profiles.window_ms
    max_p, budget = alerts.max_p, None
    if alerts.control != "discoveries":
        budget = AlertBudget(max_p, alerts.pages_per_day, window_ms)
        max_p = budget.max_p_for(int(bundle.training["accounts"]))
    policy = policy_of(options.config, known, max_p)
    endless = is_endless(options.inputs)
    return Plan(
        options,
        VerifiedBundle(str(folder), hashlib.sha256(manifest).hexdigest()),
        bundle.version,
        policy,
        # A bundle that may change while it runs does not make it another run.
        options.run_id
        or _run_id(options, "" if store else bundle.version, [*known.digests, *_watched(options)]),
        endless,
        options.runner or ("prism" if endless else "direct"),
        known_ids(options.outputs),
        cannot_links(options.outputs),
        _warnings(known, bundle.training),
        budget,
        store,
        Backfill.of(options.from_ms, options.to_ms, options.config),
    )


def policy_of(config: Config, known: KnownTexts, max_p: float) -> AlertPolicy:
    """What is flagged, and how severe it is.

    Args:
      config: settings.
      known: collections of known texts.
      max_p: largest p-value that is flagged.
    """
    alerts = config.alerts
    return AlertPolicy(
        max_p,
        high_exposure_usd=alerts.severity.high_exposure_usd,
        critical_exposure_usd=alerts.severity.critical_exposure_usd,
        high_accounts=alerts.severity.high_accounts,
        known=KnownPolicy(
            tuple((about.name, about.kind) for about in known.collections),
            **alerts.known_texts.model_dump(),
        ),
    )


def _warnings(known: KnownTexts, training: Mapping[str, Any]) -> tuple[str, ...]:
    if list(known.digests) == list(training.get("known_texts", ())):
        return ()
    return (
        "ingest.known_texts are others than those that the bundle was trained with, so what is "
        "normal of known_share does not hold; labels and severities are right",
    )


def _watched(options: DetectOptions) -> list[str]:
    path = options.config.watch.list
    return [digest(Path(path))] if path else []


# Where it runs, and where the list of forgotten accounts lies, which Dataflow's launcher copies.
_NOT_WHAT_IT_DOES: dict[str, Any] = {
    "flink": True, "dataflow": True, "observe": True, "ingest": {"forgotten_file"},
}  # fmt: skip


def _run_id(options: DetectOptions, version: str, known: Sequence[str]) -> str:
    """The same run over the same input, with the same bundle, known texts and settings, has the
    same name."""
    span = (
        [] if options.from_ms is options.to_ms is None else [f"{options.from_ms}/{options.to_ms}"]
    )
    again = [f"{b.source}/{b.partition}/{b.offsets.tolist()}" for b in options.letters]
    text = "\x1f".join(
        [
            *options.inputs,
            version,
            *known,
            options.config.model_dump_json(exclude=_NOT_WHAT_IT_DOES),
            *again,
            *span,
        ]
    )
    return "run-" + hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class DetectSummary:
    """What the run did.

    Attributes:
      health: records by metric.
      rows: rows written by table; of clusters and members the newest revisions only.
      interrupted: whether somebody stopped it before its time.
      complete: whether all results are in the outputs.
      delivered: what became of the rows, by output, of those that count them on arrival.
      savepoint: of Flink, where the stopped stream can go on from.
      waiting, dead: messages to people on call that could not be sent, and are tried again by
        whoever sends next, or were given up in this run.
      job: that was given to a service, which goes on with it; what became of it is not known here.
    """

    run_id: str
    bundle_version: str
    health: Mapping[str, int]
    rows: Mapping[str, int]
    interrupted: bool = False
    complete: bool = True
    delivered: Mapping[str, Delivery] = field(default_factory=dict)
    savepoint: str | None = None
    waiting: int = 0
    dead: int = 0
    job: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "run_id": self.run_id,
            "bundle_version": self.bundle_version,
            "health": dict(self.health),
            "rows": dict(self.rows),
            **(
                {"delivered": {name: d.as_dict() for name, d in self.delivered.items()}}
                if self.delivered
                else {}
            ),
            **({"savepoint": self.savepoint} if self.savepoint else {}),
            **(
                {"untold": {"waiting": self.waiting, "dead": self.dead}}
                if self.waiting or self.dead
                else {}
            ),
            **({"job": self.job} if self.job else {}),
        }

    def lines(self) -> list[str]:
        """For people."""
        if self.job:
            return [
                f"Dataflow runs it: {self.job} (run {self.run_id}, bundle {self.bundle_version})."
            ]
        health = self.health
        reasons = sorted(
            (
                (n, name.removeprefix("refused_"))
                for name, n in health.items()
                if n and name.startswith("refused_")
            ),
            key=lambda pair: (-pair[0], pair[1]),
        )
        named = ", ".join(f"{n:,} {reason}" for n, reason in reasons)
        return [
            f"{health.get('read', 0):,} records read: {health.get('scored', 0):,} scored, "
            f"{health.get('refused', 0):,} refused, {health.get('duplicate', 0):,} repeats.",
            *(
                [f"Refused: {named}; each is in the table dead_letters, with its place."]
                if named
                else []
            ),
            f"{_counted(self.rows.get('flagged_clusters', 0), 'cluster')} flagged with "
            f"{_counted(self.rows.get('cluster_members', 0), 'account')} "
            f"(bundle {self.bundle_version}).",
            *(delivery.line(place) for place, delivery in self.delivered.items()),
            *(
                [
                    f"Of the messages to people on call {self.waiting:,} wait and {self.dead:,} "
                    "were given up; the tables are complete."
                ]
                if self.waiting or self.dead
                else []
            ),
            *([f"The stream stopped at the savepoint {self.savepoint}."] if self.savepoint else []),
        ]


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
