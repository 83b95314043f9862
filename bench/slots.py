"""What a second slot of Flink costs and gives.

`python -m bench.slots` runs the whole of `detect` on clusters of one and of two task managers of
one slot, over two sizes of the same traffic, each in turn. A start is most of a small run and
differs from one to the next by tens of seconds of processor, so that it cannot be taken off: the
larger size must be large enough for it not to matter.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import needs
from bench.jobs import Timing
from bench.scaling import measure
from bench.throughput import ONE_THREAD, machine

SLOTS = (1, 2)


def table(found: Mapping[int, Sequence[tuple[int, Timing]]]) -> list[str]:
    """A table in Markdown, starts included, and what of a core's events the most slots keep.

    Args:
      found: by slots, events and timing of each size.
    """
    lines = [
        "| slots | events | CPU s | wall s | events/s/core | events/s of wall time | peak MiB |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for slots, runs in found.items():
        lines += [
            f"| {slots} | {events:,} | {t.cpu_s:.0f} | {t.wall_s:.0f} | {events / t.cpu_s:,.0f} "
            f"| {events / t.wall_s:,.0f} | {t.peak_mb:,.0f} |"
            for events, t in runs
        ]
    fewest, most = min(found), max(found)
    (events, one), (_, several) = found[fewest][-1], found[most][-1]
    share = one.cpu_s / several.cpu_s
    return [
        *lines,
        "",
        f"Over {events:,} events {most} slots keep {share:.0%} of the events/s/core of {fewest}.",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 2 when Flink is missing."""
    parser = argparse.ArgumentParser("python -m bench.slots", description=__doc__)
    parser.add_argument("--events", type=int, nargs=2, default=[20_000, 800_000])
    parser.add_argument("--keys", type=int, default=600)
    args = parser.parse_args(argv)
    if lacks := needs.missing_for("detect-flink-2"):
        print(*lacks, sep="\n", file=sys.stderr)
        return 2
    found: dict[int, list[tuple[int, Timing]]] = {slots: [] for slots in SLOTS}
    for events in sorted(args.events):
        for slots in SLOTS:
            with tempfile.TemporaryDirectory(prefix="distilwatch-slots-") as folder:
                os.environ.update(ONE_THREAD, DISTILWATCH_HOME=folder)
                timing = measure(events, args.keys, f"detect-flink-{slots}", Path(folder))
            found[slots].append((events, timing))
            print(f"  {slots} slots, {events:,} events: {timing}", file=sys.stderr)
    fewer, more = sorted(args.events)
    print(
        f"{machine()}\n\n`detect` over {fewer:,} and {more:,} events with vectors, one run each, "
        "starts included\n"
    )
    print("\n".join(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
