"""Indicators in a file: what is none is refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.watching import received
from schemas.errors import DistilwatchError


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "7",
        "{",
        '{"direction": "received", "sketch": 5}',
        '{"direction": "received", "sketch": "no base64!"}',
    ],
)
def test_a_line_that_is_no_indicator_is_refused_in_words(tmp_path: Path, line: str) -> None:
    path = tmp_path / "received.jsonl"
    path.write_text("\n" + line + "\n")
    with pytest.raises(DistilwatchError, match="indicators cannot be read") as refused:
        received(str(path))
    assert str(path) in str(refused.value)
