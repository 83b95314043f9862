"""`alerts send --watch` goes on until it is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import Mock

import pytest

from pipelines import telling
from pipelines.config import load_config
from pipelines.console import Console
from schemas.errors import DistilwatchError
from transforms.alerts.sender import Sent


def test_a_book_on_a_full_disk_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Event()
    full = DistilwatchError("the book of alerts cannot be written: disk is full", "b", "free some")

    def send_due(stop: Event) -> Sent:
        if sender.send_due.call_count == 1:
            raise full
        stop.set()
        return Sent(sent=3)

    sender = Mock(send_due=Mock(side_effect=send_due))

    @contextmanager
    def given(value: Any) -> Iterator[Any]:
        yield value

    desk = Mock(look_at=Mock(return_value=[]))
    monkeypatch.setattr(telling, "_EVERY_S", 0.0)
    monkeypatch.setattr(telling, "newest_clusters", lambda *_: Mock(every_s=0.0, news=lambda: None))
    monkeypatch.setattr(telling, "on_call", lambda *_: given((desk, sender)))
    monkeypatch.setattr(telling, "stopped_by_signals", lambda: given(stop))
    config = load_config(None, {"alerts.book": str(tmp_path / "book.alerts")})
    told = telling.tell_until_stopped("duckdb:///out.duckdb", config, Console(as_json=True))
    assert told.sent == 3
    sender.stumbled.assert_called_once_with(full)
