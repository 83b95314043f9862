"""The job as a Quix Streams application, as its guides write one: dataframe, windows, sink.

It reads Kafka only. State is in RocksDB, as always with it; changelog topics are off, because no
other job here keeps its state elsewhere, and state is pickled, because JSON cannot hold a sketch.
"""

from __future__ import annotations

import contextlib
import pickle
import uuid
from typing import Any

from bench.accumulator import Accumulator, CountRequests
from bench.case import Case, write_scored
from bench.one_by_one import OneByOne, session_of
from transforms.ingest.kafka_uri import parse_kafka_uri


def run_quix(case: Case, folder: str) -> None:
    """Scores all sessions of a case and writes them to a folder.

    Raises:
      ImportError: Quix Streams is not installed.
    """
    from quixstreams import Application
    from quixstreams.dataframe.windows.aggregations import Aggregator
    from quixstreams.sinks import BatchingSink
    from quixstreams.state.rocksdb.options import RocksDBOptions

    assert case.ended_topic is not None
    uri = parse_kafka_uri(case.ended_topic)
    job, count = OneByOne(case), CountRequests()

    class Sketch(Aggregator):  # type: ignore[misc]
        def initialize(self) -> Accumulator:
            return Accumulator()

        def agg(self, old: Accumulator, new: Any, timestamp: int) -> Accumulator:
            return count.add_input(old, new[1])

        def merge(self, a: Accumulator, b: Accumulator) -> Accumulator:
            a.merge(b)
            return a

        def result(self, value: Accumulator) -> Accumulator:
            return value

    class Scores(BatchingSink):  # type: ignore[misc]
        def write(self, batch: Any) -> None:
            sessions = [session_of(item.key, item.value["sketch"]) for item in batch]
            write_scored(folder, job.score(sessions))

    def fresh(request: Any, state: Any) -> bool:
        if state.exists(request.name):
            return False
        state.set(request.name, True)
        return True

    app: Any = Application(
        broker_address=",".join(uri.servers),
        consumer_group=f"bench-{uuid.uuid4().hex}",
        auto_offset_reset="earliest",
        state_dir=f"{folder}/quix-state",
        use_changelog_topics=False,
        rocksdb_options=RocksDBOptions(dumps=pickle.dumps, loads=pickle.loads),
        loglevel="WARNING",
        on_message_processed=lambda topic, partition, offset: (
            app.stop() if offset >= case.count else None
        ),
    )
    topic = app.topic(uri.topic, key_deserializer="str", value_deserializer="str")
    gap = case.config.sessions.gap_ms
    sdf = app.dataframe(topic).apply(job.request).filter(lambda request: request is not None)
    sdf = sdf.filter(fresh, stateful=True).apply(job.keyed, expand=True)
    sdf = sdf.group_by(lambda keyed: keyed[0], name="by_session_key")
    # A gap of exactly this length still joins here; in Beam it parts.
    windows = sdf.session_window(gap - 1, grace_ms=0).agg(sketch=Sketch())
    sdf = windows.final(closing_strategy="partition")
    sdf.sink(Scores())
    with contextlib.suppress(SystemExit):
        app.run()
