"""The jobs that are timed, each over the same file of events with the same bundle."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from bench.baseline import DedupeByGroup, dedupe_by_state, per_event_sessions
from bench.case import LEVELS, Case, write_rows, write_scored
from bench.engines import from_file, from_topic, on_flink, on_prism
from bench.in_bytewax import run_bytewax
from bench.in_quix import run_quix
from bench.limit import limit
from bench.usage import cpu_seconds, own_peak_mb
from pipelines.parts import (
    Reading,
    beam_options,
    decoder,
    embeds_texts,
    read_events,
    session_options,
)
from transforms.ingest.batch import Events
from transforms.ingest.transforms import CleanEvents, DecodeAndPlace
from transforms.scoring.handler import Scored, ScoringHandler
from transforms.scoring.levels import rows_of_sketches
from transforms.scoring.together import ScoreSessions
from transforms.sessions.shards import Named
from transforms.sessions.transforms import (
    FoldEvents,
    FoldTogether,
    Session,
    Sessionize,
    SessionizeBounded,
    each_session,
)


@dataclass(frozen=True)
class Timing:
    """One run of one job.

    Attributes:
      wall_s, cpu_s: from building the pipeline to its end; CPU is of this process and all that it
        started.
      peak_mb: resident memory, highest so far; of this process, or as `run_apart` saw it of all.
      sessions: sessions scored.
      digest: of every session's name, number of events, score and p-value.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    sessions: int
    digest: str


def clean_events(pipeline: beam.Pipeline, case: Case) -> beam.PCollection[Events]:
    """Decoded and placed events without repeats, by the same parts as `distilwatch detect`."""
    config = case.config
    to_element = DecodeAndPlace(decoder(config), case.verified(), embeds_texts(config))
    how = Reading(config.ingest.batch_records)
    ingested = read_events(pipeline, [str(case.events)], to_element, how)
    return (ingested | "Clean" >> CleanEvents(config.ingest.dedupe_horizon_ms, gathers=True)).events


def sessions_together(pipeline: beam.Pipeline, case: Case) -> beam.PCollection[Named]:
    """The product's sessions, many in one element."""
    sessions = session_options(case.config)
    folded = clean_events(pipeline, case) | "Fold" >> FoldTogether(sessions)
    return folded | "Sessionize" >> SessionizeBounded(sessions)


def sessions_one_by_one(pipeline: beam.Pipeline, case: Case) -> beam.PCollection[Session]:
    """The same sessions, each an element, as all ways but the product's have them."""
    together = sessions_together(pipeline, case)
    return together | "Each" >> beam.FlatMap(each_session).with_output_types(Session)


def sessions_by_windows(pipeline: beam.Pipeline, case: Case) -> beam.PCollection[Session]:
    """The same sessions from Beam's own session windows."""
    sessions = session_options(case.config)
    folded = clean_events(pipeline, case) | "Fold" >> FoldEvents(sessions)
    return folded | "Sessionize" >> Sessionize(sessions)


def event_sessions(
    dedupe: Callable[[int], beam.PTransform], pipeline: beam.Pipeline, case: Case
) -> beam.PCollection[Session]:
    """The baseline's sessions."""
    return per_event_sessions(
        pipeline,
        str(case.events),
        decoder(case.config),
        case.verified(),
        session_options(case.config),
        dedupe(case.config.ingest.dedupe_horizon_ms),
    )


class _KeepFn(beam.DoFn):  # type: ignore[misc]
    """Writes one line a scored session to a file for each bundle of elements."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def start_bundle(self) -> None:
        self._scored: list[Scored[Session]] = []

    def process(self, element: Scored[Session]) -> None:
        self._scored.append(element)

    def finish_bundle(self) -> None:
        write_scored(self._folder, self._scored)


def _score(
    make: Callable[[beam.Pipeline, Case], beam.PCollection[Session]], case: Case, folder: str
) -> None:
    with beam.Pipeline(options=beam_options("direct", [], 1)) as pipeline:
        sessions = make(pipeline, case)
        for kind, level in LEVELS.items():
            handler: ScoringHandler[Session] = ScoringHandler(
                case.verified(), level, rows_of_sketches
            )
            _ = (
                sessions
                | f"Only_{kind}" >> beam.Filter(lambda s, kind: s.kind == kind, kind)
                | f"Score_{kind}" >> RunInference(handler)
                | f"Keep_{kind}" >> beam.ParDo(_KeepFn(folder))
            )


def _score_together(case: Case, folder: str) -> None:
    with beam.Pipeline(options=beam_options("direct", [], 1)) as pipeline:
        _ = (
            sessions_together(pipeline, case)
            | ScoreSessions(case.verified(), "bench")
            | "Keep" >> beam.Map(lambda table: write_rows(folder, table))
        )


Job = Callable[[Case, str], None]
JOBS: dict[str, Job] = {
    "limit": limit,
    "per-event": partial(_score, partial(event_sessions, DedupeByGroup)),
    "per-event-state": partial(_score, partial(event_sessions, dedupe_by_state)),
    "batched": _score_together,
    "batched-singly": partial(_score, sessions_one_by_one),
    "batched-windows": partial(_score, sessions_by_windows),
    "bytewax": run_bytewax,
    "quix": run_quix,
    "detect": from_file,
    "detect-kafka": from_topic,
    "detect-prism": on_prism,
}
"""Jobs by name. Those of `detect` are the product's whole job, with profiles, clusters and tables;
the others go from records to scored sessions, event by event or with the product's parts."""

SERVED = {"detect-flink-1": partial(on_flink, 1), "detect-flink-2": partial(on_flink, 2)}
"""Jobs that need servers which are there before the clock starts."""

NEEDS_KAFKA = {"quix", "detect-kafka", "detect-prism"}
"""Jobs that read the case's topics."""


def run(name: str, case: Case) -> Timing:
    """Runs a job once, in this process and what it starts.

    The bundle is loaded beforehand, which takes no longer for many events than for few.
    """
    case.verified().load()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="distilwatch-bench-"))
        if name in SERVED:
            job = stack.enter_context(SERVED[name](case, folder))
        else:
            job = partial(JOBS[name], case, folder)
        wall, cpu = time.perf_counter(), cpu_seconds(os.getpid())
        job()
        wall, cpu = time.perf_counter() - wall, cpu_seconds(os.getpid()) - cpu
        lines = sorted(_lines(Path(folder)))
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()[:12]
    return Timing(wall, cpu, own_peak_mb(), len(lines), digest)


def _lines(folder: Path) -> Iterator[str]:
    for path in folder.iterdir():
        # not the database, nor what `detect` or an engine keeps beside it
        if path.is_file() and ".duckdb" not in path.name:
            yield from path.read_text().splitlines(keepends=True)


def as_dict(timing: Timing) -> dict[str, Any]:
    """For the process that started this one."""
    return dict(vars(timing))
