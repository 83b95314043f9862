"""The job's own work in one plain process, without Beam: what the engine costs is the difference.

The same functions as in the pipeline read, decode, place, fold, cut and score, on everything at
once; nothing is encoded, moved or counted on the way. No pipeline over these functions can be
faster.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.case import LEVELS, Case, write_scored
from pipelines.parts import decoder, embeds_texts, session_options
from transforms.coverage.fold import fold
from transforms.coverage.stack import SketchStack
from transforms.embedding.embed import place
from transforms.embedding.hashing import HashingEmbedder
from transforms.ingest.batch import Events
from transforms.ingest.dedupe import first_seen
from transforms.ingest.files import read_range
from transforms.scoring.handler import score_items
from transforms.scoring.levels import rows_of_sketches
from transforms.sessions.shards import Named, cut_stack, keyed
from transforms.sessions.transforms import Session, each_session

_BATCH = 512  # sessions scored at once, as the pipeline does


def sessions_without_beam(case: Case) -> Iterator[Session]:
    """All sessions of a case."""
    config, options = case.config, session_options(case.config)
    decoding, bundle = decoder(config), case.verified().load()
    embedder = HashingEmbedder() if embeds_texts(config) else None
    size = case.events.stat().st_size
    events = Events.concat([
        place(decoding.decode(batch), bundle.space, embedder, bundle.capabilities.labels)
        for batch in read_range(str(case.events), 0, size, config.ingest.batch_records)
    ])  # fmt: skip
    events = events.take(first_seen(events.event_hash, []))
    parts = list(keyed(fold(events, options.slice_ms), options.max_length_ms))
    stack = SketchStack.of([part.sketch for part in parts])
    named = Named([part.key.encode() for part in parts], stack)
    yield from each_session(cut_stack(named, options.gap_ms))


def limit(case: Case, folder: str) -> None:
    """Scores all sessions of a case and writes them to a folder."""
    sessions, bundle = list(sessions_without_beam(case)), case.verified().load()
    for kind, level in LEVELS.items():
        own = [session for session in sessions if session.kind == kind]
        for start in range(0, len(own), _BATCH):
            batch = own[start : start + _BATCH]
            write_scored(folder, score_items(batch, bundle, level, rows_of_sketches, 0.0))
