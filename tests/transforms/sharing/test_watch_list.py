"""The file that workers read, and follow."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from schemas.errors import DistilwatchError
from tests.transforms.sharing.test_watch_matching import watched
from transforms.sharing.watch.listing import (
    WatchListFile,
    digest,
    kinds,
    read_watch_list,
    watch_list,
    write_watch_list,
)


def test_what_is_written_is_read_in_one_order(tmp_path: Path) -> None:
    one, two, path = watched("b", 2), watched("a", 1, kind="payment"), tmp_path / "watch.json"
    assert write_watch_list(path, [one, two]) == 2
    assert read_watch_list(path).watched == (two, one)
    before = digest(path)
    write_watch_list(path, [two, one])
    assert digest(path) == before
    assert kinds((one, two)) == {"network": 1, "payment": 1}


@pytest.mark.parametrize(
    "bad",
    [
        watched("x", 1, kind="email"),
        watched("x", 1, confidence=2.0),
        watched("x", 1, confidence=float("nan")),
        watched("x", 1, state="loud"),
        watched("x", 1 << 60),
    ],
)
def test_what_cannot_be_looked_for_is_refused(bad) -> None:
    with pytest.raises(DistilwatchError, match="indicator x"):
        watch_list([bad])


@pytest.mark.parametrize("data", [b"", b"{", b'{"format":"other","watched":[]}', b"\xff"])
def test_what_is_no_list_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "watch.json"
    path.write_bytes(data)
    with pytest.raises(DistilwatchError, match="watch list"):
        read_watch_list(path)


def test_a_worker_follows_the_file_and_keeps_the_last_good_one(tmp_path: Path) -> None:
    path, now = tmp_path / "watch.json", [0.0]
    write_watch_list(path, [watched("a", 1)])
    file = WatchListFile(str(path), 10_000, lambda: now[0])
    assert len(file.current()) == 1
    write_watch_list(path, [watched("a", 1), watched("b", 2)])
    assert len(file.current()) == 1
    now[0] = 10.0
    assert len(file.current()) == 2
    path.write_bytes(b"spoilt")
    now[0] = 20.0
    assert len(file.current()) == 2
    path.unlink()
    now[0] = 30.0
    assert len(file.current()) == 2
    write_watch_list(path, [])
    now[0] = 40.0
    assert len(file.current()) == 0


def test_without_a_period_it_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "watch.json"
    write_watch_list(path, [watched("a", 1)])
    file = pickle.loads(pickle.dumps(WatchListFile(str(path), 0)))
    assert len(file.current()) == 1
    write_watch_list(path, [])
    assert len(file.current()) == 1
    assert len(WatchListFile(None, 0).current()) == 0
    with pytest.raises(DistilwatchError, match="missing"):
        WatchListFile(str(tmp_path / "none"), 0).current()
