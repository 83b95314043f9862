"""Reading real topics, with an end and without."""

from __future__ import annotations

import json
import logging
import pickle
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.sdf_utils import RestrictionTrackerView, ThreadsafeRestrictionTracker
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from apache_beam.utils.timestamp import MAX_TIMESTAMP
from kafka import KafkaProducer
from numpy.typing import NDArray

from infra.local.services import KafkaBroker
from schemas.errors import DistilwatchError
from tests.support.kafka import Topic, new_topic
from transforms.ingest.batch import NO_WATERMARK, RecordBatch
from transforms.ingest.kafka import ReadKafka, offset_ranges, parse_kafka_uri, read_range
from transforms.ingest.kafka_group import ask_to_drain
from transforms.ingest.kafka_reader import TopicReader
from transforms.ingest.kafka_tail import Partition, Tail, TailFn, TailTracker
from transforms.ingest.pace import Pace

pytestmark = pytest.mark.kafka
T0 = 1_780_272_000_000
Read = tuple[int, int, bytes]


def to_element(batch: RecordBatch) -> tuple[tuple[list[Read], int], NDArray[np.int64]]:
    """Values are event times in milliseconds; other values are no events."""
    times = np.array([int(v) for v in batch.values if v.isdigit()], np.int64)
    offsets = batch.offsets.tolist()
    records = [(batch.partition, o, v) for o, v in zip(offsets, batch.values, strict=True)]
    return (records, batch.watermark_ms), times


@pytest.fixture
def readers() -> Iterator[Callable[[str], TopicReader]]:
    """Opens readers that are closed at the end."""
    opened: list[TopicReader] = []

    def start(uri: str) -> TopicReader:
        opened.append(TopicReader(parse_kafka_uri(uri)))
        return opened[-1]

    yield start
    for reader in opened:
        reader.close()


def read_all(uri: str, batch_records: int = 100, size: int = 50_000) -> list[Read]:
    """Everything that a bounded read finds."""
    parsed = parse_kafka_uri(uri)
    found: list[Read] = []
    reader = TopicReader(parsed)
    for each in offset_ranges(parsed, size):
        for batch in read_range(reader, *each, batch_records):
            assert 0 < len(batch.values) <= batch_records
            assert batch.source == f"kafka://{parsed.topic}"
            found += to_element(batch)[0][0]
    reader.close()
    return found


def numbers(partitions: int, n: int) -> list[tuple[int, bytes]]:
    return [(i % partitions, str(T0 + i * 100).encode()) for i in range(n)]


