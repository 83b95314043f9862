"""What the asking lab keeps of the other one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.matching import _pin, _pinned
from schemas.errors import DistilwatchError


def test_a_query_at_the_same_time_that_was_shown_another_key_is_refused(tmp_path: Path) -> None:
    pins, url = tmp_path / "match-pins.json", "https://lab-b.example"
    _pin(pins, url, 3, b"one")
    _pin(pins, url, 3, b"one")
    for epoch, key in ((3, b"other"), (2, b"one")):
        with pytest.raises(DistilwatchError, match="another key"):
            _pin(pins, url, epoch, key)
    _pin(pins, "https://lab-c.example", 1, b"other")
    _pin(pins, url, 4, b"other")
    assert _pinned(pins, url) == {4: b"other"}
    assert _pinned(pins, "https://lab-c.example") == {1: b"other"}
