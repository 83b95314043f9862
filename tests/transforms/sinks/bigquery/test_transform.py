"""Rows from workers, and batches of a run that goes on: the same tables, however often."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

from infra.local.bigquery_emulator import BigQueryEmulator
from tests.support.bigquery import Dataset, duckdb_rows, new_dataset
from tests.support.commit import cluster, count, stage
from tests.support.faulty_proxy import FaultyProxy
from tests.transforms.sinks.bigquery.rows import session
from transforms.bigquery.client import BigQueryOptions
from transforms.sinks.bigquery.transform import WriteBigQuery
from transforms.sinks.commit import Committer
from transforms.sinks.spool import Spool

pytestmark = pytest.mark.bigquery
OPTIONS = BigQueryOptions(retry_s=2.0)


@pytest.fixture
def dataset(bigquery: BigQueryEmulator) -> Dataset:
    return new_dataset(bigquery)


def test_workers_write_rows_once_however_often_they_run(dataset: Dataset) -> None:
    rows = [session(f"s{i:04}", score=0.5 if i else 0.75) for i in range(120)]
    for _ in range(2):
        with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
            # One of them comes twice: the later version counts.
            made = pipeline | beam.Create([session("s0000"), *rows])
            written = made | WriteBigQuery(
                "session_scores", dataset.uri, "run-1", OPTIONS, batch_rows=200
            )
            assert_that(written.refused, equal_to([]), label="refused")
            total = written.deliveries | beam.Map(lambda d: d[1:]) | beam.CombineGlobally(_sums)
            assert_that(total, equal_to([(120, 120, 0)]), label="delivered")
    found = dataset.rows("session_scores")
    assert [row["session_id"] for row in found] == [f"s{i:04}" for i in range(120)]


def _sums(deliveries: list[tuple[int, int, int]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*deliveries, strict=True))) if deliveries else (0, 0, 0)


def committer(spool: Spool, outputs: list[str]) -> Committer:
    return Committer(spool, outputs, "run-1", lambda _: None, bigquery=OPTIONS)


def test_batches_of_a_run_that_goes_on_are_the_same_in_both_and_wait_for_bigquery(
    dataset: Dataset, tmp_path: Path
) -> None:
    database, spool = tmp_path / "out.duckdb", Spool(tmp_path / "out.spool")
    with FaultyProxy(dataset.emulator.rest) as proxy, spool.locked():
        outputs = [f"duckdb:///{database}", dataset.at(proxy.address)]
        first = committer(spool, outputs)
        stage(spool, "session_scores", session("a"), session("b", pane="early"))
        stage(spool, "flagged_clusters", cluster("c", 3))
        stage(spool, "run_health", count("read", 5))
        assert first.commit()

        stage(spool, "session_scores", session("b"), session("c"))
        stage(spool, "run_health", count("read", 9))
        down = proxy.fail("POST", r"/bigquery/v2/projects/[^/]+/jobs", times=1_000)
        assert not first.commit()
        assert down.happened
        assert spool.waiting()
        proxy.faults.clear()

        # The process dies here; another one writes what is left, and goes on.
        second = committer(spool, outputs)
        assert spool.take_leftovers()
        assert second.commit()
        stage(spool, "session_scores", session("d"))
        stage(spool, "run_health", count("read", 2))
        assert second.commit()
        assert not spool.waiting()

    for name in ("session_scores", "flagged_clusters", "run_health"):
        there = [r for r in dataset.rows(name) if r.get("stage") != "bigquery"]
        assert there == duckdb_rows(database, name), name
    assert [r["session_id"] for r in dataset.rows("session_scores")] == ["a", "b", "c", "d"]
    [delivered] = second.written.delivered.values()
    assert delivered.sent == delivered.arrived
