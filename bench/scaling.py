"""Whether an event costs the same, however many there are and however many keys.

`python -m bench.scaling` runs the whole of `detect` over 10⁴ to 10⁷ events of 10⁴ keys, and over
10⁵ events of 10³ to 10⁶ keys, each in a process of its own. What the start of a run costs is told
from what an event costs by the difference of two sizes. 10⁷ events are a file of 14 GB, and need as
much memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.case import prepare_zipf
from bench.jobs import Timing
from bench.throughput import ALL_JOBS, ONE_THREAD, machine, run_apart
from bench.zipf import Traffic, settings
from pipelines.config import describe, load_config

_HISTORY = 50_000  # events that the bundle is learnt from, whatever is scored


def measure(events: int, keys: int, job: str, folder: Path) -> Timing:
    """Runs a job once."""
    traffic = Traffic(events, keys)
    config = folder / "settings.yaml"
    config.write_text(describe(load_config(None, settings(traffic))))
    case = prepare_zipf(folder, traffic, load_config(config), history=min(events, _HISTORY))
    return run_apart(job, case, config)


def table(found: Sequence[tuple[int, int, Timing]]) -> list[str]:
    """A table in Markdown."""
    lines = [
        "| events | keys | sessions | CPU s | µs/event | µs for each more than in the line before "
        "| peak MiB |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    before: tuple[int, int, Timing] | None = None
    for events, keys, timing in found:
        more = "–"
        if before is not None and before[1] == keys and events > before[0]:
            more = f"{(timing.cpu_s - before[2].cpu_s) / (events - before[0]) * 1e6:.0f}"
        before = events, keys, timing
        lines.append(
            f"| {events:,} | {keys:,} | {timing.sessions:,} | {timing.cpu_s:.1f} "
            f"| {timing.cpu_s / events * 1e6:.0f} | {more} | {timing.peak_mb:,.0f} |"
        )
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser("python -m bench.scaling", description=__doc__)
    parser.add_argument("--events", type=int, nargs="*", default=[10**n for n in range(4, 8)])
    parser.add_argument("--keys", type=int, nargs="*", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--of", type=int, default=100_000, help="events of so many keys (100000)")
    parser.add_argument("--job", choices=ALL_JOBS, default="detect")
    args = parser.parse_args(argv)
    sizes = [(events, 10_000) for events in args.events]
    sizes += [(args.of, keys) for keys in args.keys]
    found = []
    for events, keys in sizes:
        with tempfile.TemporaryDirectory(prefix="distilwatch-scaling-") as folder:
            os.environ.update(ONE_THREAD, DISTILWATCH_HOME=folder)
            timing = measure(events, keys, args.job, Path(folder))
            found.append((events, keys, timing))
            print(f"  {events:,} events, {keys:,} keys: {timing}", file=sys.stderr)
    print(f"{machine()}; `{args.job}`, one run each\n")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
