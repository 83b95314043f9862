"""The Storage Write API: rows arrive once, whatever happens on the way; bad ones stand alone."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pyarrow as pa
import pytest

from infra.local.bigquery_emulator import BigQueryEmulator
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from tests.support.bigquery import Dataset, new_dataset
from tests.support.storage_write import StorageWriteServer, Trouble
from tests.transforms.sinks.bigquery.rows import counts, session, sessions
from transforms.bigquery.client import BigQueryOptions
from transforms.sinks.bigquery import storage_write
from transforms.sinks.bigquery.write import BigQuerySink

pytestmark = pytest.mark.bigquery


@pytest.fixture
def dataset(bigquery: BigQueryEmulator) -> Dataset:
    return new_dataset(bigquery)


@pytest.fixture
def server(dataset: Dataset) -> Iterator[StorageWriteServer]:
    with StorageWriteServer(dataset.client) as server:
        yield server


def sink(dataset: Dataset, server: StorageWriteServer, retry_s: float = 60.0) -> BigQuerySink:
    uri = dataset.at(dataset.emulator.rest, server.address)
    return BigQuerySink(uri, "run-1", BigQueryOptions(method="storage_write", retry_s=retry_s))


def names(dataset: Dataset) -> list[str]:
    return [row["session_id"] for row in dataset.rows("session_scores")]


def test_rows_with_records_arrive_as_they_are(dataset: Dataset, server: StorageWriteServer) -> None:
    rows = sessions(30)
    sink(dataset, server).write({"session_scores": rows, "run_health": counts(read=30)})
    found = dataset.rows("session_scores")
    assert found == rows.to_pylist()
    assert all(stream.committed for stream in server.streams.values())
    sink(dataset, server).write({"session_scores": rows})
    assert dataset.rows("session_scores") == found


def test_what_is_sent_is_what_the_service_asks_for(
    dataset: Dataset, server: StorageWriteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_write, "APPEND_BYTES", 4_000)
    sink(dataset, server).write({"session_scores": sessions(100)})
    mine = [r for r in server.requests if "staging_session_scores" in r.write_stream]
    assert len(mine) > 3
    offset = 0
    for request in mine:
        assert request.write_stream in server.streams
        assert request.offset == offset
        schema = pa.ipc.read_schema(
            pa.py_buffer(request.arrow_rows.writer_schema.serialized_schema)
        )
        assert schema.names == [c.name for c in TABLES["session_scores"].columns]
        assert schema.field("session_start").type == pa.timestamp("us", "UTC")
        batch = pa.ipc.read_record_batch(
            pa.py_buffer(request.arrow_rows.rows.serialized_record_batch), schema
        )
        offset += batch.num_rows
        assert request.trace_id == "distilwatch"
    assert offset == 100
    # One connection for all of a table's requests, routed to its stream.
    [routed] = [route for route in server.routes if "staging_session_scores" in route]
    assert routed == f"write_stream={mine[0].write_stream}"
    assert names(dataset) == [f"s{i:04}" for i in range(100)]


TROUBLES = {
    "no answer": Trouble(after=1),
    "lost answer": Trouble(after=1, done=True),
    "told to wait": Trouble(after=1, code=grpc.StatusCode.RESOURCE_EXHAUSTED, told=True),
    "aborted": Trouble(after=1, code=grpc.StatusCode.ABORTED, told=True),
    "internal": Trouble(after=1, code=grpc.StatusCode.INTERNAL),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
def test_rows_arrive_once_whatever_becomes_of_an_append(
    dataset: Dataset,
    server: StorageWriteServer,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Trouble,
) -> None:
    monkeypatch.setattr(storage_write, "APPEND_BYTES", 4_000)
    server.troubles = [Trouble(trouble.after, trouble.code, trouble.done, trouble.told)]
    sink(dataset, server).write({"session_scores": sessions(100)})
    assert not server.troubles
    assert names(dataset) == [f"s{i:04}" for i in range(100)]
    [stream] = [s for n, s in server.streams.items() if "staging_session_scores" in n]
    assert stream.size == 100


def test_a_commit_whose_answer_is_lost_is_not_done_twice(
    dataset: Dataset, server: StorageWriteServer
) -> None:
    server.lose_commits = 1
    sink(dataset, server).write({"session_scores": sessions(5)})
    assert len(names(dataset)) == 5


def test_bad_rows_become_dead_letters_and_the_others_arrive(
    dataset: Dataset, server: StorageWriteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_write, "APPEND_BYTES", 4_000)
    bad = {"s0003", "s0041", "s0042", "s0099"}
    server.bad_row = lambda row: (
        f"Field key: value '{row['key']}' is too long" if row.get("session_id") in bad else ""
    )
    writer = sink(dataset, server)
    writer.write({"session_scores": sessions(100), "run_health": counts(read=100)})
    assert set(names(dataset)) == {f"s{i:04}" for i in range(100)} - bad
    letters = dataset.rows("dead_letters")
    assert len(letters) == 4
    assert {row["reason"] for row in letters} == {"refused_by_bigquery"}
    assert {row["detail"] for row in letters} == {"Field key: value … is too long"}
    assert writer.total.as_dict() == {"sent": 104, "arrived": 100, "refused": 4}
    # The same rows again are the same letters.
    sink(dataset, server).write({"session_scores": sessions(100)})
    assert dataset.rows("dead_letters") == letters


def test_all_rows_bad_is_no_failure_of_the_others(
    dataset: Dataset, server: StorageWriteServer
) -> None:
    server.bad_row = lambda row: "no" if "session_id" in row else ""
    sink(dataset, server).write({"session_scores": sessions(2), "run_health": counts(read=2)})
    assert names(dataset) == []
    assert len(dataset.rows("dead_letters")) == 2


def test_a_service_that_stays_away_is_told_and_nothing_half_is_seen(
    dataset: Dataset, server: StorageWriteServer
) -> None:
    server.troubles = [Trouble() for _ in range(50)]
    with pytest.raises(DistilwatchError, match="BigQuery does not answer"):
        sink(dataset, server, retry_s=1.0).write({"session_scores": sessions(5)})
    assert names(dataset) == []
    server.troubles = []
    sink(dataset, server).write({"session_scores": sessions(5)})
    assert len(names(dataset)) == 5


def test_a_row_larger_than_a_request_may_be_is_told(
    dataset: Dataset, server: StorageWriteServer
) -> None:
    rows = TABLES["session_scores"].to_arrow([session("a", peer_group="x" * (11 << 20))])
    with pytest.raises(DistilwatchError, match="too large"):
        sink(dataset, server).write({"session_scores": rows})


@pytest.mark.parametrize("name", list(TABLES))
def test_every_table_of_the_contract_has_the_types_that_the_service_takes(
    dataset: Dataset, server: StorageWriteServer, name: str
) -> None:
    """The server compares the schema that comes with the one of the table, column by column."""
    table = TABLES[name]
    value = {
        "STRING": "x", "INT64": 1, "FLOAT64": 0.5, "BOOL": True, "BYTES": b"x",
        "TIMESTAMP": 1_780_272_000_000,
    }  # fmt: skip
    row = {
        c.name: [{f.name: value[f.type] for f in c.fields}]
        if c.fields
        else [value[c.type]]
        if c.mode == "REPEATED"
        else value[c.type]
        for c in table.columns
    }
    if table.prefer is not None:
        row[table.prefer[0]] = table.prefer[1][0]
    sink(dataset, server).write({name: table.to_arrow([row])})
    found = dataset.rows(name)
    assert len([r for r in found if r.get("stage") != "bigquery"]) == 1


def test_pieces_are_small_and_lose_nothing() -> None:
    sizes = [10] * 50 + [5_000] * 3 + [10] * 50
    rows = pa.table({"text": ["x" * n for n in sizes]})
    found = list(storage_write.pieces(rows, 1_000))
    assert pa.concat_tables([part for _, part in found]).equals(rows)
    assert [start for start, _ in found] == [
        sum(p.num_rows for _, p in found[:i]) for i in range(len(found))
    ]
    assert max(part.nbytes for _, part in found if part.num_rows > 1) <= 2_000
