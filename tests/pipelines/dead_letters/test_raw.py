"""Bytes of letters that are read from their file again."""

from __future__ import annotations

import gzip
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from pipelines.dead_letters.raw import find_raw
from pipelines.dead_letters.table import OPEN, Letter


def letters(path: Path, lines: list[bytes]) -> list[Letter]:
    places = np.cumsum([0, *(len(line) for line in lines[:-1])]).tolist()
    return [
        Letter(
            str(path), 0, at, "late", "", sha256(line.strip()).hexdigest(), len(line), None, None,
            "run", None, OPEN, "", "",
        )
        for at, line in zip(places, lines, strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize("harm", ["cut off", "damaged"])
def test_of_a_packed_file_that_was_harmed_comes_what_stands_before_that(
    harm: str, tmp_path: Path
) -> None:
    noise = np.random.default_rng(1).bytes(60_000).hex().encode()
    lines = [b'{"a": 1}\n', noise[:60_000] + b"\n", noise[60_000:] + b"\n", b'{"b": 2}\n']
    path = tmp_path / "requests.jsonl.gz"
    packed = gzip.compress(b"".join(lines))
    path.write_bytes(packed)
    assert [f.raw for f in find_raw(letters(path, lines), None, {})] == [x.strip() for x in lines]

    half = len(packed) // 2
    rest = b"" if harm == "cut off" else b"\xff" * 200 + packed[half + 200 :]
    path.write_bytes(packed[:half] + rest)
    found = list(find_raw(letters(path, lines), None, {}))
    assert found[0].raw == lines[0].strip()
    assert [(f.raw, f.why) for f in found[2:]] == [(None, "its file has changed")] * 2
