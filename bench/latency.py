"""From a request to the alert: how fast a stream can go, and how long an alert takes at half of it.

`python -m bench.latency` starts a Kafka broker and `distilwatch detect` on a topic without an end.
First it lets it catch up with a backlog, which shows the highest rate; then it sends requests at
half of that, each with the time of its sending, among them groups of accounts that share a card
and ask about everything. An alert's latency is from the newest request that it counts to its record
in the topic of alerts. What differs from the defaults is in `settings`: how often open sessions are
reported, an option here; the waits for what is late or silent, and the window of profiles, which
are shorter; and the limits of alerts, which are wide, so that there are enough to measure.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from bench import needs, zipf
from bench.case import prepare_zipf
from bench.stream import Stream
from bench.throughput import ONE_THREAD, machine
from infra.local.services import KafkaBroker
from pipelines.config import describe, load_config

_GROUP = 6  # accounts that share a card
_WARM = 500  # events before the backlog, for all steps to have started
_REQUESTS, _ALERTS = "requests", "alerts"


@dataclass(frozen=True)
class Found:
    """What was measured.

    Attributes:
      rate: events a second while catching up, until the tables say that all were read.
      sent: events a second afterwards.
      latencies_s: of the alerts, ascending.
    """

    rate: float
    sent: float
    latencies_s: tuple[float, ...]

    def lines(self) -> list[str]:
        """For people."""
        lines = [
            f"catching up: {self.rate:,.0f} events/s of wall time; then {self.sent:,.0f} a second"
        ]
        if self.latencies_s:
            p50, p99 = np.percentile(self.latencies_s, [50, 99])
            lines.append(
                f"newest request to alert, {len(self.latencies_s)} alerts: median {p50:.1f} s, "
                f"99th percentile {p99:.1f} s"
            )
        else:
            lines.append("no alert came, so there is no latency")
        return lines


def settings(early_firing_s: int) -> dict[str, Any]:
    """What differs from the defaults."""
    return {
        "sessions.early_firing": f"{early_firing_s} s",
        "ingest.idle_after": "2 s",
        "ingest.watermark_lag": "2 s",
        "profiles.window": "1 d",
        "alerts.max_p": 0.05,
        "alerts.pages_per_day": 10_000,
        "alerts.false_discovery_rate": 0.9,
    }


def requests(count: int, seed: int, keys: int) -> Iterator[dict[str, Any]]:
    """Usual requests, and every fifth one of an account of a group that asks about everything."""
    rng = np.random.default_rng(seed)
    usual = zipf.records(zipf.Traffic(count, keys, seed=seed))
    unusual = zipf.records(zipf.Traffic(count, 100_000, exponent=0.01, seed=seed + 1))
    for number, (one, other) in enumerate(zip(usual, unusual, strict=True)):
        request: dict[str, Any] = orjson.loads(one)
        if number % 5 == 0:
            # A new group now and then, so that alerts come all the time.
            group = seed * 100_000 + number // 1_000
            account = f"group-{group}-{rng.integers(_GROUP)}"
            request = orjson.loads(other)
            request |= {"account_id": account, "payment_fingerprint": f"shared-{group}"}
        request["event_id"] = f"{seed}-{number}"
        yield request


def told(broker: KafkaBroker, topic: str, since_s: float) -> list[float]:
    """Latency of each alert in a topic that counts requests from some time on, seconds."""
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(
        topic, bootstrap_servers=broker.address, auto_offset_reset="earliest",
        consumer_timeout_ms=5_000,
    )  # fmt: skip
    try:
        newest = [
            (record.timestamp / 1000, orjson.loads(record.value)["last_seen"])
            for record in consumer
        ]
    finally:
        consumer.close()
    seen = [(at, datetime.fromisoformat(last).timestamp()) for at, last in newest]
    return sorted(at - last for at, last in seen if last >= since_s)


def measure(backlog: int, seconds: int, early_firing_s: int, folder: Path) -> Found:
    """Measures both.

    Args:
      backlog: events to catch up with.
      seconds: of sending at half of that rate.
      early_firing_s: how often open sessions are reported.
      folder: for what is passing.
    """
    from kafka import KafkaProducer

    traffic = zipf.Traffic(20_000, 500)
    config = folder / "settings.yaml"
    config.write_text(
        describe(load_config(None, zipf.settings(traffic) | settings(early_firing_s)))
    )
    case = prepare_zipf(folder, traffic, load_config(config))
    with KafkaBroker() as broker:
        source, alerts = broker.create_topic(_REQUESTS), broker.create_topic(_ALERTS)
        stream = Stream(case, config, source, folder, ["--output", alerts])
        producer = KafkaProducer(bootstrap_servers=broker.address, linger_ms=5)

        def send(request: dict[str, Any]) -> None:
            request["event_time"] = int(time.time() * 1000)
            producer.send(_REQUESTS, orjson.dumps(request))

        def burst(count: int, seed: int) -> float:
            began = time.monotonic()
            for request in requests(count, seed, 500):
                send(request)
            producer.flush()
            return began

        burst(_WARM, 1)
        with stream.running():
            stream.until_read(_WARM)
            began = burst(backlog, 2)
            rate = backlog / (stream.until_read(_WARM + backlog) - began)
            wanted = rate / 2
            count, started, since_s = int(wanted * seconds), time.monotonic(), time.time()
            for number, request in enumerate(requests(count, 3, 500)):
                time.sleep(max(0.0, started + number / wanted - time.monotonic()))
                send(request)
            producer.flush()
            sent = count / (time.monotonic() - started)
            stream.until_read(_WARM + backlog + count)
            time.sleep(early_firing_s + 10)
            latencies = told(broker, _ALERTS, since_s)
        producer.close()
    return Found(rate, sent, tuple(latencies))


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser("python -m bench.latency", description=__doc__)
    parser.add_argument("--backlog", type=int, default=20_000, help="events (20000)")
    parser.add_argument("--seconds", type=int, default=120, help="at half of the rate (120)")
    parser.add_argument("--early-firing", type=int, default=10, help="seconds (10)")
    args = parser.parse_args(argv)
    needs.use_local_services()
    with tempfile.TemporaryDirectory(prefix="distilwatch-latency-") as folder:
        os.environ.update(ONE_THREAD, DISTILWATCH_HOME=folder)
        found = measure(args.backlog, args.seconds, args.early_firing, Path(folder))
    print("\n".join([machine(), *found.lines()]))


if __name__ == "__main__":
    main()
