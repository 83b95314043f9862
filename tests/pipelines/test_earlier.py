"""What a run knows of the names that earlier ones gave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.detect.build import profile_row
from pipelines.detect.earlier import cannot_links, known_ids
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from tests.support.sketches import person, sketch_of
from transforms.alerts.decision_store import DispositionStore
from transforms.alerts.dispositions import decide
from transforms.clusters.cannot_link import CannotLink
from transforms.clusters.elements import AccountProfile
from transforms.scoring.handler import Scored
from transforms.sinks.duckdb import write_tables
from transforms.sinks.parquet import add_parquet

START = datetime(2026, 5, 1, tzinfo=UTC)
LATER = START + timedelta(days=28)


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def cluster(name: str, revision: int, accounts: int = 2, **given: Any) -> dict[str, Any]:
    row = {
        "cluster_id": name, "revision": revision, "window_start": START, "window_end": LATER,
        "status": "open", "severity": "low", "score": 1.0, "p_value": 0.01, "first_seen": START,
        "last_seen": START, "account_count": accounts, "request_count": revision,
    }  # fmt: skip
    return row | given


def profile(account: str, name: str | None, revision: int = 5, start: datetime = START) -> Any:
    return {
        "session_id": f"{account}-{start:%m%d}", "revision": revision, "level": "profile",
        "key_kind": "account", "key": account, "session_start": start, "session_end": start,
        "request_count": revision, "score": 1.0, "p_value": 0.5, "cluster_id": name,
        "window_start": start,
    }  # fmt: skip


ROWS = {
    "session_scores": [
        profile("a", "c-old", 4), profile("a", "c-1"), profile("b", "c-1"),
        profile("gone", "c-1", 4), profile("gone", None, 6), profile("alone", None),
        profile("a", "c-2", start=LATER),
    ],
    "flagged_clusters": [
        cluster("c-1", 10), cluster("c-1", 12), cluster("c-alone", 5, 1), cluster("c-3", 3),
        cluster("c-3", 4, status="resolved"),
    ],
    "cluster_members": [
        {"cluster_id": "c-alone", "revision": 5, "account_id": "alone", "since": START},
    ],
}  # fmt: skip


def written(folder: Path, kind: str) -> str:
    tables = {name: TABLES[name].to_arrow(rows) for name, rows in ROWS.items()}
    if kind == "duckdb":
        write_tables(folder / "out.duckdb", tables)
        return f"duckdb:///{folder / 'out.duckdb'}"
    add_parquet(folder / "out", "run-1", "batch-1", tables)
    return f"parquet:///{folder / 'out'}"


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_the_newest_names_of_each_window_are_known(tmp_path: Path, kind: str) -> None:
    known = known_ids(["kafka://h:1/t", written(tmp_path, kind)])
    assert known.ids == {
        ms(START): {"a": "c-1", "b": "c-1", "alone": "c-alone"}, ms(LATER): {"a": "c-2"},
    }  # fmt: skip
    assert known.revisions == {ms(START): {"c-1": 12, "c-alone": 5}}
    assert known.requests == {ms(START): 21, ms(LATER): 5}


def test_outputs_that_are_not_there_tell_nothing(tmp_path: Path) -> None:
    uris = [f"duckdb:///{tmp_path / 'no.duckdb'}", f"parquet:///{tmp_path / 'no'}"]
    assert known_ids(uris).ids == {}


def test_what_staff_took_out_of_clusters_holds_until_it_is_taken_back(tmp_path: Path) -> None:
    uris = ["kafka://h:1/t", written(tmp_path, "parquet"), written(tmp_path, "duckdb")]
    assert cannot_links(uris) == ()
    store = DispositionStore(tmp_path / "out.duckdb")
    kept, undone = (
        decide({"cluster_id": "c-1"}, ["a", "b", "c"], "split", by="ana", why="a customer",
               at_ms=at, split_accounts=[who])
        for at, who in ((1, "a"), (2, "b"))
    )  # fmt: skip
    store.append(kept, undone)
    store.withdraw(undone.disposition_id, "ana", "a mistake")
    assert cannot_links(uris) == (
        CannotLink(frozenset("a"), frozenset("bc")),
        CannotLink(frozenset("b"), frozenset("ac"), False),
    )  # fmt: skip
    alone = DispositionStore(tmp_path / "alone.duckdb")  # which has no other table yet
    alone.append(kept)
    assert len(cannot_links([f"duckdb:///{tmp_path / 'alone.duckdb'}"])) == 1
    (tmp_path / "empty.duckdb").touch()
    assert (
        cannot_links([f"duckdb:///{tmp_path / name}" for name in ("no.db", "empty.duckdb")]) == ()
    )


def test_an_output_that_is_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.duckdb").write_text("no database, but some text " * 200)
    with pytest.raises(DistilwatchError, match="cannot be read"):
        known_ids([f"duckdb:///{tmp_path / 'x.duckdb'}"])


def test_what_detect_writes_of_a_profile_is_read_again(tmp_path: Path) -> None:
    sketch = sketch_of(person("a", 1, 20))
    item = AccountProfile("a", ms(START), ms(LATER), sketch)
    nothing = np.empty(0)
    scored = Scored(item, "", 1.0, 0.5, (), nothing, nothing, nothing, nothing, (), "bundle")
    row = profile_row(scored, "run") | {"cluster_id": "c-1"}
    write_tables(
        tmp_path / "x.duckdb", {"session_scores": TABLES["session_scores"].to_arrow([row])}
    )
    known = known_ids([f"duckdb:///{tmp_path / 'x.duckdb'}"])
    assert known.ids == {ms(START): {"a": "c-1"}}
    assert known.requests == {ms(START): 20}
