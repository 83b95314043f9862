"""What the server keeps: quotas, epochs, and a log that only grows."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from schemas.errors import DistilwatchError
from tests.support.two_labs import OPTIONS, Direct, Lab, Two
from transforms.sharing.private.identifiers import PAYMENT
from transforms.sharing.private.ledger import Ledger
from transforms.sharing.private.server import MatchServer


def test_quotas_hold_when_many_ask_at_once(two: Two) -> None:
    granted: list[bool] = []

    def ask() -> None:
        granted.append(two.ledger.spend("lab-b", PAYMENT, 8, 1, two.clock.now, 1_000, 32))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(granted) == [False] * 8 + [True] * 4


def test_quotas_the_log_and_the_epoch_outlive_a_restart(two: Two, tmp_path: Path) -> None:
    two.ask(*(f"card-{i}" for i in range(24)))
    before, end = two.server.terms("lab-b"), two.ledger.log()[-1].digest
    again = MatchServer(Ledger(tmp_path / "ledger.sqlite"), two.a.sealer, OPTIONS, two.clock)
    again.begin()
    assert again.terms("lab-b") == before
    assert before.quota_left == 8
    two.peer = Direct(again)
    assert two.ask(*(f"card-{i}" for i in range(24))).left == 16
    assert end in [e.digest for e in again.ledger.log()]


def test_the_seed_of_an_epoch_that_ended_while_nobody_served_is_destroyed(
    two: Two, tmp_path: Path
) -> None:
    public = two.server.terms("lab-b").public_key
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as db:
        [(seed,)] = db.execute("SELECT seed FROM epochs").fetchall()
    assert seed in path.read_bytes()
    two.clock.now += OPTIONS.epoch_ms
    MatchServer(Ledger(path), two.a.sealer, OPTIONS, two.clock).begin()
    assert seed not in path.read_bytes()
    assert two.server.terms("lab-b").public_key != public


def test_another_sealing_key_is_found_out_before_it_matches_nothing(
    two: Two, tmp_path: Path
) -> None:
    two.ledger.bind(two.a.sealer.mark)
    Ledger(tmp_path / "ledger.sqlite").bind(two.a.sealer.mark)
    with pytest.raises(DistilwatchError, match="sealed with another key"):
        Ledger(tmp_path / "ledger.sqlite").bind(Lab().sealer.mark)
    assert two.a.sealer.mark not in (two.a.sealer.scalar.hex(), two.a.sealer._key.hex())


def test_the_log_only_grows_and_shows_what_was_done_to_it(two: Two, tmp_path: Path) -> None:
    two.ask("card-1")
    assert two.ledger.log()
    db = sqlite3.connect(tmp_path / "ledger.sqlite")
    for statement in ("UPDATE log SET peer = 'x'", "DELETE FROM log"):
        with pytest.raises(sqlite3.IntegrityError, match="only grows"):
            db.execute(statement)
    db.execute("DROP TRIGGER log_stays")
    db.execute("UPDATE log SET elements = 1 WHERE act = 'evaluate'")
    db.commit()
    with pytest.raises(DistilwatchError, match="not what was written"):
        two.ledger.log()
