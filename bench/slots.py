"""What a second slot of Flink gives, told from what starting a job on it costs.

`python -m bench.slots` runs the whole of `detect` on clusters of one and of two task managers of
one slot, over two sizes of the same traffic. A start costs the same for both sizes, so the
difference is what events cost: in processor time, which a second slot should not raise, and in time
on the clock, which it should halve as far as the machine has cores to spare.
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
    """A table in Markdown.

    Args:
      found: by slots, events and timing of the smaller size and of the larger.
    """
    lines = [
        "| slots | start, CPU s | start, wall s | µs CPU an event | events/s of wall time |",
        "|---:|---:|---:|---:|---:|",
    ]
    for slots, ((few, small), (many, large)) in found.items():
        cpu, wall = (
            (b - a) / (many - few)
            for a, b in ((small.cpu_s, large.cpu_s), (small.wall_s, large.wall_s))
        )
        lines.append(
            f"| {slots} | {small.cpu_s - few * cpu:.0f} | {small.wall_s - few * wall:.0f} "
            f"| {cpu * 1e6:.0f} | {1 / wall:,.0f} |"
        )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 2 when Flink is missing."""
    parser = argparse.ArgumentParser("python -m bench.slots", description=__doc__)
    parser.add_argument("--events", type=int, nargs=2, default=[20_000, 200_000])
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
        f"{machine()}\n\n`detect` over {fewer:,} and {more:,} events with vectors, one run each; "
        "what an event costs is told by the difference\n"
    )
    print("\n".join(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
