"""What one payment fingerprint of very many accounts costs: the hottest key that is known.

`python -m bench.hot_key` folds half an hour of requests of 20,000 accounts, first each account with
a card of its own, then all on one card, and prints what reaches the cards' keys, how long their
sessions take, and what a report of the hot key takes in a stream.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.memory import key_events
from transforms.coverage.fold import fold, fold_together
from transforms.coverage.sketch import CoverageSketch, encode
from transforms.coverage.stack import SketchStack
from transforms.ingest.batch import Events
from transforms.sessions.endless import settle
from transforms.sessions.shards import Named, cut_stack, keyed_together
from transforms.sessions.sketch_log import Rows

_START_MS, _SPAN_MS = 1_780_272_000_000, 30 * 60_000
_SLICE_MS, _GAP_MS, _MAX_LENGTH_MS = 300_000, 1_800_000, 21_600_000


@dataclass(frozen=True)
class Cost:
    """What some cards cost.

    Attributes:
      cards: that the accounts have.
      events: in all.
      pieces: partial sketches that the busiest card gets.
      megabytes: of these, as they are sent.
      sessions_s: processor time from folded events to all sessions, by account and by card.
      fold_s: processor time of the fold before.
      report_s: processor time of one report of the busiest card in a stream, all its pieces new.
      kept_bytes: what is kept of it after that.
    """

    cards: int
    events: int
    pieces: int
    megabytes: float
    fold_s: float
    sessions_s: float
    report_s: float
    kept_bytes: int


def traffic(accounts: int, each: int, cards: int) -> Events:
    """Requests of some accounts in turn over half an hour, accounts dealt to cards in turn."""
    n = accounts * each
    events = Events.concat(list(key_events(n)))
    number = np.arange(n) % accounts
    return replace(
        events,
        time_ms=_START_MS + np.arange(n) * _SPAN_MS // n,
        account=np.array([f"a{i}" for i in range(accounts)], object)[number],
        payment=np.array([f"p{i}" for i in range(cards)], object)[number % cards],
    )


def measure(accounts: int, each: int, cards: int) -> Cost:
    """Measures one division of the accounts among cards."""
    events = traffic(accounts, each, cards)
    began = time.process_time()
    folded = fold_together(events, _SLICE_MS)
    fold_s = time.process_time() - began
    began = time.process_time()
    cut_stack(keyed_together(folded, _MAX_LENGTH_MS), _GAP_MS)
    sessions_s = time.process_time() - began

    hottest: list[CoverageSketch] = [
        partial.sketch for partial in fold(events, _SLICE_MS) if partial.payment == "p0"
    ]
    rows = Rows(
        Named(["p0"] * len(hottest), SketchStack.of(hottest)), np.zeros(len(hottest), np.uint8)
    )
    began = time.process_time()
    kept = settle(rows, _GAP_MS, 0, None).kept
    report_s = time.process_time() - began
    assert kept is not None
    return Cost(
        cards,
        len(events),
        len(hottest),
        sum(len(encode(sketch)) for sketch in hottest) / 1e6,
        fold_s,
        sessions_s,
        report_s,
        sum(len(encode(sketch)) for sketch in kept.named.stack.sketches()),
    )


def table(costs: Sequence[Cost]) -> list[str]:
    """A table in Markdown."""
    lines = [
        "| cards | events | pieces of the busiest | MB | fold, s | sessions, s | µs/event "
        "| its report, s | kept, bytes |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cost in costs:
        spent = (cost.fold_s + cost.sessions_s) / cost.events * 1e6
        lines.append(
            f"| {cost.cards:,} | {cost.events:,} | {cost.pieces:,} | {cost.megabytes:.1f} "
            f"| {cost.fold_s:.2f} | {cost.sessions_s:.2f} | {spent:.0f} | {cost.report_s:.2f} "
            f"| {cost.kept_bytes:,} |"
        )
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser("python -m bench.hot_key", description=__doc__)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--each", type=int, default=6, help="requests of an account (6)")
    args = parser.parse_args(argv)
    cards = (args.accounts, 100, 1)
    print("\n".join(table([measure(args.accounts, args.each, count) for count in cards])))


if __name__ == "__main__":
    main()
