"""What every output that holds tables keeps. BigQuery has its own, against an emulator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.preflight import check_output
from pipelines.tables import check_tables
from pipelines.upkeep import ask
from schemas.errors import DistilwatchError
from tests.support.commit import session, stage
from transforms.sinks.commit import Committer
from transforms.sinks.spool import Spool, spool_folder

URIS: dict[str, Callable[[Path], str]] = {
    "duckdb": lambda folder: f"duckdb:///{folder}/out.duckdb",
    "parquet": lambda folder: f"parquet:///{folder}/tables",
}


def commit(uri: str, *rows: dict[str, Any]) -> None:
    """What a run does with rows that its workers have staged."""
    spool = Spool(spool_folder([uri], None, "run-1"))
    stage(spool, "session_scores", *rows)
    assert Committer(spool, [uri], "run-1", pytest.fail).commit()


def current(uri: str) -> list[tuple[Any, ...]]:
    sql = "SELECT session_id, revision, request_count FROM current_sessions ORDER BY 1"
    return list(ask(check_tables(uri), sql)[1])


@pytest.mark.parametrize("kind", URIS)
def test_a_sink_keeps_its_word(kind: str, tmp_path: Path) -> None:
    uri = URIS[kind](tmp_path)
    check_output(uri)
    assert not list(tmp_path.iterdir()), "looking has made something"
    commit(uri, session("s-1", 3), session("s-2", 1))
    once = current(uri)
    assert once == [("s-1", 3, 3), ("s-2", 1, 1)]
    commit(uri, session("s-1", 3), session("s-2", 1))
    assert current(uri) == once, "written twice is not written once"
    commit(uri, session("s-1", 2))
    assert current(uri) == once, "an older revision has replaced a newer one"
    commit(uri, session("s-2", 5, "on_time"))
    assert current(uri) == [("s-1", 3, 3), ("s-2", 5, 5)]


@pytest.mark.parametrize("kind", URIS)
def test_an_output_that_cannot_be_written_is_told_before(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DistilwatchError) as told:
        check_output(URIS[kind](tmp_path / "file"))
    assert told.value.mend
