"""The job's own work in one plain process, without Beam: what the engine costs is the difference.

The same functions as in the pipeline read, decode, place, fold, cut and score, on everything at
once; nothing is encoded, moved or counted on the way. No pipeline over these functions can be
faster.
"""

from __future__ import annotations

from bench.case import Case, write_rows
from pipelines.parts import decoder, embeds_texts, session_options
from transforms.coverage.fold import fold_stretches
from transforms.embedding.embed import place
from transforms.embedding.hashing import HashingEmbedder
from transforms.ingest.batch import Events
from transforms.ingest.dedupe import first_seen
from transforms.ingest.files import read_range
from transforms.scoring.together import session_scores
from transforms.sessions.shards import Named, cut_stack, keyed_together


def sessions_without_beam(case: Case) -> Named:
    """All sessions of a case, under encoded `SessionKey`s."""
    config, options = case.config, session_options(case.config)
    decoding, bundle = decoder(config), case.verified().load()
    embedder = HashingEmbedder() if embeds_texts(config) else None
    size = case.events.stat().st_size
    events = Events.concat([
        place(decoding.decode(batch), bundle.space, embedder, bundle.capabilities.labels)
        for batch in read_range(str(case.events), 0, size, config.ingest.batch_records)
    ])  # fmt: skip
    events = events.take(first_seen(events.event_hash, []))
    folded = fold_stretches(events, options.gap_ms, options.max_length_ms)
    return cut_stack(keyed_together(folded, options.max_length_ms), options.gap_ms)


def limit(case: Case, folder: str) -> None:
    """Scores all sessions of a case and writes them to a folder."""
    write_rows(folder, session_scores(sessions_without_beam(case), case.verified().load(), "bench"))
