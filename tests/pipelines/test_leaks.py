"""No prompt and no raw payment fingerprint is in anything that a run leaves, in any form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipelines.conftest import SmallRun
from tests.support.leaks import every_text, leaks, secrets

pytestmark = pytest.mark.slow


def test_nothing_of_them_is_anywhere(small_run: SmallRun) -> None:
    wanted = {
        s for name in ("live", "history") for s in secrets(small_run.inputs / f"{name}.jsonl")
    }
    assert len(wanted) > 300
    found, read = leaks(small_run.made, wanted)
    kinds = {Path(name).suffix for name in read}
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
    (tmp_path / "a.partial").write_bytes(b"PAR1" + secret.encode())  # of a worker that was killed
    for path in tmp_path.iterdir():
        assert any(secret.encode() in text for _, text in every_text(path)), path.name
