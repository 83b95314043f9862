"""What was tried is let out of quarantine as it was tried, and not as somebody changes it later."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import pytest

from pipelines import matching
from pipelines.config import Config
from pipelines.watching import (
    FLAGS,
    HARMLESS,
    TOO_COMMON,
    UNSEEN,
    Tried,
    release,
    update_watch_list,
)
from tests.support.two_labs import TOKEN, Two
from transforms.sharing.payloads import Behaviour
from transforms.sharing.private.identifiers import PAYMENT
from transforms.sharing.private.sealed import write_sealed
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


@pytest.mark.parametrize("confidence", [0.6, 0.5, 0.9])
def test_what_a_trial_held_back_stays_back_though_its_lab_need_not_be_tried(
    confidence: float, tmp_path: Path
) -> None:
    listed = tmp_path / "watch.json"
    write_watch_list(listed, [SEEN])
    release(listed, [Tried(SEEN, FLAGS, 3, 0.01, ("c-1",))])
    again = msgspec.structs.replace(SEEN, state=LIVE, confidence=confidence)  # tried_first: false
    assert update_watch_list(listed, [again]) == {LIVE: 0, QUARANTINED: 1}
    assert update_watch_list(listed, [again]) == {LIVE: 0, QUARANTINED: 1}
    other = msgspec.structs.replace(again, payload=signature(9.0))  # which nobody has tried
    assert update_watch_list(listed, [other]) == {LIVE: 1, QUARANTINED: 0}
    write_watch_list(listed, [SEEN])
    release(listed, [Tried(SEEN, HARMLESS, 0, 0.0)])
    assert update_watch_list(listed, [SEEN]) == {LIVE: 1, QUARANTINED: 0}


def test_what_was_never_tried_follows_the_settings(tmp_path: Path) -> None:
    listed = tmp_path / "watch.json"
    write_watch_list(listed, [msgspec.structs.replace(SEEN, state=QUARANTINED)])
    assert update_watch_list(listed, [SEEN]) == {LIVE: 1, QUARANTINED: 0}


def test_private_matches_are_tried_first_as_well_and_keep_what_a_trial_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DISTILWATCH_MATCH_TOKEN", TOKEN)
    two, listed, sealed = Two(tmp_path), tmp_path / "watch.json", tmp_path / "own.sealed"
    monkeypatch.setattr(matching, "own_sealer", lambda: two.b.sealer)
    monkeypatch.setattr(matching, "HttpPeer", lambda *_: two.peer)
    write_sealed(sealed, two.b.sealed("card-1"), two.b.sealer)

    def query(**source: object) -> str:
        sources = [{"name": "lab-a", **source}] if source else []
        config = Config.model_validate({"watch": {"sources": sources}})
        matching.ask(
            sealed, "https://lab-a", "lab-b", "lab-a", PAYMENT, listed, 0.9, 10**9, None, None, 8,
            config,
        )  # fmt: skip
        two.clock.now += 2_000
        [found] = read_watch_list(listed).watched
        return found.state

    assert query() == QUARANTINED
    assert query(trust=0.9) == QUARANTINED
    assert query(trust=0.0, tried_first=False) == QUARANTINED
    assert query(trust=0.9, tried_first=False) == LIVE
    [one] = read_watch_list(listed).watched
    release(listed, [Tried(one, TOO_COMMON, 400, 0.5)])
    assert query(trust=0.9, tried_first=False) == QUARANTINED
    release(listed, [Tried(one, UNSEEN, 0, 0.0)])
    assert query(trust=0.9) == LIVE
