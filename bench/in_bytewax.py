"""The job as a Bytewax dataflow, as its guides write one: map, key, session windows, score, file.

Two settings are kinder to it than the defaults: items need not wait for their order, because
sketches do not depend on it, and no clock wakes for windows of the past.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.accumulator import Accumulator, CountRequests, Request
from bench.case import Case, scored_line
from bench.one_by_one import OneByOne, session_of
from transforms.sessions.transforms import Session

_TOGETHER = 512  # sessions scored in one call, as RunInference has it


def run_bytewax(case: Case, folder: str) -> None:
    """Scores all sessions of a case and writes them to a folder.

    Raises:
      ImportError: Bytewax is not installed.
    """
    import bytewax.operators as op
    import bytewax.operators.windowing as windowing
    from bytewax.connectors.files import FileSink, FileSource
    from bytewax.dataflow import Dataflow
    from bytewax.testing import run_main

    job, count = OneByOne(case), CountRequests()

    def unseen(seen: set[str] | None, request: Request) -> tuple[set[str], Iterable[Request]]:
        seen = seen if seen is not None else set()
        if request.name in seen:
            return seen, ()
        seen.add(request.name)
        return seen, (request,)

    def merge(into: Accumulator, other: Accumulator) -> Accumulator:
        into.merge(other)
        return into

    def lines(keyed: tuple[str, list[Session]]) -> Iterable[tuple[str, str]]:
        return ((keyed[0], scored_line(scored)) for scored in job.score(keyed[1]))

    sessions = case.config.sessions
    clock = windowing.EventClock(
        lambda request: datetime.fromtimestamp(request.time_ms / 1000, UTC),
        wait_for_system_duration=timedelta(milliseconds=case.config.ingest.allowed_lateness_ms),
        to_system_utc=lambda _: None,
    )
    # A gap of exactly this length still joins here; in Beam it parts.
    windower = windowing.SessionWindower(gap=timedelta(milliseconds=sessions.gap_ms - 1))

    flow = Dataflow("sessions")
    read = op.input("read", flow, FileSource(case.events))
    requests = op.filter_map("decode", read, job.request)
    keyed = op.flat_map("by_account_and_payment", requests, job.keyed)
    # Before windows, under the same keys: under others, requests would come here out of order, and
    # too late by what a batch of lines spans.
    fresh = op.stateful_flat_map("dedupe", keyed, unseen)
    windows = windowing.fold_window(
        "sessions", fresh, clock, windower, Accumulator, count.add_input, merge, ordered=False
    )
    made = op.map("name", windows.down, lambda found: session_of(found[0], found[1][1]))
    by_kind = op.key_on("by_kind", made, lambda session: session.kind)
    together = op.collect("collect", by_kind, timedelta(seconds=10), _TOGETHER)
    scored = op.flat_map("score", together, lines)
    op.output("write", scored, FileSink(Path(folder, "bytewax"), end="\n"))
    run_main(flow)
