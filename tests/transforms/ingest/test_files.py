from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pipelines.preflight import check_input
from schemas.errors import DistilwatchError
from transforms.ingest.files import byte_ranges, find_files, read_range


def test_records_of_files_with_one_name_have_different_places(tmp_path: Path) -> None:
    places = set()
    for day in ("mon", "tue"):
        path = tmp_path / day / "events.jsonl"
        path.parent.mkdir()
        path.write_text("spoilt\n")
        places |= {batch.source for batch in read_range(str(path), 0, 7, 100)}
    assert places == {f"{tmp_path}/mon/events.jsonl", f"{tmp_path}/tue/events.jsonl"}


def test_files_that_are_not_gzip_or_cut_off_are_told_of_by_name(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b'{"event_id": "%d"}\n' % i for i in range(3_000)))
    for content, what in (
        (b'{"event_id": "1"}\n', "not gzip, or damaged"),
        (whole[:-9], "cut off"),
        (whole[:100] + bytes(50) + whole[150:], "not gzip, or damaged"),
    ):
        path = tmp_path / "events.jsonl.gz"
        path.write_bytes(content)
        with pytest.raises(DistilwatchError, match=rf"the file is {what} \(.*events\.jsonl\.gz\)"):
            list(read_range(str(path), 0, len(content), 100))
    path.write_bytes(whole)
    assert sum(len(b.values) for b in read_range(str(path), 0, len(whole), 100)) == 3_000


def test_a_file_may_be_written_as_an_address(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text("{}\n")
    check_input(f"file://{tmp_path}/a.jsonl")
    check_input(f"file://{tmp_path}/?.jsonl")
    assert find_files(f"file://{tmp_path}/a.jsonl") == [f"{tmp_path}/a.jsonl"]
    assert find_files(f"file://{tmp_path}/?.jsonl") == find_files(f"{tmp_path}/*.jsonl")


@pytest.mark.parametrize("end", [b"\n", b""])
def test_every_line_is_read_once_at_its_place_however_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: bytes
) -> None:
    monkeypatch.setattr("transforms.ingest.files._BLOCK_BYTES", 200)
    sizes = [0, 1, 2, 3, 70, 0, 0, 500, 40, 7]  # one longer than a block
    lines = [b"x" * size for size in sizes] + [b"{%d}\r" % i for i in range(30)]
    content = b"\n".join(lines) + end
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    expected, at = [], 0
    for line in content.split(b"\n"):
        if line.strip():
            expected.append((at, line.strip()))
        at += len(line) + 1
    for size in (1, 2, 3, 71, 201, 502, len(content)):
        found = [batch for r in byte_ranges(str(path), size) for batch in read_range(*r, 7)]
        places = [int(place) for batch in found for place in batch.offsets]
        values = [value for batch in found for value in batch.values]
        assert list(zip(places, values, strict=True)) == expected
