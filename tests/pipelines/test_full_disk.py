"""A disk that fills while a run is at work: one word about it, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pyarrow.dataset import dataset

from infra.local.services import KafkaBroker
from schemas.errors import DistilwatchError
from tests.support.commands import result, run, table
from tests.support.small_disk import CannotMountError, SmallDisk, small_disk
from tests.support.stream import (
    BALANCE,
    CLUSTERS,
    MEMBERS,
    PATIENCE_S,
    PROFILES,
    SESSIONS,
    World,
    processes,
    until,
)
from tests.transforms.sinks.test_commit import Place, cluster, count, session, stage
from transforms.alerts.outbox import Book
from transforms.sinks.spool import Spool

LETTERS = 'SELECT reason, source, partition, "offset" FROM dead_letters'
TABLES = ("session_scores", "flagged_clusters", "dead_letters", "run_health")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with ExitStack() as stack:
        try:
            made = stack.enter_context(small_disk(tmp_path / "disk", 48))
        except CannotMountError as problem:
            pytest.skip(str(problem))
        yield made


def letter(number: int) -> dict[str, Any]:
    """A record that was refused."""
    return {
        "reason": "not_json", "detail": "", "source": "topic", "partition": 0,
        "offset": number, "raw_sha256": f"{number:064d}", "run_id": "run-1",
    }  # fmt: skip


def stage_all(spool: Spool, first: int) -> None:
    """A batch of several tables, large enough to need room."""
    names = [f"s{i:0200d}" for i in range(first, first + 500)]
    stage(spool, "session_scores", *(session(name, 1) for name in names))
    stage(spool, "flagged_clusters", cluster(f"c{first}", 1))
    stage(spool, "dead_letters", *(letter(i) for i in range(first, first + 20)))
    stage(spool, "run_health", count("read", first + 520), count("scored", first + 500))


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
@pytest.mark.parametrize("begun", [False, True])
def test_rows_wait_while_the_disk_of_the_tables_is_full(
    kind: str, begun: bool, disk: SmallDisk, tmp_path: Path
) -> None:
    class One(Place):
        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            self.outputs = [uri for uri in self.outputs if uri.startswith(kind)]
            self.spool = Spool(tmp_path / f"{folder.name}.spool")

        def tables(self) -> list[list[Any]]:
            if kind == "duckdb":
                return [table(self.database, name) for name in TABLES]
            parts = [dataset(self.parquet / name).to_table() for name in TABLES]
            return [
                sorted(map(repr, part.drop_columns(["_written_ns"]).to_pylist())) for part in parts
            ]

    (tmp_path / "room").mkdir()
    full, room = One(disk.folder), One(tmp_path / "room")
    committers = full.committer(), room.committer()
    for place, committer in zip((full, room), committers, strict=True):
        if begun:
            stage_all(place.spool, 0)
            assert committer.commit()
    disk.fill()
    for place in (full, room):
        stage_all(place.spool, 1_000)
    for _ in range(3):
        assert not committers[0].commit()
        full.now += 11  # a moment needs no word
    assert len(full.warnings) == 1
    for word in ("results wait in", str(disk.folder), "o space ", "free some space"):
        assert word in full.warnings[0]
    stage_all(full.spool, 2_000)  # more comes meanwhile
    disk.free()
    assert committers[0].commit()
    assert full.spool.waiting() == 0
    assert committers[1].commit()
    stage_all(room.spool, 2_000)
    assert committers[1].commit()
    assert full.tables() == room.tables()
    assert len(full.warnings) == 1


def test_a_worker_that_cannot_keep_rows_says_so_and_leaves_no_half(
    disk: SmallDisk, tmp_path: Path
) -> None:
    spool = Spool(disk.folder / "out.spool")
    stage_all(spool, 0)
    disk.fill()
    for _ in range(3):
        with pytest.raises(DistilwatchError, match=r"No space left.*free some space") as said:
            stage_all(spool, 1_000)
        assert str(disk.folder) in str(said.value)
    assert not list(disk.folder.rglob("*.partial"))
    assert spool.waiting() == 4
    disk.free()
    stage_all(spool, 1_000)
    assert spool.waiting() == 8


def test_the_book_of_alerts_says_that_its_disk_is_full_and_goes_on_with_room(
    disk: SmallDisk,
) -> None:
    large = {"alert_id": "a", "text": "x" * 200_000}
    with Book(disk.folder / "out.alerts") as book:
        with book.writing():
            book.post("first", "told", large, 1, 1)
        disk.fill()
        for _ in range(2):
            with pytest.raises(DistilwatchError, match=r"is full.*free some space"), book.writing():
                book.post("second", "told", large, 2, 2)
        assert book.counts() == {"pending": 1}
        disk.free()
        with book.writing():
            book.post("second", "told", large, 2, 2)
        assert [message.key for message in book.messages()] == ["second", "first"]


def test_a_bounded_run_on_a_full_disk_says_so_once_and_leaves_no_tables(
    disk: SmallDisk, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    result(
        "simulate", "--out", tmp_path / "live.jsonl", "--history", tmp_path / "history.jsonl",
        "--labels", tmp_path / "labels.jsonl",
        "--accounts", 60, "--events", 2_500, "--days", 6,
        "--history-days", 4, "--attack", "hydra-disjoint:m=4,rate=30,links=1", home=home,
    )  # fmt: skip
    result("train", "--input", tmp_path / "history.jsonl", "--bundle", tmp_path / "b", home=home)
    (tmp_path / "live.jsonl").open("a").write("{not json\n")
    how = (
        "detect", "--input", tmp_path / "live.jsonl", "--bundle", tmp_path / "b", "--run-id", "r",
    )  # fmt: skip
    outputs = [
        ("--output", f"duckdb:///{folder / 'out.duckdb'}", "--output", f"parquet:///{folder / 't'}")
        for folder in (disk.folder, tmp_path)
    ]
    disk.fill()
    failed = run(*how, *outputs[0], home=home, check=False)
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr
    errors = [line for line in failed.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    for word in ("o space ", str(disk.folder), "free some space"):
        assert word in errors[0]
    assert not (disk.folder / "out.duckdb").exists()
    disk.free()
    for output in outputs:
        result(*how, *output, home=home)
    for name in TABLES:
        assert table(disk.folder / "out.duckdb", name) == table(tmp_path / "out.duckdb", name)


@pytest.fixture
def started() -> Iterator[Callable[..., Any]]:
    with processes() as keep:
        yield keep


@pytest.mark.kafka
@pytest.mark.prism
@pytest.mark.slow
def test_a_stream_whose_disk_fills_ends_with_a_word_and_goes_on_when_there_is_room(
    kafka: KafkaBroker, prism: Path, disk: SmallDisk, tmp_path: Path, started: Callable[..., Any]
) -> None:
    world = World(tmp_path, kafka, {"DISTILWATCH_PRISM": str(prism)})
    world.database = disk.folder / "out.duckdb"  # its spool and its alerts are beside it
    world.records[::400] = [(p, b"{not json") for p, _ in world.records[::400]]
    part = len(world.records) // 2
    world.requests.produce(world.records[:part])
    first = started(world.detect())
    until(lambda: world.rows(BALANCE) == [(part, 0)], PATIENCE_S, first, world)

    disk.fill()
    world.requests.produce(world.records[part:])
    first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 2, world.errors()
    said = world.errors()
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, said
    for word in ("No space left on device", str(disk.folder), "free some space"):
        assert word in errors[0]
    assert "Traceback" not in said

    disk.free()
    bounded = world.bounded()
    wanted = {s: world.rows(s, bounded) for s in (SESSIONS, PROFILES, CLUSTERS, MEMBERS, LETTERS)}
    assert wanted[LETTERS]
    second = started(world.detect())
    world.until_rows(wanted, second)
    until(lambda: world.rows(BALANCE) == [(len(world.records), 0)], PATIENCE_S, second, world)
