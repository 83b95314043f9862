"""What a stream pays for an event, and what for each account that is scored anew.

`python -m bench.reports` starts a Kafka broker and a Flink cluster of one slot, and a stream of
`detect` there. Then accounts ask, evenly, in phases: none; some, once between two reports each; the
same, several times each; and many, once each. From what all processes but the broker use of the
processor in each phase, the cost of a report and of an event follow by least squares. With
`--resident` so many accounts have asked before, and are in the state that every report reads; the
phases themselves are long enough for steps to settle, not for days to pass.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from bench import needs, zipf
from bench.case import prepare_zipf
from bench.stream import Stream
from bench.throughput import ONE_THREAD, machine
from bench.usage import cpu_seconds
from infra.local.flink_cluster import FlinkCluster, StateBackend, WorkerPool, flink_libs
from infra.local.services import KafkaBroker
from pipelines.config import describe, load_config
from transforms.sessions.shard_log import SHARDS

_TOPIC = "requests"
_WARM = 500  # events before the first phase, for all steps to have started
_BEHIND_S = 30.0
_CALM_CORES, _LOOK_S, _PATIENCE_S = 0.3, 20.0, 600.0


@dataclass(frozen=True)
class Phase:
    """So many accounts ask so often between two reports."""

    accounts: int
    each: int


@dataclass(frozen=True)
class Used:
    """What was used in a phase.

    Attributes:
      phase: which.
      reports, events: a second.
      cores: of processor time, without the broker and who sends.
    """

    phase: Phase
    reports: float
    events: float
    cores: float


def costs(used: Sequence[Used]) -> tuple[float, float, float]:
    """Cores without any events, milliseconds a report, and milliseconds an event."""
    rows = np.array([[1.0, one.reports, one.events] for one in used])
    found, *_ = np.linalg.lstsq(rows, np.array([one.cores for one in used]), rcond=None)
    return float(found[0]), float(found[1]) * 1000, float(found[2]) * 1000


def requests(phase: Phase) -> Iterator[dict[str, Any]]:
    """What comes between two reports, again and again, without a repeat.

    Nobody shares a card or a network.
    """
    traffic = zipf.Traffic(max(phase.accounts * phase.each, 1), 500)
    bodies = [orjson.loads(record) for record in zipf.records(traffic)]
    for turn in itertools.count():
        for number, body in enumerate(bodies):
            own = number % phase.accounts
            yield body | {
                "event_id": f"{phase.accounts}-{phase.each}-{turn}-{number}",
                "account_id": f"account-{own}",
                "payment_fingerprint": f"card-{own}",
                "ip_prefix": f"10.{own // 250}.{own % 250}.0/24",
            }


def settings(
    early_firing_s: int, shards: int, cluster: FlinkCluster, pool: WorkerPool
) -> dict[str, Any]:
    """What differs from the defaults."""
    return {
        "sessions.shards": shards,
        "sessions.early_firing": f"{early_firing_s} s",
        "profiles.window": "1 d",
        "flink.master": cluster.master,
        "flink.workers": pool.address,
        "flink.parallelism": 1,
    }


def measure(
    phases: Sequence[Phase],
    seconds: int,
    settle: int,
    early_firing_s: int,
    folder: Path,
    warm: int = 0,
    resident: Phase | None = None,
    state: StateBackend = "rocksdb",
    shards: int = SHARDS,
) -> list[Used]:
    """Measures all phases, one after the other in one stream.

    Before them the last one, which has the most, comes for `warm` seconds: a Java process that has
    not compiled what it does yet uses more than twice as much. Before that `resident` accounts,
    those of the phases among them, ask once what they ask, so that there is state of them.

    Raises:
      RuntimeError: what was sent in a phase is not read soon after it: the stream did not keep up.
    """
    from kafka import KafkaProducer

    os.environ["DISTILWATCH_FLINK_LIBS"] = str(flink_libs())
    traffic = zipf.Traffic(20_000, 500)
    with KafkaBroker() as broker, _cluster(state) as cluster:
        pool = WorkerPool(cluster.folder)
        pool.start()
        producer = KafkaProducer(bootstrap_servers=broker.address, linger_ms=5)
        try:
            config = folder / "settings.yaml"
            own = zipf.settings(traffic) | settings(early_firing_s, shards, cluster, pool)
            config.write_text(describe(load_config(None, own)))
            case = prepare_zipf(folder, traffic, load_config(config))
            source = broker.create_topic(_TOPIC)
            stream = Stream(case, config, source, folder, ["--runner", "flink"])

            used: list[Used] = []
            sent = 0

            def send(request: dict[str, Any]) -> None:
                nonlocal sent
                # A repeat would be dropped, and cost nothing.
                request |= {"event_id": f"{sent}", "event_time": int(time.time() * 1000)}
                producer.send(_TOPIC, orjson.dumps(request))
                sent += 1

            def feed(asked: Iterator[dict[str, Any]], rate: float, seconds: float) -> float:
                """Sends so many a second for so long; returns the cores used meanwhile."""
                began, before = time.monotonic(), _others(broker)
                for number in range(int(rate * seconds)):
                    time.sleep(max(0.0, began + number / rate - time.monotonic()))
                    send(next(asked))
                time.sleep(max(0.0, began + seconds - time.monotonic()))
                return (_others(broker) - before) / (time.monotonic() - began)

            with stream.running():
                for request in itertools.islice(requests(Phase(100, 1)), _WARM):
                    send(request)
                producer.flush()
                stream.until_read(_WARM)
                if resident is not None:
                    for request in itertools.islice(
                        requests(resident), resident.accounts * resident.each
                    ):
                        send(request)
                    producer.flush()
                    stream.until_read(sent)
                    _until_calm(broker)
                last = phases[-1]
                feed(requests(last), last.accounts * last.each / early_firing_s, warm)
                for phase in phases:
                    reports = phase.accounts / early_firing_s
                    asked, rate = requests(phase), reports * phase.each
                    feed(asked, rate, settle)
                    used.append(Used(phase, reports, rate, feed(asked, rate, seconds)))
                    print(f"  {used[-1]}", file=sys.stderr)
                    producer.flush()
                    ended = time.monotonic()
                    if stream.until_read(sent) - ended > _BEHIND_S:
                        raise RuntimeError(f"{phase} is more than the stream could keep up with")
        finally:
            producer.close()
            pool.stop()
    return used


def _cluster(state: StateBackend) -> FlinkCluster:
    """One task manager, with about the memory of infra/flink/session.yaml, and its checkpoints."""
    heap_mb = 1_536 if state == "rocksdb" else 4_096
    return FlinkCluster(task_managers=1, state=state, heap_mb=heap_mb, managed_mb=700)


def _others(broker: KafkaBroker) -> float:
    """Processor time of what this process started, but for the broker."""
    return cpu_seconds(os.getpid()) - time.process_time() - cpu_seconds(broker.pid)


def _until_calm(broker: KafkaBroker) -> None:
    """Waits until all that was read is reported, too.

    Raises:
      RuntimeError: that takes too long.
    """
    deadline = time.monotonic() + _PATIENCE_S
    cores = np.inf
    while cores > _CALM_CORES:
        if time.monotonic() > deadline:
            raise RuntimeError(f"what is resident still takes {cores:.2f} cores: let fewer ask")
        before = _others(broker)
        time.sleep(_LOOK_S)
        cores = (_others(broker) - before) / _LOOK_S


def table(used: Sequence[Used]) -> list[str]:
    """A table in Markdown, and what follows from it."""
    idle, report, event = costs(used)
    return [
        "| accounts | requests between two reports | reports/s | events/s | cores |",
        "|---:|---:|---:|---:|---:|",
        *(
            f"| {one.phase.accounts:,} | {one.phase.each} | {one.reports:,.0f} "
            f"| {one.events:,.0f} | {one.cores:.2f} |"
            for one in used
        ),
        "",
        f"{idle:.2f} cores where nothing comes, {report:.1f} ms a report, {event:.2f} ms an event.",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 2 when Flink is missing."""
    parser = argparse.ArgumentParser("python -m bench.reports", description=__doc__)
    parser.add_argument("--few", type=int, default=500, help="accounts (500)")
    parser.add_argument("--many", type=int, default=2_000, help="accounts (2000)")
    parser.add_argument("--each", type=int, default=4, help="requests of the few, once (4)")
    parser.add_argument("--early-firing", type=int, default=20, help="seconds (20)")
    parser.add_argument("--warm", type=int, default=60, help="seconds before all phases (60)")
    parser.add_argument("--resident", type=int, default=0, help="accounts that asked before (0)")
    parser.add_argument("--resident-each", type=int, default=10, help="requests of these (10)")
    parser.add_argument(
        "--state", choices=["hashmap", "rocksdb"], default="rocksdb", help="on Flink (rocksdb)"
    )
    parser.add_argument("--shards", type=int, default=SHARDS, help=f"sessions.shards ({SHARDS})")
    parser.add_argument("--settle", type=int, default=30, help="seconds before each phase (30)")
    parser.add_argument("--seconds", type=int, default=60, help="of each phase (60)")
    args = parser.parse_args(argv)
    if lacks := [*needs.missing_for("detect-flink-1"), *needs.missing_for("detect-kafka")]:
        print(*lacks, sep="\n", file=sys.stderr)
        return 2
    needs.use_local_services()
    phases = [Phase(0, 1), Phase(args.few, 1), Phase(args.few, args.each), Phase(args.many, 1)]
    with tempfile.TemporaryDirectory(prefix="distilwatch-reports-") as folder:
        os.environ.update(ONE_THREAD, DISTILWATCH_HOME=folder)
        used = measure(
            phases,
            args.seconds,
            args.settle,
            args.early_firing,
            Path(folder),
            args.warm,
            Phase(args.resident, args.resident_each) if args.resident else None,
            args.state,
            args.shards,
        )
    resident = f", {args.resident:,} accounts resident" if args.resident else ""
    print(
        f"{machine()}\n\nOn Flink, one slot, state in {args.state}{resident}, a report every "
        f"{args.early_firing} s\n"
    )
    print("\n".join(table(used)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
