"""The source without an end on engines: its watermark passes, and nothing is missing.

Beam's own windows with their default trigger speak only when the watermark has passed their end.
So they say all of it only if partitions that have nothing to read hold nobody up, a reader that
hands its rest back goes on where it was, and what it promised arrives with the runner.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from infra.local.flink_cluster import FlinkCluster, flink_libs
from infra.local.services import KafkaBroker
from pipelines.flink.jobserver import job_server_running
from pipelines.flink.options import flink_options
from pipelines.flink.worker_pool import ThreadPool, serving
from pipelines.parts import prism_options
from pipelines.prism import prism_running
from pipelines.settings.flink import FlinkConfig
from tests.support.kafka import new_topic
from transforms.ingest.batch import RecordBatch
from transforms.ingest.kafka import ReadKafka

START_MS = 1_780_272_000_000
MINUTE = 60_000
RECORDS, MINUTES, SKEW_MS = 600, 10, 3 * MINUTE
PATIENCE_S = 240


def times(batch: RecordBatch) -> tuple[list[int], np.ndarray]:
    """The event times of a batch, which are its values."""
    found = [int(value) for value in batch.values]
    return found, np.array(found, np.int64)


class Write(beam.DoFn):
    """Appends a line for each window that is said to be over."""

    def __init__(self, path: str) -> None:
        self._path = path

    def process(
        self, element: tuple[str, list[int]], window: Any = beam.DoFn.WindowParam
    ) -> Iterator[None]:
        line = json.dumps([window.start.micros // 1000, sorted(element[1])])
        with Path(self._path).open("a") as file:
            file.write(line + "\n")
        yield from ()


def counted(pipeline: beam.Pipeline, uri: str, path: Path) -> None:
    """Windows of a minute over the topic."""
    _ = (
        pipeline
        | "Read" >> ReadKafka(f"{uri}?bounded=false", times, 20, 0, 1_000, None, 500)
        | "Each" >> beam.FlatMap(lambda ms: [beam.window.TimestampedValue(m, m / 1000) for m in ms])
        | "Minutes" >> beam.WindowInto(beam.window.FixedWindows(60))
        | "Key" >> beam.Map(lambda ms: ("all", ms)).with_output_types(tuple[str, int])
        | "Together" >> beam.GroupByKey()
        | "Write" >> beam.ParDo(Write(str(path)))
    )


@contextmanager
def engine(name: str, request: pytest.FixtureRequest) -> Iterator[PipelineOptions]:
    """Options for a run on an engine, which is there while the block lasts."""
    with ExitStack() as stack:
        if name == "prism":
            endpoint = stack.enter_context(prism_running(request.getfixturevalue("prism")))
            yield prism_options(endpoint, [], endless=True)
        else:
            cluster: FlinkCluster = request.getfixturevalue("flink")
            endpoint = stack.enter_context(job_server_running(flink_libs(), cluster.master))
            config = FlinkConfig(checkpoint_every="2 s", parallelism=2)
            workers = stack.enter_context(serving(ThreadPool()))
            yield flink_options(config, endpoint, "tail", [], True, None, workers)
            for job in cluster.rest("/jobs/overview")["jobs"]:
                if job["state"] == "RUNNING":
                    cluster.rest(f"/jobs/{job['jid']}?mode=cancel", "PATCH")


def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("prism", marks=pytest.mark.prism),
        pytest.param("flink", marks=pytest.mark.flink),
    ],
)
def test_an_endless_topic_with_an_idle_partition_and_clocks_apart_is_told_whole(
    name: str,
    kafka: KafkaBroker,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    topic, told = new_topic(kafka, 4), tmp_path / "told"
    # Three producers, whose clocks are three minutes apart; the fourth partition has nothing.
    events = [
        (i % 3, START_MS + i * MINUTES * MINUTE // RECORDS + (i % 3) * SKEW_MS)
        for i in range(RECORDS)
    ]
    topic.produce((partition, str(ms).encode()) for partition, ms in events)
    wanted: dict[int, list[int]] = {}
    for _, ms in events:
        wanted.setdefault(ms // MINUTE * MINUTE, []).append(ms)
    wanted = {start: sorted(found) for start, found in wanted.items()}

    def found() -> dict[int, list[int]]:
        if not told.exists():
            return {}
        lines = [json.loads(line) for line in told.read_text().splitlines()]
        assert len(lines) == len({start for start, _ in lines})  # each window once
        return dict(lines)

    with engine(name, request) as options:
        pipeline = beam.Pipeline(options=options)
        counted(pipeline, topic.uri, told)
        running = pipeline.run()
        # Once all partitions are idle the watermark goes on at the pace of the clock, so that the
        # last window, too, is over after a minute.
        until(lambda: len(found()) == len(wanted))
        assert found() == wanted
        # Far ahead, so that the clock does not overtake it on a slow machine.
        more = [START_MS + (MINUTES + 60) * MINUTE + i for i in range(50)]
        after = str(more[-1] + 2 * MINUTE).encode()
        topic.produce((1, str(ms).encode()) for ms in more)
        topic.produce([(0, after), (1, after)])
        until(lambda: any(start == more[0] // MINUTE * MINUTE for start in found()))
        assert found()[more[0] // MINUTE * MINUTE] == more
        if name == "prism":
            running.cancel()
