"""From raw records to placed events without repeats; nothing disappears."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray

from transforms.embedding.embed import place, vectors_of
from transforms.embedding.hashing import HashingEmbedder
from transforms.embedding.labels import CapabilityTable, read_labels
from transforms.embedding.left_out import LeftOut
from transforms.embedding.space import EmbeddingSpace
from transforms.ingest.batch import DeadLetter, Events, RecordBatch
from transforms.ingest.decode import Decoder
from transforms.ingest.dedupe import Dedupe


class Ingested(NamedTuple):
    """One decoded batch.

    Attributes:
      events: placed.
      refused: records that cannot be used.
      read: records that became one or the other.
      other: (metric, records) that are none of these, such as those outside a span of time.
    """

    events: Events
    refused: list[DeadLetter]
    read: int
    other: tuple[tuple[str, int], ...] = ()


class Span(NamedTuple):
    """A span of event time, milliseconds UTC: `start_ms` is in it, `end_ms` is not."""

    start_ms: int
    end_ms: int

    def has(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which times lie in it: bool of the same shape."""
        inside: NDArray[np.bool_] = (times >= self.start_ms) & (times < self.end_ms)
        return inside


class HasSpace(Protocol):
    """A bundle, or anything else with an embedding space and what was asked in its cells."""

    @property
    def space(self) -> EmbeddingSpace: ...

    @property
    def capabilities(self) -> CapabilityTable: ...


class SpaceSource(Protocol):
    """Loads what has a space, on the worker."""

    def load(self) -> HasSpace: ...


@dataclass(frozen=True)
class FittedSpace:
    """A space that has no bundle yet; loads itself."""

    space: EmbeddingSpace
    capabilities: CapabilityTable = field(default_factory=CapabilityTable)

    def load(self) -> FittedSpace:
        """Itself."""
        return self


@dataclass
class DecodeAndPlace:
    """`to_element` of the sources: decodes a batch and places it in the bundle's space.

    Attributes:
      decoder: of the records.
      bundle: whose space counts.
      embed_texts: whether texts of events without a vector are embedded.
      span: of event time; what lies outside is only counted. None: all of it. A refused record
        without a time counts as inside, so that it is not lost.
      left_out: what the space was fitted to, where its own history is placed.
    """

    decoder: Decoder
    bundle: SpaceSource
    embed_texts: bool
    span: Span | None = None
    left_out: LeftOut = field(default_factory=LeftOut)

    def __post_init__(self) -> None:
        self._space: Any = None
        self._labels: Any = None

    def __call__(self, batch: RecordBatch) -> tuple[Ingested, NDArray[np.int64]]:
        if self._space is None:
            loaded = self.bundle.load()
            self._space, self._labels = loaded.space, loaded.capabilities.labels
        decoded = self.decoder.decode(batch)
        embedder = HashingEmbedder() if self.embed_texts else None
        events = self.left_out.measured(place(decoded, self._space, embedder, self._labels))
        refused, read = decoded.refused, len(batch.values) - decoded.empty
        if self.decoder.adapter is not None:  # a gateway's record may hold many requests
            read = len(decoded.events) + len(refused)
        other: tuple[tuple[str, int], ...] = (
            ("empty", decoded.empty),
            ("lost_before_read", batch.lost),
            ("not_requests", decoded.others),
        )
        if self.span is not None:
            events = events.take(self.span.has(events.time_ms))
            times = np.array([x.event_time_ms for x in refused], np.int64)
            kept = self.span.has(times) | (times <= 0)
            refused = [x for x, inside in zip(refused, kept, strict=True) if inside]
            outside = read - len(events) - len(refused)
            read, other = read - outside, (*other, ("outside_span", outside))
        return Ingested(events, refused, read, other), events.time_ms


@dataclass
class DecodeAndEmbed:
    """`to_element` for fitting a space: hashes, vectors and labels of events with a vector.

    Attributes:
      decoder: of records.
      embed_texts: whether texts are embedded where there is no vector.
      without: accounts whose events the space is not to know.
    """

    decoder: Decoder
    embed_texts: bool
    without: frozenset[str] = frozenset()

    def __call__(self, batch: RecordBatch) -> tuple[Any, NDArray[np.int64]]:
        decoded = self.decoder.decode(batch)
        vectors = vectors_of(decoded, HashingEmbedder() if self.embed_texts else None)
        known = vectors.any(axis=1)
        events = decoded.events
        if self.without:
            known &= np.array([account not in self.without for account in events.account], bool)
        labels = read_labels(events)
        return (events.event_hash[known], vectors[known], labels[known]), events.time_ms


class Clean(NamedTuple):
    """Results of `CleanEvents`.

    Attributes:
      events: placed events without repeats.
      refused: dead letters.
      counts: (metric, records) pairs.
    """

    events: beam.PCollection[Events]
    refused: beam.PCollection[DeadLetter]
    counts: beam.PCollection[tuple[str, int]]


@dataclass(eq=False)
class CleanEvents(beam.PTransform):  # type: ignore[misc]
    """Splits decoded batches, drops repeats, and counts what became of every record.

    Attributes:
      dedupe_horizon_ms, gathers: as of `Dedupe`.
    """

    dedupe_horizon_ms: int
    gathers: bool = False

    def expand(self, ingested: beam.PCollection[Ingested]) -> Clean:
        split = ingested | "Split" >> beam.ParDo(_SplitFn()).with_outputs(
            "refused", "counts", main="events"
        )
        deduped = split.events | "Dedupe" >> Dedupe(self.dedupe_horizon_ms, gathers=self.gathers)
        repeats = deduped.duplicates | "NameRepeats" >> beam.Map(lambda n: ("duplicate", n))
        scored = deduped.events | "CountScored" >> beam.Map(lambda e: ("scored", len(e)))
        counts = (split.counts, repeats, scored) | "Counts" >> beam.Flatten()
        return Clean(deduped.events, split.refused, counts)


class _SplitFn(beam.DoFn):  # type: ignore[misc]
    def process(self, element: Ingested) -> Iterator[Any]:
        if len(element.events):
            yield element.events
        yield beam.pvalue.TaggedOutput("counts", ("read", element.read))
        for metric, n in element.other:
            if n:
                yield beam.pvalue.TaggedOutput("counts", (metric, n))
        for letter in element.refused:
            yield beam.pvalue.TaggedOutput("refused", letter)
            yield beam.pvalue.TaggedOutput("counts", ("refused", 1))
            yield beam.pvalue.TaggedOutput("counts", (f"refused_{letter.reason}", 1))
