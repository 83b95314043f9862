"""An account is taken out of the book of alerts, and nothing else is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from schemas.errors import DistilwatchError
from transforms.alerts.book import Book, Known
from transforms.alerts.forgetting import forget_in_book
from transforms.alerts.life import Alert, Observation
from transforms.alerts.outbox import Backoff

ACCOUNT, T0 = "acct-1", 1_780_272_000_000


def step(alert: str, cluster: str, reason: str) -> dict[str, object]:
    return {
        "alert_id": alert, "revision": 1, "step": "opened", "policy": "p", "changed_at": T0,
        "storm_id": None, "channels": ["hook"], "reason": reason, "cluster_id": cluster,
    }  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "book"
    with Book(path) as book:
        with book.writing():
            for name, accounts in (
                ("c-1", [ACCOUNT, "acct-12"]), ("c-2", [ACCOUNT]), ("c-3", ["acct-12"]),
                ("c-4", []),
            ):  # fmt: skip
                book.keep(name, Known(Alert(Observation(name, T0, 9, True)), accounts, {}))
                alert = f"a-{name}"
                reason = f"ann: {ACCOUNT} rang" if name == "c-1" else "ann: acct-12 rang"
                book.add_step(step(alert, name, reason))
                notice = {"alert_id": alert, "reason": reason, "cost": "", "title": "x"}
                book.outbox.post(f"{alert}/1/hook", "hook", notice, T0, T0)
            book.remember("decisions", "digest")
        for message in book.outbox.messages():
            thread = {"ts": message.alert_id}
            if message.alert_id == "a-c-3":
                book.outbox.failed(message, f"no such {ACCOUNT}", T0, Backoff())
            else:
                book.outbox.sent(message, thread, T0)
    return path


def test_it_is_gone_and_all_else_is_as_it_was(path: Path) -> None:
    with Book(path) as book:
        others = book.known(["c-3", "c-4"])
    assert forget_in_book(path, ACCOUNT, [], dry_run=True) == forget_in_book(path, ACCOUNT, [])
    assert forget_in_book(path, ACCOUNT, []) == 0
    for file in path.parent.iterdir():
        assert ACCOUNT.encode() + b'"' not in file.read_bytes(), file
        assert b"acct-1 " not in file.read_bytes(), file
    with Book(path) as book:
        known = book.known()
        assert known["c-1"].accounts == ["acct-12"]
        assert "c-2" not in known
        assert {name: known[name] for name in others} == others
        messages = {m.alert_id: m for m in book.outbox.messages()}
        assert set(messages) == {"a-c-1", "a-c-3", "a-c-4"}
        assert messages["a-c-1"].notice["reason"] == ""
        assert messages["a-c-1"].notice["title"] == "x"
        assert messages["a-c-3"].notice["reason"] == "ann: acct-12 rang"
        assert messages["a-c-3"].error == ""
        assert {row["alert_id"]: row["reason"] for row in book.unexported()} == {
            "a-c-1": "", "a-c-3": "ann: acct-12 rang", "a-c-4": "ann: acct-12 rang",
        }  # fmt: skip
        assert book.outbox.thread("a-c-2", "hook") is None
        assert book.outbox.thread("a-c-1", "hook") == {"ts": "a-c-1"}
        assert book.fact("decisions") == "digest"


def test_clusters_that_only_the_tables_know_as_its_own_go_too(path: Path) -> None:
    assert forget_in_book(path, "nobody", []) == 0
    assert forget_in_book(path, "nobody", ["c-4"]) == 4  # cluster, step, message, thread
    with Book(path) as book:
        assert set(book.known()) == {"c-1", "c-2", "c-3"}


def test_a_book_that_is_none_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "book"
    path.write_bytes(b"no database" * 500)
    with pytest.raises(DistilwatchError, match="book of alerts"):
        forget_in_book(path, ACCOUNT, [])


def test_a_run_may_have_it_open(path: Path) -> None:
    with Book(path) as book:
        assert forget_in_book(path, ACCOUNT, [])
        assert set(book.known()) == {"c-1", "c-3", "c-4"}
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
