"""Events a second and core of the job, beside the same job written event by event.

`python -m bench.throughput` makes traffic and a bundle, runs every job several times, each in a
process of its own and in an order that goes back and forth, and prints medians, the ratio pair by
pair, and the rates of single stages.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from threadpoolctl import threadpool_limits

from bench.case import Case, prepare, prepare_zipf
from bench.jobs import JOBS, NEEDS_KAFKA, SERVED, Timing, as_dict, run
from bench.stages import stage_rates
from bench.stages import table as stage_table
from bench.topics import in_topics
from bench.usage import watched
from bench.zipf import Traffic
from bench.zipf import settings as zipf_settings
from infra.local.services import KafkaBroker
from pipelines.config import describe, load_config
from pipelines.settings import Config
from pipelines.simulate.scenario import Scenario, demo_scenario

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
OURS, THEIRS, LIMIT = "batched", "per-event", "limit"
WHAT = {
    "batched": "records to scored sessions, as distilwatch does it",
    "batched-windows": "the same in Beam's own session windows",
    "batched-singly": "the same, each session scored as an element of its own",
    "limit": "the same functions in one plain process, without Beam",
    "per-event": "the same event by event, in session windows, idiomatic Beam",
    "per-event-state": "per-event, repeats dropped by Beam's DeduplicatePerKey",
    "bytewax": "event by event as a Bytewax dataflow",
    "quix": "event by event as a Quix Streams application, from Kafka, state in RocksDB",
    "detect": "the whole of `distilwatch detect`: profiles, clusters, tables, too",
    "detect-kafka": "the same from a Kafka topic",
    "detect-prism": "the same on Prism, from a topic without an end that is then drained",
    "detect-flink-1": "the same on Flink, one slot, start of workers included",
    "detect-flink-2": "the same on Flink, two slots",
}
"""Jobs by name, in words."""

ALL_JOBS = [*JOBS, *SERVED]
DEFAULT_JOBS = ["batched", "batched-windows", "limit", "per-event", "detect"]


def scenario(events: int, seed: int = 7) -> Scenario:
    """The demo's mix of accounts, with enough live events: about two thirds of all are live."""
    base = demo_scenario(seed)
    return replace(base, events=max(base.events, 3 * events))


