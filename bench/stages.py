"""How fast each stage is by itself, called directly on one batch after the other, without Beam."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.case import Case
from pipelines.parts import decoder, embeds_texts, session_options
from transforms.clusters.capabilities import taken_capabilities
from transforms.coverage.fold import Partial, fold, fold_stretches
from transforms.coverage.sketch import CoverageSketch, decode, encode, merge
from transforms.embedding.embed import place
from transforms.embedding.hashing import HashingEmbedder
from transforms.ingest.batch import Events
from transforms.ingest.dedupe import first_seen
from transforms.ingest.files import read_range
from transforms.scoring.fit import PROFILE
from transforms.scoring.rows import PeerGroups, sketch_rows

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Stage:
    """What a stage did.

    Attributes:
      name: for people.
      unit: what it works on, in the plural.
      count: how many of them.
      cpu_s: processor time.
      per_event_us: processor time for each event of the input, microseconds.
    """

    name: str
    unit: str
    count: int
    cpu_s: float
    per_event_us: float

    @property
    def rate(self) -> float:
        """Units a second and core."""
        return self.count / max(self.cpu_s, 1e-9)


class _Clock:
    def __init__(self, events: int) -> None:
        self._events = events
        self.stages: list[Stage] = []

    def each(self, name: str, unit: str, do: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Does something with every item of a list, and notes how long it took."""
        began = time.process_time()
        done = [do(item) for item in items]
        self.note(name, unit, len(items), began)
        return done

    def note(self, name: str, unit: str, count: int, began: float) -> None:
        spent = time.process_time() - began
        self.stages.append(Stage(name, unit, count, spent, spent / max(self._events, 1) * 1e6))


def stage_rates(case: Case) -> list[Stage]:
    """Rates of the stages that an event passes, in their order.

    From partial sketches on they are those of input without an end, one sketch at a time: one is
    merged into its account's and, where there is one, its payment fingerprint's; sessions by time
    are left to Beam.
    """
    config, bundle = case.config, case.verified().load()
    clock, sessions = _Clock(case.count), session_options(config)
    decoding = decoder(config)
    embedder = HashingEmbedder() if embeds_texts(config) else None
    path, size = str(case.events), case.events.stat().st_size

    began = time.process_time()
    records = list(read_range(path, 0, size, config.ingest.batch_records))
    clock.note("read lines", "events", case.count, began)
    began = time.process_time()
    decoded = [decoding.decode(batch) for batch in records]
    clock.note("decode, check, pseudonymise", "events", case.count, began)
    began = time.process_time()
    events = [place(batch, bundle.space, embedder, bundle.capabilities.labels) for batch in decoded]
    clock.note("embed and place", "events", case.count, began)
    began = time.process_time()
    whole = Events.concat(events)
    whole = whole.take(first_seen(whole.event_hash, []))
    clock.note("deduplicate", "events", case.count, began)
    began = time.process_time()
    fold_stretches(whole, sessions.gap_ms, sessions.max_length_ms)
    clock.note("fold, input that ends", "events", case.count, began)
    began = time.process_time()
    partials = list(fold(whole, sessions.slice_ms))
    clock.note("fold, in slices", "events", case.count, began)

    sketches = [partial.sketch for partial in partials]
    encoded = clock.each("encode sketches", "sketches", encode, sketches)
    clock.each("decode sketches", "sketches", decode, encoded)
    pickled = [pickle.dumps(sketch) for sketch in sketches]
    clock.each(
        "carry sketches on", "sketches", lambda one: pickle.dumps(pickle.loads(one)), pickled
    )
    keys = _by_key(partials)
    began = time.process_time()
    merged = [merge(parts) for parts in keys.values()]
    clock.note("merge", "sketches", sum(len(parts) for parts in keys.values()), began)
    peers = PeerGroups(bundle.references)
    began = time.process_time()
    rows = sketch_rows(merged, [peers.of(sketch) for sketch in merged], bundle.references)
    clock.note("features", "keys", len(merged), began)
    began = time.process_time()
    bundle.models[PROFILE].score(rows)
    clock.note("score", "keys", len(merged), began)
    clock.each(
        "tell capabilities",
        "keys",
        lambda one: taken_capabilities(one, bundle.capabilities),
        merged,
    )
    return clock.stages


def _by_key(partials: Sequence[Partial]) -> dict[str, list[CoverageSketch]]:
    keys: dict[str, list[CoverageSketch]] = {}
    for partial in partials:
        keys.setdefault(f"account {partial.account}", []).append(partial.sketch)
        if partial.payment:
            keys.setdefault(f"payment {partial.payment}", []).append(partial.sketch)
    return keys


def table(stages: Sequence[Stage]) -> list[str]:
    """Lines for people."""
    lines = [f"{'stage':<30}{'units':>10}  {'':<10}{'units/s/core':>14}{'µs/event':>10}"]
    lines += [
        f"{s.name:<30}{s.count:>10,}  {s.unit:<10}{s.rate:>14,.0f}{s.per_event_us:>10.1f}"
        for s in stages
    ]
    return lines
