"""What was tried is let out of quarantine as it was tried, and not as somebody changes it later."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import pytest

from pipelines.watching import update_watch_list
from transforms.sharing.payloads import Behaviour
from transforms.sharing.watch.listing import (
    LIVE,
    QUARANTINED,
    Watched,
    read_watch_list,
    write_watch_list,
)


def signature(z: float) -> str:
    return base64.b64encode(Behaviour({"overlap": z}).encode()).decode()


SEEN = Watched("indicator--1", "behaviour", "", "lab-b", 0.6, 1_000, None, LIVE, signature(3.0))


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, LIVE),
        ({"valid_from_ms": 2_000}, LIVE),
        ({"confidence": 0.5}, LIVE),
        ({"confidence": 0.7}, QUARANTINED),
        ({"payload": signature(9.0)}, QUARANTINED),
        ({"source": "lab-c"}, QUARANTINED),
    ],
)
def test_a_version_that_was_not_tried_is_in_quarantine(
    change: dict[str, object], state: str, tmp_path: Path
) -> None:
    listed = tmp_path / "watch.json"
    write_watch_list(listed, [SEEN])
    newer = msgspec.structs.replace(SEEN, state=QUARANTINED, **change)
    assert update_watch_list(listed, [newer]) == {LIVE: state == LIVE, QUARANTINED: state != LIVE}
    [found] = read_watch_list(listed).watched
    assert found == msgspec.structs.replace(newer, state=state)
