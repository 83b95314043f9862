"""The outbox and its sender: backoff, dead letters, replay, order, one sender at a time."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.settings import AlertsConfig
from schemas.errors import DistilwatchError
from tests.support.desk import (
    HOUR,
    Office,
    Script,
    cluster,
    sender,
)
from transforms.alerts.book import Book
from transforms.alerts.channels import Refused, TryLater
from transforms.alerts.outbox import Backoff
from transforms.alerts.sender import Background, Sender


def test_a_message_waits_for_a_channel_that_others_have(office: Callable[..., Office]) -> None:
    desk = office()
    desk.look(cluster())
    warned: list[str] = []
    Sender(desk.book, {}, Backoff(limit=1), lambda: desk.now, warned.append).send_due()
    assert len(warned) == 1
    assert sender(desk, Script())[0].send_due().sent == 1


def test_a_message_waits_longer_each_time_and_dies_at_the_limit(
    office: Callable[..., Office],
) -> None:
    desk = office()
    desk.look(cluster())
    channel = Script(*(TryLater("full") for _ in range(9)))
    sending, warned = sender(desk, channel, first_ms=1_000, most_ms=60_000, limit=4)
    waits = []
    for _ in range(3):
        sending.send_due()
        [waiting] = desk.book.outbox.messages(["pending"])
        waits.append(waiting.not_before - desk.now)
        desk.now = waiting.not_before - 1
        assert not desk.book.outbox.due(desk.now)
        desk.now += 1
    assert all(low <= w <= 2 * low for w, low in zip(waits, (500, 1_000, 2_000), strict=True))
    assert sending.send_due().dead == 1
    assert desk.book.outbox.counts() == {"dead": 1}
    assert len(warned) == 2  # the first failure, and the death
    [dead] = desk.book.outbox.messages(["dead"])
    with pytest.raises(DistilwatchError, match="no dead message a-mistake"):
        desk.book.outbox.replay([dead.key, "a-mistake"], desk.now)
    assert desk.book.outbox.counts() == {"dead": 1}
    columns = "alert_id, channel, notice, state, not_before, made_ms"
    desk.book.outbox._db.execute(  # more of them than `messages` lists
        f"INSERT INTO outbox (key, {columns}) SELECT 'dead-' || value, {columns} FROM outbox, "
        "(WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 1000) "
        "SELECT value FROM n)"
    )
    assert desk.book.outbox.replay([dead.key], desk.now) == (1, 0)
    channel.script.clear()
    assert sending.send_due().sent == 1


def _die(desk: Office, *works: bool) -> None:
    """Lets messages be sent, or die."""
    script = Script(*(None if fine else Refused("no") for fine in works))
    sender(desk, script)[0].send_due()


def test_what_was_overtaken_is_not_told_when_dead_messages_are_tried_again(
    office: Callable[..., Office],
) -> None:
    desk = office()
    desk.look(cluster(), cluster("c-2"), cluster("c-3"), cluster("c-4"))
    _die(desk, False, False, False, False)
    desk.look(cluster(revision=20, status="resolved"))
    _die(desk, True)  # the end was heard
    desk.look(cluster("c-2", 20, account_count=9), cluster("c-3", 20, status="resolved"))
    _die(desk, True, False)  # c-2's growth was heard; of c-3 nothing
    assert desk.book.outbox.counts() == {"dead": 5, "sent": 2}
    assert desk.book.outbox.replay([], desk.now) == (2, 3)
    left = [(m.notice["cluster_id"], m.notice["step"]) for m in desk.book.outbox.due(desk.now)]
    assert left == [("c-4", "opened"), ("c-3", "resolved")]
    assert {m.error for m in desk.book.outbox.messages(["dropped"])} == {"overtaken"}


def test_of_several_dead_messages_of_an_alert_that_lives_all_are_told(
    office: Callable[..., Office],
) -> None:
    desk = office()
    desk.look(cluster())
    _die(desk, False)
    desk.look(cluster(revision=20, account_count=9))
    _die(desk, False)
    assert desk.book.outbox.replay([], desk.now) == (2, 0)


def test_an_outage_of_a_day_is_outlived() -> None:
    backoff = Backoff()
    assert backoff.limit == AlertsConfig().attempts
    hours = [
        sum(backoff.wait_ms(n, 0, draw) for n in range(1, backoff.limit)) / HOUR
        for draw in (0.0, 1.0)
    ]
    assert [round(h) for h in hours] == [25, 50]


def test_retry_after_is_kept_to_and_a_refusal_is_for_good(office: Callable[..., Office]) -> None:
    desk = office()
    desk.look(cluster())
    sending, _ = sender(desk, Script(TryLater("429", 120_000), Refused("no")))
    sending.send_due()
    [waiting] = desk.book.outbox.messages()
    assert waiting.not_before == desk.now + 120_000
    desk.now += 120_000
    assert sending.send_due().dead == 1
    assert desk.book.outbox.messages()[0].error == "no"


def test_one_process_sends_at_a_time(office: Callable[..., Office], tmp_path: Path) -> None:
    desk = office()
    desk.look(cluster())
    channel = Script()
    with Book(tmp_path / "book") as other, other.outbox.sending() as ours:
        assert ours
        assert sender(desk, channel)[0].send_due().sent == 0
    assert sender(desk, channel)[0].send_due().sent == 1


def test_a_channel_that_fails_does_not_hold_up_the_others(office: Callable[..., Office]) -> None:
    desk = office()
    desk.look(cluster(severity="high"))
    good, bad = Script(), Script(*(ValueError("a bug, with a secret in it") for _ in range(3)))
    both = {"hook": bad, "pager": good}
    Sender(desk.book, both, Backoff(), lambda: desk.now, lambda _: None).send_due()
    assert len(good.took) == 1
    [waiting] = desk.book.outbox.messages(["pending"])
    assert waiting.error == "hook failed (ValueError)"


def test_a_sender_goes_on_after_its_book_failed(office: Callable[..., Office]) -> None:
    desk = office()
    desk.look(cluster())
    channel, warned, said = Script(), list[str](), threading.Event()

    def warn(text: str) -> None:
        warned.append(text)
        said.set()

    def make(book: Book) -> Sender:
        return Sender(book, {"hook": channel, "pager": channel}, Backoff(), lambda: desk.now, warn)

    def wait_for(messages: int) -> None:
        deadline = time.monotonic() + 120
        while len(channel.took) < messages:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    with (
        closing(sqlite3.connect(desk.path, isolation_level=None, timeout=60)) as other,
        Background(desk.path, make, every_s=0.01),
    ):
        wait_for(1)
        other.execute("ALTER TABLE outbox RENAME TO elsewhere")
        assert said.wait(120)
        assert "no such table" in warned[0]
        other.execute("ALTER TABLE elsewhere RENAME TO outbox")
        desk.look(cluster(revision=20, severity="high"))
        wait_for(3)
    assert len(warned) == 1


def test_a_channel_that_fails_is_tried_once_a_pass(office: Callable[..., Office]) -> None:
    desk = office()
    desk.look(*(cluster(f"c-{i}", severity="high") for i in range(3)))
    bad, good = Script(*(TryLater("stalled") for _ in range(9))), Script()
    sending = Sender(
        desk.book, {"hook": bad, "pager": good}, Backoff(), lambda: desk.now, lambda _: None
    )
    assert sending.send_due().sent == 3
    assert (len(bad.tried), len(good.took)) == (1, 3)


@settings(max_examples=60, deadline=None)
@given(works=st.lists(st.booleans(), max_size=30), limit=st.integers(1, 4))
def test_of_an_alert_the_end_never_overtakes_the_beginning(
    works: list[bool], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    desk = Office(tmp_path_factory.mktemp("book") / "book")
    desk.look(cluster())
    desk.look(cluster(revision=20, severity="high"))
    desk.look(cluster(revision=30, status="resolved"))
    channel = Script(*(None if fine else TryLater("later") for fine in works))
    sending, _ = sender(desk, channel, limit=limit)
    for _ in range(200):
        sending.send_due()
        left = desk.book.outbox.messages(["pending"])
        if not left:
            break
        desk.now = max(m.not_before for m in left)
    assert desk.book.outbox.counts().keys() <= {"sent", "dead"}
    for name in ("hook", "pager"):
        revisions = [int(k.split("/")[1]) for k in channel.tried if k.endswith(name)]
        assert revisions == sorted(revisions)
    assert len(set(channel.took)) == len(channel.took)
    desk.book.__exit__()
