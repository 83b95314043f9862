"""No prompt and no raw payment fingerprint is in anything that a run leaves, in any form."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.pipelines.conftest import SmallRun
from tests.support.leaks import every_text

pytestmark = pytest.mark.slow


def secrets(path: Path) -> Iterator[bytes]:
    """Pieces of prompts, and fingerprints, that are in a file of events."""
    draw, fingerprints, prompts = random.Random(7), set(), []
    for line in path.read_bytes().splitlines():
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if not isinstance(event, dict):
            continue
        prompt, fingerprint = event.get("prompt_text"), event.get("payment_fingerprint")
        if isinstance(fingerprint, str) and len(fingerprint) >= 8:
            fingerprints.add(fingerprint)
        if isinstance(prompt, str) and len(prompt) >= 60:
            prompts.append(prompt)
    for fingerprint in fingerprints:
        yield fingerprint.encode()
    for prompt in draw.sample(prompts, min(300, len(prompts))):
        middle = len(prompt) // 2
        yield prompt[:24].encode()
        yield prompt[middle : middle + 24].encode()


def test_nothing_of_them_is_anywhere(small_run: SmallRun) -> None:
    wanted = {
        s for name in ("live", "history") for s in secrets(small_run.inputs / f"{name}.jsonl")
    }
    assert len(wanted) > 300
    kinds, found = set(), []
    for path in sorted(p for p in small_run.made.rglob("*") if p.is_file()):
        kinds.add(path.suffix)
        for place, text in every_text(path):
            found += [place for secret in wanted if secret in text]
    assert {".duckdb", ".parquet", ".npz", ".joblib", ".json", ".html", ".txt"} <= kinds
    assert found == []


def test_the_search_would_find_them(small_run: SmallRun, tmp_path: Path) -> None:
    """In every form that is looked into."""
    import duckdb
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    secret = next(secrets(small_run.inputs / "live.jsonl")).decode()
    pq.write_table(pa.table({"x": [secret] * 9}), tmp_path / "a.parquet", compression="zstd")
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT ? AS x FROM range(5000)", [secret])
    np.savez_compressed(tmp_path / "a.npz", x=np.array([secret]))
    (tmp_path / "a.html").write_text(f"<p>{secret}</p>")
    for path in tmp_path.iterdir():
        assert any(secret.encode() in text for _, text in every_text(path)), path.name
