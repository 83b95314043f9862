"""From measured figures to workers, partitions, memory and money; the tables of docs/sizing.md.

`python -m bench.sizing` prints them for 10³, 10⁵ and 10⁶ requests a second, on Flink and on
Dataflow. Every figure is an option, so that another machine's, or another day's prices, can be
given; `--write` puts the tables into the page.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from bench import pages

PAGE = Path(__file__).parents[1] / "docs" / "sizing.md"
PART = "sizes"
_RATES = (1_000, 100_000, 1_000_000)
_HOURS = 730  # of a month
_DAY_S = 86_400
_COPIES = 2  # of the state on disks: what was replaced is only gone some time later


@dataclass(frozen=True)
class Figures:
    """What the arithmetic starts from; the page says where each is from.

    Attributes:
      event_ms: of a core, for an event, whatever its key.
      piece_ms: of a core, for what a reader hands over of one account at a time.
      window_us: of a core, for an account of the window, at every report, whether it asked or not.
      report_ms: of a core, for an account that is scored anew.
      requests_a_piece, requests_a_report: of an account in a piece, and between two reports.
      reader_rate: events a second that one reader reads, decodes and places.
      early_firing_s: between two reports.
      link_us: of the one worker that links, for an account of the window, at every report.
      link_bytes: of memory, for an account of the window.
      link_most: accounts of the window that one worker can be given at once.
      shard_accounts: accounts of the window in a shard of state, which is read at every report.
      log: how much larger state is than what counts of it, as it is written anew at twice that.
      headroom: share of the capacity that is used, so that a rush or a restart is caught up.
      event_bytes: of an event in the topic.
      requests_a_day: of an account.
      windowed: accounts of a profile window (28 days) for each one active on a day.
      open_share: share of the accounts of a day with an open session.
      profile_bytes, session_bytes: of an account's and of an open session's state.
      shuffle_bytes: between steps, for each event.
      worker_cores, worker_gb: of a worker.
      process_gb: of a process of ours, one for each core, without state.
      partition_bytes: a second, that one partition should carry at most.
      vm_hour: price of a worker by the hour, for Flink.
      disk_gb_month: price of its disks.
      dataflow_core_hour, dataflow_gb_hour, dataflow_data_gb: prices of a streaming worker's core
        and memory, and of data through Streaming Engine.
    """

    event_ms: float = 0.04
    piece_ms: float = 1.0
    report_ms: float = 3.2
    window_us: float = 330
    requests_a_piece: float = 2.0
    requests_a_report: float = 5.0
    reader_rate: float = 50_000
    early_firing_s: float = 600
    link_us: float = 70
    link_bytes: float = 1_500
    link_most: float = 2e6
    shard_accounts: float = 5_000
    log: float = 1.5
    headroom: float = 0.5
    event_bytes: float = 1_400
    requests_a_day: float = 200
    windowed: float = 3.0
    open_share: float = 0.1
    profile_bytes: float = 14_000
    session_bytes: float = 2_000
    shuffle_bytes: float = 700
    worker_cores: int = 4
    worker_gb: float = 16
    process_gb: float = 1.0
    partition_bytes: float = 5e6
    vm_hour: float = 0.1942
    disk_gb_month: float = 0.17
    dataflow_core_hour: float = 0.069
    dataflow_gb_hour: float = 0.003557
    dataflow_data_gb: float = 0.018


@dataclass(frozen=True)
class Size:
    """What one rate needs.

    Attributes:
      rate: requests a second.
      jobs: into which the topic must be divided, each with one reader and one who links.
      cores, workers: of all jobs.
      partitions: of the topics.
      shards: `sessions.shards` of each job.
      state_gb: of sessions and profiles.
      flink_month, dataflow_month: US dollars; on Flink with state on disks (RocksDB).
      in_memory: workers that hold the state, too (`hashmap` on Flink).
      in_memory_month: US dollars for these.
    """

    rate: int
    jobs: int
    cores: int
    workers: int
    partitions: int
    shards: int
    state_gb: float
    flink_month: float
    dataflow_month: float
    in_memory: int
    in_memory_month: float


def size(rate: int, known: Figures) -> Size:
    """The arithmetic, line by line as the page has it."""
    by_key_ms = known.piece_ms / known.requests_a_piece + known.report_ms / known.requests_a_report
    request_s = (known.event_ms + by_key_ms) / 1000
    accounts = rate * _DAY_S / known.requests_a_day
    linked = accounts * known.windowed
    free_gb = known.worker_gb - known.worker_cores * known.process_gb
    jobs = math.ceil(
        max(
            rate / (known.reader_rate * known.headroom),
            linked * known.link_us / 1e6 / (known.early_firing_s * known.headroom),
            linked * known.link_bytes / 1e9 / free_gb,
            linked / known.link_most,
        )
    )
    window_s = linked * known.window_us / 1e6 / known.early_firing_s
    cores = math.ceil((rate * request_s + window_s) / known.headroom)
    # Each job has the same number of workers, at least one.
    workers = jobs * math.ceil(max(cores, jobs) / jobs / known.worker_cores)
    by_bytes = math.ceil(rate * known.event_bytes / known.partition_bytes)
    partitions = jobs * math.ceil(max(by_bytes, jobs) / jobs)
    shards = max(32, math.ceil(linked / jobs / known.shard_accounts))
    state = (
        accounts
        * (known.windowed * known.profile_bytes + known.open_share * known.session_bytes)
        * known.log
    )
    in_memory = jobs * math.ceil(max(workers, state / 1e9 / free_gb) / jobs)
    busy = workers * known.worker_cores
    hour = busy * known.dataflow_core_hour + workers * known.worker_gb * known.dataflow_gb_hour
    data = rate * 3_600 * known.shuffle_bytes / 1e9 * known.dataflow_data_gb
    return Size(
        rate,
        jobs,
        cores,
        workers,
        partitions,
        shards,
        state / 1e9,
        workers * known.vm_hour * _HOURS + _COPIES * state / 1e9 * known.disk_gb_month,
        (hour + data) * _HOURS,
        in_memory,
        in_memory * known.vm_hour * _HOURS,
    )


def table(sizes: Sequence[Size]) -> list[str]:
    """The table of the page."""
    lines = [
        "| requests/s | jobs | partitions | shards of a job | cores | workers | state "
        "| Flink, $ a month | Dataflow, $ a month | Flink with state in memory: workers "
        "| $ a month |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {s.rate:,} | {s.jobs:,} | {s.partitions:,} | {s.shards:,} | {s.cores:,} "
        f"| {s.workers:,} "
        f"| {s.state_gb:,.0f} GB | {s.flink_month:,.0f} | {s.dataflow_month:,.0f} "
        f"| {s.in_memory:,} | {s.in_memory_month:,.0f} |"
        for s in sizes
    ]
    return lines


def figures_table(known: Figures) -> list[str]:
    """The figures that the table was made from."""
    lines = ["| option | value |", "|---|---:|"]
    lines += [
        f"| `--{f.name.replace('_', '-')}` | {getattr(known, f.name):g} |" for f in fields(known)
    ]
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the tables, or puts them into the page."""
    parser = argparse.ArgumentParser("python -m bench.sizing", description=__doc__)
    parser.add_argument("--rates", type=int, nargs="+", default=list(_RATES))
    parser.add_argument("--write", action="store_true", help=f"into docs/{PAGE.name}")
    for field in fields(Figures):
        kind = int if isinstance(field.default, int) else float
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    args = parser.parse_args(argv)
    known = Figures(**{field.name: getattr(args, field.name) for field in fields(Figures)})
    lines = [*table([size(rate, known) for rate in args.rates]), "", *figures_table(known)]
    if args.write:
        PAGE.write_text(pages.written(PAGE.read_text(), PART, lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
