"""Raw bytes at rest: only under a key, only at their place."""

from __future__ import annotations

import base64
import os
import pickle

import pytest

from schemas.errors import DistilwatchError
from transforms.ingest.batch import DeadLetter
from transforms.ingest.dead_letters import LetterRows
from transforms.ingest.sealing import LetterKeys, letter_keys

OLD, NEW = b"o" * 32, b"n" * 32
PLACE = ("kafka://requests", 3, 17)
RAW = b'{"prompt_text": "my secret", '


def test_sealing_is_the_same_each_time_and_hides_the_record() -> None:
    keys = LetterKeys((NEW,))
    sealed = keys.seal(RAW, PLACE)
    assert sealed == pickle.loads(pickle.dumps(keys)).seal(RAW, PLACE)
    assert b"secret" not in sealed
    assert keys.open(sealed, PLACE) == RAW
    assert "n" * 8 not in repr(keys)
    assert keys.open(keys.seal(b"", PLACE), PLACE) == b""


def test_other_places_other_keys_and_changed_bytes_do_not_open() -> None:
    keys = LetterKeys((NEW,))
    sealed = keys.seal(RAW, PLACE)
    for place in (("kafka://other", 3, 17), ("kafka://requests", 4, 17), (*PLACE[:2], 18)):
        with pytest.raises(DistilwatchError, match="changed after"):
            keys.open(sealed, place)
    for i in range(len(sealed)):
        changed = bytearray(sealed)
        changed[i] ^= 1
        with pytest.raises(DistilwatchError, match=r"changed after|not among") as refused:
            keys.open(bytes(changed), PLACE)
        assert "secret" not in str(refused.value)
    with pytest.raises(DistilwatchError, match="not among"):
        LetterKeys((OLD,)).open(sealed, PLACE)


def test_a_new_key_seals_and_the_old_one_still_opens() -> None:
    before = LetterKeys((OLD,)).seal(RAW, PLACE)
    keys = LetterKeys((NEW, OLD))
    assert keys.open(before, PLACE) == RAW
    assert not keys.is_newest(before)
    after = keys.seal(RAW, PLACE)
    assert keys.is_newest(after)
    assert LetterKeys((NEW,)).open(after, PLACE) == RAW


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "is not set"),
        (" ", "is not set"),
        ("%%", "not base64"),
        ("é", "not base64"),
        ("AAAA", "3 bytes"),
    ],
)
def test_keys_that_are_none_are_refused_without_being_told(
    value: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LETTERS", raising=False)
    if value is not None:
        monkeypatch.setenv("LETTERS", value)
    with pytest.raises(DistilwatchError, match=words) as refused:
        letter_keys("LETTERS")
    assert "openssl rand" in str(refused.value)


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [base64.b64encode(key).decode() for key in (NEW, OLD)]
    monkeypatch.setenv("LETTERS", ", ".join(both))
    keys = letter_keys("LETTERS")
    assert keys is not None
    assert keys.open(LetterKeys((OLD,)).seal(RAW, PLACE), PLACE) == RAW
    assert letter_keys(None) is None


def test_rows_hold_the_record_only_under_a_key_and_only_up_to_a_size() -> None:
    letter = DeadLetter(*PLACE, "not_json", "", RAW, schema_id=7)
    bare = LetterRows("run-1")(letter)
    assert bare["raw"] is None
    assert (bare["raw_bytes"], bare["schema_id"]) == (len(RAW), 7)
    keys = LetterKeys((os.urandom(32),))
    kept = LetterRows("run-1", keys, len(RAW))(letter)
    assert keys.open(kept["raw"], PLACE) == RAW
    assert LetterRows("run-1", keys, len(RAW) - 1)(letter)["raw"] is None
