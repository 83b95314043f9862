"""The list of accounts that were to be forgotten; what is done with it is in `test_gateways`."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import DistilwatchError
from transforms.ingest.forgotten import Forgotten, note

KEY = b"k" * 32


def test_a_list_that_was_named_and_is_not_there_brings_nobody_back_in_silence(
    tmp_path: Path,
) -> None:
    path = tmp_path / "forgotten.jsonl"
    with pytest.raises(DistilwatchError, match="not there") as caught:
        Forgotten.open(path, KEY, named=True)
    assert str(path) in caught.value.where
    path.touch()
    assert not Forgotten.open(path, KEY, named=True)


def test_who_may_come_back_is_not_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "forgotten.jsonl"
    assert not Forgotten.open(path, KEY)
    note(path, KEY, "a", "me", {})
    note(path, KEY, "b", "me", {})
    note(path, KEY, "a", "me", {}, allow=True)
    found = Forgotten.open(path, KEY)
    assert ("a" in found, "b" in found) == (False, True)


@pytest.mark.parametrize("line", ["{", "7", "[]", '{"action": "forget"}', '{"account": "x"}'])
def test_a_list_that_cannot_be_understood_brings_nobody_back_in_silence(
    tmp_path: Path, line: str
) -> None:
    path = tmp_path / "forgotten.jsonl"
    note(path, KEY, "a", "me", {})
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DistilwatchError, match="cannot be read"):
        Forgotten.open(path, KEY)
