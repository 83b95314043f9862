"""Files of known texts: what is written is read, and what is damaged is refused."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DistilwatchError
from transforms.ingest.known import (
    Builder,
    KnownTexts,
    file,
    open_collection,
    write_collection,
)

TEXTS = [f"What is the boiling point of substance number {n} at sea level?" for n in range(40)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "substances.known", TEXTS)


def written(
    path: Path, texts: list[str], name: str = "substances", kind: str = "benchmark"
) -> Path:
    builder = Builder()
    builder.add(texts)
    write_collection(path, builder.finish(name, kind, 1e-4))
    return path


def test_what_is_written_is_read(path: Path) -> None:
    collection = open_collection(path)
    assert (collection.about.name, collection.about.kind) == ("substances", "benchmark")
    assert collection.about.texts == len(TEXTS)
    assert KnownTexts.open([str(path)]).labels(TEXTS).tolist() == [0] * len(TEXTS)


def test_the_same_texts_make_the_same_file(path: Path, tmp_path: Path) -> None:
    again = written(tmp_path / "again.known", TEXTS[::-1] + TEXTS[:5])
    assert again.read_bytes() == path.read_bytes()


def test_a_large_filter_stays_on_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = open_collection(path).bloom.bits
    file._open.cache_clear()
    monkeypatch.setattr(file, "_MAPPED_BYTES", 10)
    large = open_collection(path).bloom.bits
    assert isinstance(large, np.memmap)
    assert not isinstance(small, np.memmap)
    np.testing.assert_array_equal(small, large)


@given(st.data())
def test_any_changed_byte_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = written(tmp_path_factory.mktemp("known") / "x.known", TEXTS[:4])
    good = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(good)
    with pytest.raises(DistilwatchError, match="known-texts build"):
        open_collection(path)


@pytest.mark.parametrize("keep", [0, 20, 47, 60, -1])
def test_a_file_that_was_cut_off_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DistilwatchError, match="known texts"):
        open_collection(path)


def test_a_file_with_something_appended_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DistilwatchError, match="damaged"):
        open_collection(path)


def test_a_file_of_another_version_says_so(path: Path) -> None:
    changed = bytearray(path.read_bytes())
    struct.pack_into("<I", changed, 8, 7)
    path.write_bytes(changed)
    with pytest.raises(DistilwatchError, match="version 7, and this one reads 2"):
        open_collection(path)


def test_another_file_and_none_at_all_say_so(tmp_path: Path) -> None:
    other = tmp_path / "texts.jsonl"
    other.write_text('{"text": "x"}\n' * 20)
    with pytest.raises(DistilwatchError, match="is no file of known texts"):
        open_collection(other)
    for missing in (tmp_path / "missing.known", tmp_path):
        with pytest.raises(DistilwatchError, match="cannot be read"):
            open_collection(missing)


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(DistilwatchError, match="cannot be written"):
        written(tmp_path / "no" / "folder.known", TEXTS)


def test_a_worker_refuses_a_file_that_was_replaced(path: Path) -> None:
    known = pickle.loads(pickle.dumps(KnownTexts.open([str(path)])))
    written(path, ["Something else that is long enough to be known by its words"])
    os.utime(path, ns=(1, 1))
    with pytest.raises(DistilwatchError, match="replaced"):
        known.labels(TEXTS[:1])


def test_what_becomes_of_a_file_that_was_opened_does_not_matter(path: Path) -> None:
    known = KnownTexts.open([str(path)])
    assert known.labels(TEXTS[:1]).tolist() == [0]
    path.unlink()
    assert known.labels(TEXTS[1:2]).tolist() == [0]


def test_of_several_collections_the_one_that_holds_most_counts(tmp_path: Path) -> None:
    long = "In which year did the last train leave the old station in the harbour, and who drove?"
    paths = [
        written(tmp_path / "part.known", [long[:70]], "part"),
        written(tmp_path / "all.known", [long, TEXTS[0]], "all"),
        written(tmp_path / "same.known", [long, TEXTS[1]], "same"),
    ]
    known = KnownTexts.open([str(p) for p in paths])
    texts = [long, TEXTS[0], TEXTS[1], None, "", "Nothing of this kind was ever asked before now"]
    assert known.labels(texts).tolist() == [1, 1, 2, -1, -1, -1]
    assert [about.name for about in known.collections] == ["part", "all", "same"]


def test_without_collections_nothing_is_known() -> None:
    assert KnownTexts().labels([*TEXTS[:2], None]).tolist() == [-1, -1, -1]
