"""A disk that fills while a run is at work: one word about it, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyarrow.dataset import dataset

from infra.local.services import KafkaBroker
from schemas.errors import DistilwatchError
from tests.support.commands import result, run, table
from tests.support.commit import Place, cluster, count, session, stage
from tests.support.kafka import new_topic
from tests.support.sketches import small_bundle
from tests.support.small_disk import CannotMountError, SmallDisk, small_disk
from tests.support.small_world import as_lines, requests, settings_file
from tests.support.stream import PATIENCE_S, Stream
from transforms.alerts.book import Book
from transforms.scoring.bundle import save_bundle
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
            book.outbox.post("first", "told", large, 1, 1)
        disk.fill()
        for _ in range(2):
            with pytest.raises(DistilwatchError, match=r"is full.*free some space"), book.writing():
                book.outbox.post("second", "told", large, 2, 2)
        assert book.outbox.counts() == {"pending": 1}
        disk.free()
        with book.writing():
            book.outbox.post("second", "told", large, 2, 2)
        assert [message.key for message in book.outbox.messages()] == ["second", "first"]


def test_a_bounded_run_on_a_full_disk_says_so_once_and_leaves_no_tables(
    disk: SmallDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("DISTILWATCH_HOME", str(home))
    save_bundle(small_bundle(), tmp_path / "bundle")
    lines = [*as_lines(requests(20, 8, 3_600_000)), b"{not json"]
    (tmp_path / "live.jsonl").write_bytes(b"\n".join(lines))
    how = (
        "detect", "--input", tmp_path / "live.jsonl", "--bundle", tmp_path / "bundle",
        "--config", settings_file(tmp_path), "--run-id", "r",
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


NEWEST = """
    SELECT session_id, request_count, score, p_value FROM current_sessions
    WHERE level <> 'profile' ORDER BY ALL"""


@pytest.mark.kafka
@pytest.mark.prism
@pytest.mark.slow
def test_a_stream_on_prism_whose_spool_is_full_ends_and_the_next_one_loses_nothing(
    kafka: KafkaBroker, prism: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    save_bundle(small_bundle(), tmp_path / "bundle")
    topic, settings = new_topic(kafka, 2), settings_file(tmp_path)
    lines = as_lines(requests(30, 12, 4 * 3_600_000))
    part, later = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    topic.produce((i % 2, line) for i, line in enumerate(part))
    how = (f"{topic.uri}?bounded=false", tmp_path / "bundle", settings)
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(tmp_path / "out.duckdb.spool", 48))
        except CannotMountError as problem:
            pytest.skip(str(problem))
        with Stream(tmp_path, prism, *how) as stream:
            stream.until_read(len(part))
            disk.fill()
            topic.produce((i % 2, line) for i, line in enumerate(later))
            deadline = time.monotonic() + PATIENCE_S
            while stream.process.poll() is None:
                # What is delivered is removed, and makes room, in which a stream goes on.
                disk.top_up()
                assert time.monotonic() < deadline, stream.errors()
                time.sleep(0.2)
        assert stream.process.returncode == 2
        said = stream.errors()
        assert "Traceback" not in said, said
        for word in ("o space left", str(disk.folder), "free some space"):
            assert word in said
        disk.free()
        with Stream(tmp_path, prism, *how) as stream:
            stream.until_read(len(lines))
            there = tmp_path / "bounded.duckdb"
            result(
                "detect", "--input", topic.uri, "--bundle", tmp_path / "bundle", "--config",
                settings, "--output", f"duckdb:///{there}", home=tmp_path / "home",
            )  # fmt: skip
            with duckdb.connect(str(there), read_only=True) as bounded:
                wanted = bounded.execute(NEWEST).fetchall()
            assert wanted
            stream.until(lambda: stream.rows(NEWEST) == wanted)


def test_a_book_that_has_no_room_to_be_opened_says_so(disk: SmallDisk) -> None:
    """SQLite calls it an I/O error: what is missing is room for the file that readers share."""
    path = disk.folder / "alerts"
    with Book(path) as book:
        book.remember("kept", 1)
    disk.fill()
    with pytest.raises(DistilwatchError, match=r"no space left.*free some space"):
        Book(path)
    disk.free()
    with Book(path) as book:
        assert book.fact("kept") == 1
