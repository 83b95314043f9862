"""Turns at a file: readers together, writers alone and first, and a rest now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.triage.turns import Turns
from transforms.sinks.duckdb_refusal import RETRY_S

PATIENCE_S = 120.0


@contextmanager
def thread(work: object) -> Iterator[threading.Thread]:
    made = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
    made.start()
    yield made
    made.join(PATIENCE_S)
    assert not made.is_alive()


def test_readers_go_together_up_to_four() -> None:
    turns, inside = Turns(), threading.Barrier(4)
    most, now, lock = 0, 0, threading.Lock()

    def read(meet: bool) -> None:
        nonlocal most, now
        with turns.read():
            with lock:
                now += 1
                most = max(most, now)
            if meet:
                inside.wait(PATIENCE_S)  # all four are inside at once, or this breaks
            with lock:
                now -= 1

    first = [threading.Thread(target=read, args=(True,)) for _ in range(4)]
    for one in first:
        one.start()
    for one in first:
        one.join(PATIENCE_S)
    later = [threading.Thread(target=read, args=(False,)) for _ in range(40)]
    for one in later:
        one.start()
    for one in later:
        one.join(PATIENCE_S)
    assert most == 4
    assert not inside.broken


def test_a_writer_is_alone_and_goes_before_readers_that_come_later() -> None:
    turns, order = Turns(), list[str]()
    reading, done = threading.Event(), threading.Event()

    def first_reader() -> None:
        with turns.read():
            reading.set()
            done.wait(PATIENCE_S)
        order.append("first reader")

    def writer() -> None:
        with turns.write():
            order.append("writer")

    def late_reader() -> None:
        with turns.read():
            order.append("late reader")

    with thread(first_reader):
        reading.wait(PATIENCE_S)
        with thread(writer):
            while not turns._writers:  # until it waits
                time.sleep(0.001)
            with thread(late_reader):
                assert order == []
                done.set()
    assert order.index("writer") < order.index("late reader")


def test_readers_without_a_pause_leave_one() -> None:
    """The file is closed for a tenth of a second at least every few seconds, in which whoever
    writes tries several times."""
    let_go, stop = list[int](), threading.Event()
    turns = Turns(lambda: let_go.append(open_now))
    closed, open_now, since, lock = list[float](), 0, time.monotonic(), threading.Lock()

    def person() -> None:
        nonlocal open_now, since
        while not stop.is_set():
            with turns.read():
                with lock:
                    if not open_now:
                        closed.append(time.monotonic() - since)
                    open_now += 1
                time.sleep(0.02)
                with lock:
                    open_now -= 1
                    since = time.monotonic()

    crowd = [threading.Thread(target=person, daemon=True) for _ in range(6)]
    for one in crowd:
        one.start()
    deadline = time.monotonic() + PATIENCE_S
    while sum(pause >= 0.1 for pause in closed[1:]) < 3:
        assert time.monotonic() < deadline, closed
        time.sleep(0.05)
    stop.set()
    for one in crowd:
        one.join(PATIENCE_S)
    assert len(let_go) >= 3
    assert set(let_go) == {0}  # never while somebody read
    assert RETRY_S * 3 <= 0.1


def test_what_nobody_reads_is_let_go_by_itself() -> None:
    let_go = threading.Event()
    turns = Turns(let_go.set)
    with turns.read():
        assert not let_go.is_set()
    assert not let_go.is_set()  # the next question finds it open
    assert let_go.wait(PATIENCE_S)


def test_who_writes_here_has_the_file_let_go_first() -> None:
    order = list[str]()
    turns = Turns(lambda: order.append("let go"))
    with turns.read():
        order.append("read")
    with turns.write():
        order.append("written")
    assert order == ["read", "let go", "written"]
    with turns.write():
        order.append("again")
    assert order[3:] == ["again"]  # nothing was open
