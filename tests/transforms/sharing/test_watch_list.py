"""The file that workers read, and follow."""

from __future__ import annotations

import base64
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import DistilwatchError
from tests.transforms.sharing.test_watch_matching import watched
from transforms.sharing.payloads import Behaviour
from transforms.sharing.watch.listing import (
    Watched,
    WatchListFile,
    change_watch_list,
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


def test_of_several_that_change_it_at_once_each_sees_what_the_others_did(tmp_path: Path) -> None:
    path, many = tmp_path / "watch.json", [watched(f"i{n:02}", n) for n in range(40)]

    def add(one: Watched) -> int:
        return len(change_watch_list(path, lambda before: [*before.watched, one]))

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(add, many)) == list(range(1, 41))
    assert read_watch_list(path).watched == tuple(many)


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


def test_what_is_compared_keeps_its_payload_and_equals_nothing(tmp_path: Path) -> None:
    payload = base64.b64encode(Behaviour({"overlap": -3.0}).encode()).decode()
    one = Watched("a", "behaviour", "", "lab-b", 0.6, 1, payload=payload)
    path = tmp_path / "watch.json"
    write_watch_list(path, [one, watched("b", 2)])
    found = read_watch_list(path)
    assert found.watched[0] == one
    assert found.compares
    assert found.watched[0].decoded() == Behaviour({"overlap": -3.0})
    assert not np.isin(found.items[0], found.items[1:])
    write_watch_list(path, [watched("b", 2)])
    assert not read_watch_list(path).compares
    assert b"payload" not in path.read_bytes()  # which versions of before do not know


@pytest.mark.parametrize(
    ("kind", "value", "payload"),
    [
        ("behaviour", "", ""),
        ("behaviour", "", "no base64!"),
        ("behaviour", "", "é"),
        ("coverage", "", base64.b64encode(b"{}").decode()),
        ("behaviour", "0" * 14, base64.b64encode(Behaviour({"a": 1.0}).encode()).decode()),
        ("client", "0" * 14, "AAAA"),
    ],
)
def test_payloads_that_cannot_be_compared_are_refused(kind: str, value: str, payload: str) -> None:
    with pytest.raises(DistilwatchError, match="indicator x"):
        watch_list([Watched("x", kind, value, "lab-b", 0.6, 1, payload=payload)])
