"""One run over all that the product is compared with: a table, a plot and the figures.

`python -m bench` makes traffic of two kinds, events that bring 384 float16 values and events of
about half a kilobyte of text, over Zipf-distributed accounts; runs every job on it several times,
each in a process of its own and in an order that goes back and forth; and writes `comparison.md`,
`comparison.svg` and `comparison.json`. Rates are by processor time of a job and all that it
started, because machines are shared; ratios are of runs side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import needs, plot
from bench.case import prepare_zipf
from bench.jobs import NEEDS_KAFKA, Timing, as_dict
from bench.throughput import (
    ALL_JOBS,
    LIMIT,
    ONE_THREAD,
    THEIRS,
    WHAT,
    machine,
    measure,
    ratios,
)
from bench.topics import in_topics
from bench.zipf import Traffic, settings
from infra.local.services import KafkaBroker
from pipelines.config import describe, load_config

JOBS = [
    "limit", "batched", "detect", "detect-kafka", "detect-prism", "detect-flink-1",
    "detect-flink-2", "per-event", "bytewax", "quix",
]  # fmt: skip
"""All of a comparison."""
OWN = ["limit", "batched", "detect"]
"""Those that are run for every number of keys."""
KINDS = {"vectors": 384, "text": 0}


@dataclass(frozen=True)
class Part:
    """What was measured of one kind of event and number of keys.

    Attributes:
      kind: of `KINDS`.
      keys: accounts at most.
      events: of the input.
      event_bytes: of an event, on average.
      timings: of each job.
    """

    kind: str
    keys: int
    events: int
    event_bytes: float
    timings: dict[str, list[Timing]]

    @property
    def title(self) -> str:
        """What it is, in words."""
        brought = "384 float16 values" if self.kind == "vectors" else "text"
        return (
            f"{self.events:,} events of {self.event_bytes:,.0f} bytes with {brought}, "
            f"{self.keys:,} keys"
        )

    def rates(self, job: str) -> list[float]:
        """Events a second and core, ascending."""
        return sorted(self.events / timing.cpu_s for timing in self.timings[job])

    def bars(self) -> list[plot.Bar]:
        """For the plot."""
        return [
            plot.Bar(job, low[0], median(low), low[-1], max(t.peak_mb for t in self.timings[job]))
            for job, low in ((job, self.rates(job)) for job in self.timings)
        ]

    def lines(self) -> Iterator[str]:
        """A table in Markdown."""
        yield f"**{self.title}**, {next(iter(self.timings.values()))[0].sessions:,} sessions"
        yield ""
        yield (
            "| job | runs | events/s/core | least to most | times per-event | of the limit "
            "| peak MiB |"
        )
        yield "|---|---:|---:|---:|---:|---:|---:|"
        for job, timings in self.timings.items():
            rates = self.rates(job)
            yield (
                f"| `{job}` | {len(timings)} | {median(rates):,.0f} "
                f"| {rates[0]:,.0f} to {rates[-1]:,.0f} "
                f"| {self._times(job, THEIRS)} | {self._times(job, LIMIT)} "
                f"| {max(timing.peak_mb for timing in timings):,.0f} |"
            )

    def _times(self, job: str, other: str) -> str:
        if other not in self.timings:
            return "–"
        return f"{median(ratios(self.timings[job], self.timings[other])):.2g}"


def compare(args: argparse.Namespace, folder: Path) -> list[Part]:
    """Measures each kind of event with each number of keys; all jobs with the first number."""
    parts = []
    with ExitStack() as stack:
        broker = None
        if NEEDS_KAFKA & set(args.jobs):
            broker = stack.enter_context(KafkaBroker())
        for kind in args.kinds:
            for keys in args.keys:
                names = args.jobs if keys == args.keys[0] else [j for j in args.jobs if j in OWN]
                if not names:
                    continue
                place = folder / f"{kind}-{keys}"
                place.mkdir()
                traffic = Traffic(args.events, keys, dim=KINDS[kind])
                config = place / "settings.yaml"
                config.write_text(describe(load_config(None, settings(traffic))))
                case = prepare_zipf(place, traffic, load_config(config))
                size = case.events.stat().st_size / case.count
                if broker is not None and NEEDS_KAFKA & set(names):
                    case = in_topics(case, broker, f"{kind}-{keys}")
                print(f"{kind}, {keys:,} keys", file=sys.stderr)
                timings = measure(case, names, args.rounds, config, args.patience)
                parts.append(Part(kind, keys, case.count, size, timings))
    return parts


def report(parts: Sequence[Part], rounds: int, left_out: Sequence[str]) -> list[str]:
    """The page in Markdown."""
    lines = [
        f"Measured on {machine()}. Medians of at most {rounds} runs in turn; processor time of a "
        "job and of all that it started, without Kafka's broker; memory of the same together.",
        "",
    ]
    lines += [f"Left out: {why}" for why in left_out] + [""] * bool(left_out)
    for part in parts:
        lines += [*part.lines(), ""]
    named = {job for part in parts for job in part.timings}
    lines += [f"- `{job}`: {WHAT[job]}" for job in ALL_JOBS if job in named]
    return lines


def save(parts: Sequence[Part], lines: Sequence[str], folder: Path) -> list[Path]:
    """Writes table, figures and, where matplotlib is installed, the plot; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    table, figures, drawn = (folder / f"comparison.{end}" for end in ("md", "json", "svg"))
    table.write_text("\n".join(lines) + "\n")
    found = [
        vars(part) | {"timings": {j: [as_dict(t) for t in ts] for j, ts in part.timings.items()}}
        for part in parts
    ]
    figures.write_text(json.dumps({"machine": machine(), "parts": found}, indent=1) + "\n")
    if needs.missing_packages(["matplotlib"]):
        return [table, figures]
    plot.draw([(part.title, part.bars()) for part in parts], machine(), [drawn])
    return [table, figures, drawn]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m bench", description=__doc__)
    made.add_argument("--events", type=int, default=20_000, help="of each kind (20000)")
    made.add_argument("--keys", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    made.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    made.add_argument("--rounds", type=int, default=3, help="runs of each job (3)")
    made.add_argument(
        "--patience", type=float, default=60.0, metavar="SECONDS",
        help="of processor time; a job that takes more is run once (60)",
    )  # fmt: skip
    made.add_argument("--jobs", nargs="+", choices=ALL_JOBS, default=JOBS)
    made.add_argument("--skip-missing", action="store_true", help="leave out what is not installed")
    made.add_argument("--out", type=Path, default=Path("bench-results"), help="folder to write")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the comparison; 2 when something is missing."""
    args = parser().parse_args(argv)
    lacks = {job: needs.missing_for(job) for job in args.jobs}
    left_out = [f"{job}: {why}" for job, several in lacks.items() for why in several]
    left_out += [f"the plot: {why}" for why in needs.missing_packages(["matplotlib"])]
    if left_out and not args.skip_missing:
        print("Cannot compare with all:", *left_out, sep="\n  ", file=sys.stderr)
        print("Install these, or leave them out with --skip-missing.", file=sys.stderr)
        return 2
    args.jobs = [job for job in args.jobs if not lacks[job]]
    if not args.jobs:
        print("Nothing is left to compare:", *left_out, sep="\n  ", file=sys.stderr)
        return 2
    needs.use_local_services()
    with tempfile.TemporaryDirectory(prefix="distilwatch-bench-") as folder:
        os.environ.update(ONE_THREAD, DISTILWATCH_HOME=folder)
        parts = compare(args, Path(folder))
    lines = report(parts, args.rounds, left_out)
    print("\n".join(lines))
    for file in save(parts, lines, args.out):
        print(f"wrote {file}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