def run_apart(name: str, case: Case, settings: Path | None) -> Timing:
    """Runs a job in a process of its own, numerical libraries on one thread."""
    command = [
        sys.executable, "-m", "bench.throughput", "--run", name, "--in", str(case.events),
        "--events", str(case.count), "--bundle", str(case.bundle),
    ]  # fmt: skip
    for option, value in (
        ("--config", settings), ("--topic", case.topic), ("--ended-topic", case.ended_topic)
    ):  # fmt: skip
        command += [option, str(value)] if value is not None else []
    with (
        subprocess.Popen(
            command,
            env=os.environ | ONE_THREAD,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        watched(process.pid) as peak,
    ):
        said, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{name} failed:\n{errors[-4000:]}")
    timing = Timing(**json.loads(said.splitlines()[-1]))
    return replace(timing, peak_mb=max(timing.peak_mb, peak.mb))


def measure(
    case: Case,
    names: Sequence[str],
    rounds: int,
    settings: Path | None = None,
    patience_s: float = math.inf,
) -> dict[str, list[Timing]]:
    """Runs every job `rounds` times, A B C, C B A, A B C, …

    One that took more than `patience_s` of processor time in the first turn is not run again.

    Raises:
      AssertionError: when two jobs disagree about any session, its score or its p-value.
    """
    timings: dict[str, list[Timing]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            if turn and timings[name][0].cpu_s > patience_s:
                continue
            timing = run_apart(name, case, settings)
            timings[name].append(timing)
            print(
                f"  {name:<16}{timing.cpu_s:8.1f} s CPU {timing.wall_s:8.1f} s wall "
                f"{timing.peak_mb:7.0f} MB {timing.sessions:>8,} sessions {timing.digest}",
                file=sys.stderr,
            )
    check_same(timings)
    return timings


def check_same(timings: dict[str, list[Timing]]) -> None:
    """Raises AssertionError unless all runs found the same sessions with the same scores."""
    found = {name: {(t.sessions, t.digest) for t in several} for name, several in timings.items()}
    if len(set().union(*found.values())) > 1:
        raise AssertionError(f"the jobs found different sessions, so no comparison: {found}")


def ratios(ours: Sequence[Timing], theirs: Sequence[Timing]) -> list[float]:
    """How many times the processor time theirs took, pair by pair, ascending.

    Where one was run in fewer turns, these count.
    """
    return sorted(b.cpu_s / a.cpu_s for a, b in zip(ours, theirs, strict=False))


def job_table(timings: dict[str, list[Timing]], events: int) -> list[str]:
    """Lines for people."""
    lines = [
        f"{'job':<18}{'events/s/core':>14}{'least':>9}{'most':>9}{'CPU s':>8}{'wall s':>8}"
        f"{'peak MB':>9}{'sessions':>10}"
    ]
    for name, several in timings.items():
        rates = sorted(events / t.cpu_s for t in several)
        lines.append(
            f"{name:<18}{statistics.median(rates):>14,.0f}{rates[0]:>9,.0f}{rates[-1]:>9,.0f}"
            f"{statistics.median(t.cpu_s for t in several):>8.1f}"
            f"{statistics.median(t.wall_s for t in several):>8.1f}"
            f"{max(t.peak_mb for t in several):>9.0f}{several[0].sessions:>10,}"
        )
    lines += ["", *(f"  {name}: {WHAT[name]}" for name in timings), ""]
    for name, several in timings.items():
        if name.startswith(THEIRS) and OURS in timings:
            found = ratios(timings[OURS], several)
            lines.append(
                f"{OURS} is {statistics.median(found):.1f} times as fast as {name} "
                f"({found[0]:.1f} to {found[-1]:.1f} over {len(found)} pairs, processor time)."
            )
    if LIMIT in timings and OURS in timings:
        shares = [1 / ratio for ratio in ratios(timings[LIMIT], timings[OURS])]
        lines.append(
            f"{OURS} reaches {statistics.median(shares):.0%} of the {LIMIT} "
            f"({shares[-1]:.0%} to {shares[0]:.0%} over {len(shares)} pairs, processor time)."
        )
    return lines


def machine() -> str:
    """What the figures were measured on."""
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"Beam {version('apache-beam')}, numpy {version('numpy')}, "
        f"load {os.getloadavg()[0]:.1f}; embedded runner, 1 worker, 1 numerical thread"
    )


def make_case(folder: Path, args: argparse.Namespace, config: Config) -> tuple[Case, Path | None]:
    """The traffic that was asked for, and the settings file of the jobs."""
    if not args.keys:
        kind = "hashing" if args.vectors else "none"
        wanted = args.scenario or scenario(args.events)
        return prepare(folder, wanted, args.events, config, kind), args.config
    traffic = Traffic(args.events, args.keys, dim=384 if args.vectors else 0)
    settings = folder / "settings.yaml"
    settings.write_text(describe(load_config(args.config, zipf_settings(traffic))))
    return prepare_zipf(folder, traffic, load_config(settings)), settings


def report(folder: Path, args: argparse.Namespace, config: Config) -> list[str]:
    """Measures everything and returns the lines to print."""
    case, settings = make_case(folder, args, config)
    with ExitStack() as stack:
        if NEEDS_KAFKA & set(args.jobs):
            case = in_topics(case, stack.enter_context(KafkaBroker()))
        return _report(case, args, settings)


def _report(case: Case, args: argparse.Namespace, settings: Path | None) -> list[str]:
    size = case.events.stat().st_size / case.count
    brought = "bring vectors" if args.vectors else "are embedded here"
    head = [
        machine(),
        f"{case.count:,} events of {size:,.0f} bytes that {brought}; {args.rounds} runs of each "
        "job, in turn, a process each; times exclude imports and Python's start",
        "",
    ]
    timings = measure(case, args.jobs, args.rounds, settings)
    # The environment is read when numpy is loaded, which it is by now.
    with threadpool_limits(1):
        stages = stage_table(stage_rates(case))
    return [*head, *job_table(timings, case.count), "", "Stages alone, without Beam:", *stages]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m bench.throughput", description=__doc__)
    made.add_argument("--events", type=int, default=50_000, help="live events (50000)")
    made.add_argument("--rounds", type=int, default=3, help="runs of each job (3)")
    made.add_argument("--jobs", nargs="+", choices=ALL_JOBS, default=DEFAULT_JOBS)
    made.add_argument("--vectors", action="store_true", help="events bring their vectors")
    made.add_argument(
        "--keys", type=int, default=0, help="Zipf-distributed accounts, instead of the demo's mix"
    )
    made.add_argument("--config", type=Path, help="settings file")
    made.add_argument("--run", choices=ALL_JOBS, help=argparse.SUPPRESS)
    made.add_argument("--in", dest="path", type=Path, help=argparse.SUPPRESS)
    made.add_argument("--bundle", type=Path, help=argparse.SUPPRESS)
    made.add_argument("--topic", help=argparse.SUPPRESS)
    made.add_argument("--ended-topic", help=argparse.SUPPRESS)
    made.set_defaults(scenario=None)
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the bench, or one job of it when it is told so by the bench itself."""
    args = parser().parse_args(argv)
    config = load_config(args.config)
    if args.run:
        topics = args.topic, args.ended_topic
        timing = run(args.run, Case(args.path, args.events, args.bundle, config, *topics))
        print(json.dumps(as_dict(timing)))
        return
    with tempfile.TemporaryDirectory(prefix="distilwatch-bench-") as folder:
        # Keys of its own, so that nothing is left in the user's folder.
        os.environ.update(ONE_THREAD, DISTILWATCH_HOME=folder)
        print("\n".join(report(Path(folder), args, config)))


if __name__ == "__main__":
    main()