def test_a_bounded_read_in_a_pipeline_has_every_record_of_four_partitions_once(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    topic = new_topic(kafka, 4)
    topic.produce(numbers(4, 3000))
    out = tmp_path / "out.txt"

    def keep(element: tuple[list[Read], int], at: Any = beam.DoFn.TimestampParam) -> None:
        records, _ = element
        line = json.dumps([at.micros // 1000, [(p, o, v.decode()) for p, o, v in records]])
        with out.open("a") as file:
            file.write(line + "\n")

    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        _ = pipeline | ReadKafka(topic.uri, to_element, batch_records=300) | beam.Map(keep)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    found = [tuple(record) for _, records in lines for record in records]
    wanted = [(i % 4, i // 4, str(T0 + i * 100)) for i in range(3000)]
    assert sorted(found) == sorted(wanted)
    assert all(at == min(int(v) for _, _, v in records) for at, records in lines)


def test_ranges_of_a_partition_share_its_records_out_without_a_rest(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    topic.produce(numbers(1, 1000))
    assert [o for _, o, _ in read_all(topic.uri, 70, 300)] == list(range(1000))


def test_records_written_after_the_start_are_not_part_of_a_bounded_read(
    kafka: KafkaBroker, readers: Callable[[str], TopicReader]
) -> None:
    topic = new_topic(kafka)
    topic.produce(numbers(1, 10))
    (known,) = offset_ranges(parse_kafka_uri(topic.uri))
    topic.produce(numbers(1, 10))
    batches = list(read_range(readers(topic.uri), *known, 100))
    assert sum(len(b.values) for b in batches) == 10


def test_an_empty_topic_has_nothing_to_read(kafka: KafkaBroker) -> None:
    assert read_all(new_topic(kafka, 4).uri) == []


def test_records_deleted_before_the_start_are_not_waited_for(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    topic.produce(numbers(1, 100))
    topic.delete_before(0, 60)
    assert [o for _, o, _ in read_all(topic.uri)] == list(range(60, 100))


def test_records_deleted_while_reading_are_skipped_with_a_warning(
    kafka: KafkaBroker, readers: Callable[[str], TopicReader], caplog: pytest.LogCaptureFixture
) -> None:
    topic = new_topic(kafka)
    topic.produce(numbers(1, 100))
    (known,) = offset_ranges(parse_kafka_uri(topic.uri))
    topic.delete_before(0, 60)
    batches = list(read_range(readers(topic.uri), *known, 1000))
    assert np.concatenate([b.offsets for b in batches]).tolist() == list(range(60, 100))
    assert "deleted records 0 to 59 of partition 0" in caplog.text


def test_each_range_tells_of_what_was_deleted_of_its_own(
    kafka: KafkaBroker, readers: Callable[[str], TopicReader]
) -> None:
    topic = new_topic(kafka)
    topic.produce(numbers(1, 100))
    ranges = offset_ranges(parse_kafka_uri(topic.uri), 25)
    topic.delete_before(0, 60)
    one = readers(topic.uri)
    for reader_of in (lambda: one, lambda: readers(topic.uri)):
        batches = [list(read_range(reader_of(), *each, 10)) for each in ranges]
        assert [sum(b.lost for b in own) for own in batches] == [25, 25, 10, 0]
        assert [sum(len(b.values) for b in own) for own in batches] == [0, 0, 15, 25]


def test_a_topic_made_anew_under_the_reader_is_an_error(
    kafka: KafkaBroker, readers: Callable[[str], TopicReader]
) -> None:
    topic = new_topic(kafka)
    topic.produce(numbers(1, 5))
    with pytest.raises(DistilwatchError, match="ends before offset 50"):
        list(read_range(readers(topic.uri), 0, 50, 60, 10))


def test_tombstones_are_empty_records(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    topic.produce([(0, b"1"), (0, None), (0, b"3")])
    assert [v for _, _, v in read_all(topic.uri)] == [b"1", b"", b"3"]


def test_the_end_may_be_the_marker_of_a_transaction(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    topic.transact([b"1", b"2"])
    assert [end for _, _, end in offset_ranges(parse_kafka_uri(topic.uri))] == [3]
    assert [v for _, _, v in read_all(topic.uri)] == [b"1", b"2"]


def test_aborted_records_are_left_out_even_at_the_end(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    topic.produce([(0, b"1")])
    topic.transact([b"2", b"3"], commit=False)
    assert [v for _, _, v in read_all(topic.uri)] == [b"1"]


def test_a_bounded_read_ends_before_an_open_transaction(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    topic.produce([(0, b"1")])
    writer = KafkaProducer(bootstrap_servers=kafka.address, transactional_id="open")
    writer.init_transactions()
    writer.begin_transaction()
    writer.send(topic.name, b"2", partition=0).get(10)
    assert [v for _, _, v in read_all(topic.uri)] == [b"1"]
    writer.abort_transaction()
    writer.close()


def test_start_may_be_latest_or_a_time(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    producer = KafkaProducer(bootstrap_servers=kafka.address)
    for i in range(10):
        producer.send(topic.name, b"%d" % i, partition=0, timestamp_ms=T0 + i * 1000)
    producer.close()
    assert read_all(f"{topic.uri}?start=latest") == []
    later = read_all(f"{topic.uri}?start=2026-06-01T00:00:07Z")
    assert [v for _, _, v in later] == [b"7", b"8", b"9"]
    assert read_all(f"{topic.uri}?start=2030-01-01T00:00:00Z") == []


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_topics_are_read(kafka: KafkaBroker, compression: str) -> None:
    topic = new_topic(kafka, configs={"compression.type": compression})
    topic.produce(numbers(1, 50))
    assert len(read_all(topic.uri)) == 50


def test_a_missing_topic_is_told_with_names_that_are_near(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    with pytest.raises(DistilwatchError, match=f"did you mean .*{topic.name}"):
        offset_ranges(parse_kafka_uri(topic.uri + "x"))


def test_a_reader_waits_for_a_broker_that_is_away_and_goes_on_exactly(
    kafka: KafkaBroker, readers: Callable[[str], TopicReader], caplog: pytest.LogCaptureFixture
) -> None:
    topic = new_topic(kafka)
    topic.produce(numbers(1, 100))
    reader = readers(topic.uri)
    batches = read_range(reader, 0, 0, 200, 40)
    found = next(batches).offsets.tolist()
    kafka.stop()
    try:
        assert reader.unread() == reader.unread() == {0}
    finally:
        kafka.start()
    topic.produce(numbers(1, 100))
    for batch in batches:
        found += batch.offsets.tolist()
    assert found == list(range(200))
    assert reader.unread() == set()  # a broker that was quick to come back is noticed here
    ours = [r for r in caplog.records if r.name.startswith("transforms.")]
    said = [r.getMessage().split("requests-")[1][10:] for r in ours]
    assert said[0] == ": no broker answers; waiting for it"
    assert said[1].startswith(": the broker is back after")
    assert len(said) == 2


class Bundle:
    """Runs bundles of a tail as a runner does, with nothing but Beam's own trackers."""

    def __init__(self, topic: Topic, **options: Any) -> None:
        self.uri = parse_kafka_uri(f"{topic.uri}?bounded=false")
        self.options = {
            "batch_records": 100, "watermark_lag_ms": 0, "idle_after_ms": 60_000, "readers": 1,
        } | options  # fmt: skip
        self.fn = self.new_fn()
        self.rest = self.fn.initial_restriction(0)
        self.watermark: Any = None

    def new_fn(self) -> TailFn:
        return TailFn(self.uri, to_element, **self.options)

    def run(self, stop_after: int | None = None) -> list[Any]:
        """Outputs of one bundle; the runner asks for the rest after so many of them."""
        inner = ThreadsafeRestrictionTracker(TailTracker(self.rest))
        estimator = ManualWatermarkEstimator(self.watermark)
        outputs = []
        split = None
        for output in self.fn.process(0, RestrictionTrackerView(inner), estimator):
            outputs.append(output)
            if len(outputs) == stop_after:
                split = inner.try_split(0)
        assert inner.check_done()
        deferred = inner.deferred_status()
        self.rest = split[1] if split else None if deferred is None else deferred[0]
        self.watermark = estimator.current_watermark()
        return outputs

    def read(self, bundles: int = 1) -> list[Read]:
        return [r for _ in range(bundles) for out in self.run() for r in out.value[0]]

    def until_read(self, records: int) -> None:
        deadline = time.monotonic() + 60
        found = 0
        while found < records:
            assert time.monotonic() < deadline
            found += len(self.read())


def test_a_tail_goes_on_exactly_after_the_rest_was_taken_in_the_midst(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka, 2)
    topic.produce(numbers(2, 1000))
    tail = Bundle(topic)
    found = [r for _ in range(3) for out in tail.run(stop_after=2) for r in out.value[0]]
    assert len(found) == 600
    tail.fn.teardown()
    tail.fn = tail.new_fn()  # another worker
    found += tail.read(2)
    tail.fn.teardown()
    assert sorted(o for p, o, _ in found if p == 1) == list(range(500))
    assert len(set(found)) == len(found) == 1000


def test_batches_carry_what_was_promised_before_them(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    topic.produce(numbers(1, 300))
    tail = Bundle(topic)
    outputs = tail.run()
    tail.fn.teardown()
    promised = [out.value[1] for out in outputs]
    ends = [max(int(v) for _, _, v in out.value[0]) for out in outputs]
    assert promised == [NO_WATERMARK, *ends[:-1]]
    assert tail.watermark.micros // 1000 == ends[-1] == T0 + 29_900
    assert [out.timestamp.micros // 1000 for out in outputs] == [T0, T0 + 10_000, T0 + 20_000]


def test_a_batch_without_events_is_stamped_with_what_was_promised(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    topic.produce([(0, str(T0).encode()), (0, b"no event")])
    tail = Bundle(topic, batch_records=1)
    outputs = tail.run()
    tail.fn.teardown()
    assert [out.timestamp.micros // 1000 for out in outputs] == [T0, T0]


def test_a_tail_that_is_drained_passes_the_windows_one_after_the_other(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    topic = new_topic(kafka)
    topic.produce((0, str(t).encode()) for t in (500, 1_500, 9_500))
    pace = Pace(window_ms=1_000, lateness_ms=100, settle_ms=400)
    tail = Bundle(
        topic, watermark_lag_ms=5_000, pace=pace, positions=str(tmp_path), read_for_ms=100
    )
    tail.until_read(3)
    ask_to_drain(str(tmp_path))
    topic.produce(numbers(1, 1))
    told = []
    while tail.rest is not None and len(told) < 100:
        assert tail.read() == []
        told.append(tail.watermark)
    tail.fn.teardown()
    passed = Counter(w.micros // 1000 for w in told)
    assert list(passed) == [1_100, 2_100, 10_100, MAX_TIMESTAMP.micros // 1000]
    assert min(passed[2_100], passed[10_100]) >= 3  # bundles of 100 ms each


def test_a_backlog_passes_the_windows_one_after_the_other(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    topic.produce((0, str(t).encode()) for t in (500, 1_500, 9_500))
    pace = Pace(window_ms=1_000, lateness_ms=100, settle_ms=400)
    tail = Bundle(topic, pace=pace, read_for_ms=100)
    tail.until_read(3)
    assert tail.watermark.micros // 1000 == 1_100
    # Another worker does not know how long that is ago, nor which windows have events.
    tail.fn.teardown()
    tail.fn = tail.new_fn()
    told = []
    while not told or told[-1] < 9_500:
        tail.read()
        told.append(tail.watermark.micros // 1000)
    tail.fn.teardown()
    assert list(dict.fromkeys(told)) == [*range(1_100, 9_101, 1_000), 9_500]


def test_a_partition_with_an_open_transaction_is_not_idle(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka, 2)
    topic.produce([(0, str(T0).encode())])
    writer = KafkaProducer(bootstrap_servers=kafka.address, transactional_id="hanging")
    writer.init_transactions()
    writer.begin_transaction()
    writer.send(topic.name, str(T0 + 1).encode(), partition=1).get(10)
    tail = Bundle(topic, idle_after_ms=1500)
    tail.read(3)
    assert [p.idle for p in tail.rest.partitions] == [True, False]
    writer.commit_transaction()
    writer.close()
    assert [v for _, _, v in tail.read(1)] == [str(T0 + 1).encode()]
    tail.fn.teardown()


def test_partitions_that_a_topic_gets_are_read_from_their_first_record(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    topic.produce([(0, b"1")])
    tail = Bundle(topic)
    assert tail.read() == [(0, 0, b"1")]
    topic.grow(3)
    topic.produce([(2, b"2"), (1, b"3")])
    tail.rest = replace(tail.rest, listed_ms=0)  # half a minute later
    assert sorted(tail.read(2)) == [(1, 0, b"3"), (2, 0, b"2")]
    tail.fn.teardown()


def test_several_readers_share_the_partitions(kafka: KafkaBroker) -> None:
    topic = new_topic(kafka, 5)
    fn = TailFn(parse_kafka_uri(topic.uri), to_element, 100, 0, 60_000, 2)
    shares = [list(fn.initial_restriction(i).positions()) for i in range(2)]
    fn.teardown()
    assert shares == [[0, 2, 4], [1, 3]]


class Record(beam.DoFn):
    """Writes (partition, window start, count) of each firing to a file."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def process(self, element: tuple[int, int], window: Any = beam.DoFn.WindowParam) -> None:
        with self.out.open("a") as file:
            file.write(json.dumps([element[0], int(window.start) * 1000 - T0, element[1]]) + "\n")


def explode(element: tuple[list[Read], int]) -> Iterator[Any]:
    for partition, _, value in element[0]:
        yield TimestampedValue((partition, 1), int(value) / 1000)


def fired(out: Path, wanted: dict[tuple[int, int], int], seconds: float) -> Counter[Any]:
    """Counts by partition and window, once all wanted are there or time is up."""
    deadline = time.monotonic() + seconds
    while True:
        counts: Counter[Any] = Counter()
        for line in out.read_text().splitlines() if out.exists() else []:
            partition, window, count = json.loads(line)
            counts[partition, window] += count
        if wanted.keys() <= counts.keys() or time.monotonic() > deadline:
            return counts
        time.sleep(0.2)


@pytest.mark.prism
def test_on_prism_windows_of_all_partitions_come_out_whole_with_one_idle(
    kafka: KafkaBroker, prism: Path, tmp_path: Path
) -> None:
    topic = new_topic(kafka, 4)
    events = [str(T0 + i * 100).encode() for i in range(5400)]
    topic.produce((i % 3, events[i]) for i in range(3000))  # partition 3 stays empty
    out = tmp_path / "out.txt"
    source = ReadKafka(
        f"{topic.uri}?bounded=false", to_element, 50, watermark_lag_ms=2_000, idle_after_ms=2_000
    )
    options = PipelineOptions(
        ["--runner=PrismRunner", f"--prism_location={prism}", "--environment_type=LOOPBACK",
         "--streaming"]
    )  # fmt: skip
    pipeline = beam.Pipeline(options=options)
    _ = (
        pipeline
        | source
        | beam.FlatMap(explode).with_output_types(tuple[int, int])
        | beam.WindowInto(FixedWindows(60))
        | beam.CombinePerKey(sum)
        | beam.ParDo(Record(out))
    )
    run = pipeline.run()
    try:
        first = {(p, w): 200 for p in range(3) for w in range(0, 240_000, 60_000)}
        assert fired(out, first, 40) == first
        # The idle one wakes, then the others go on: nothing of it may be late.
        topic.produce((3, events[i]) for i in range(3003, 5400, 4))
        topic.produce((i % 3, events[i]) for i in range(3000, 5400))
        wanted = first | {(p, 240_000): 200 for p in range(3)}
        wanted |= {(p, w): 200 for p in range(3) for w in range(300_000, 480_000, 60_000)}
        wanted |= {(3, w): 150 for w in range(300_000, 480_000, 60_000)}
        assert fired(out, wanted, 40) == wanted
    finally:
        logging.disable(logging.CRITICAL)  # cancelling is not quiet in Beam
        run.cancel()
        logging.disable(logging.NOTSET)


def test_the_restriction_of_a_tail_is_not_divided() -> None:
    tracker = TailTracker(Tail(()))
    assert tracker.try_split(0.5) is None
    assert tracker.try_split(0) == (Tail((), ended=True), Tail(()))
    assert not tracker.try_claim(Tail((), seen_ms=1))
    assert tracker.check_done()


def test_a_partition_that_a_broken_producer_fills_holds_nobody_up() -> None:
    """Each second both are written to; of one all is refused. Its backlog is read first."""
    none = np.empty(0, np.int64)
    tail = Tail((Partition(0, 0, active_ms=T0), Partition(1, 0, active_ms=T0)), seen_ms=T0)
    for second in range(60):
        now = T0 + second * 1_000
        if any(p.idle for p in tail.partitions):
            tail = tail.woken({0, 1}, now)
        tail = tail.read(0, second, np.array([now - 500]), now, 2_000, True)
        tail = tail.read(1, second, none, now, 2_000, just_now=second >= 20)
        tail = tail.looked({}, {1}, now, 2_000, 10_000)
        if second < 29:
            assert tail.watermark_ms == NO_WATERMARK
    assert tail.watermark_ms == now - 2_500
    # It is mended: what it has now holds the others back as before, once that is known.
    for second in range(60, 80):
        now = T0 + second * 1_000
        tail = tail.woken({0, 1}, now).read(1, second, np.array([now - 9_000]), now, 2_000, True)
        tail = tail.read(0, second, np.array([now - 500]), now, 2_000, True)
        tail = tail.looked({}, set(), now, 2_000, 10_000)
    assert tail.watermark_ms == now - 11_000


def test_what_an_older_version_saved_is_read() -> None:
    now = Partition(3, 7, T0, active_ms=5, idle=True)
    assert pickle.loads(pickle.dumps(now)) == now
    before = Partition.__new__(Partition)
    before.__setstate__([3, 7, T0, 5, True])  # type: ignore[attr-defined]  # without `barren`
    assert before == now
    assert replace(before, next_offset=8).barren is False


def test_breaks_between_bundles_are_silence_and_a_stopped_job_is_none() -> None:
    """Flink takes longer between two bundles than a short limit for silence."""
    busy, quiet = Partition(0, 5, T0, active_ms=0), Partition(1, 5, T0 - 9_000, active_ms=0)
    tail = Tail((busy, quiet), seen_ms=0)
    for now in (1_400, 2_800):
        tail = tail.resumed(now, idle_after_ms=1_000).looked({}, {0}, now, 0, 1_000)
    assert [p.idle for p in tail.partitions] == [False, True]
    assert tail.watermark_ms == min(T0, now)
    # What was written to it in a break is seen before it can count as silent.
    woken = tail.resumed(4_200, 1_000).looked({}, {0, 1}, 4_200, 0, 1_000)
    assert not any(p.idle for p in woken.partitions)
    # A job that was stopped for an hour gives all producers their time to come back.
    stopped = tail.resumed(3_600_000, 1_000).looked({}, set(), 3_600_500, 0, 1_000)
    assert not any(p.idle for p in stopped.partitions)
