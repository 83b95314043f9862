"""One account is forgotten everywhere, for good, and nothing else changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipelines.tables import connect
from schemas.tables import TABLES
from tests.support.commands import result, run
from tests.support.leaks import every_text
from tests.support.views import ROWS
from transforms.scoring.bundle import load_bundle
from transforms.sinks.duckdb import write_tables
from transforms.sinks.parquet import add_parquet
from transforms.sinks.spool import Spool
from transforms.sinks.staging import _StageFn

ACCOUNT = "a-person-to-forget"
# Alone in a cluster of its own, one of several in c-1, and named by staff.
WORLD: dict[str, list[dict[str, Any]]] = json.loads(
    json.dumps({k: v for k, v in ROWS.items() if k != "dead_letters"}).replace(
        '"a3"', f'"{ACCOUNT}"'
    )
)
ALONE = ROWS["flagged_clusters"][0] | {"cluster_id": "c-9", "account_count": 1}
WORLD["flagged_clusters"].append(ALONE)
WORLD["cluster_members"].append(
    {"cluster_id": "c-9", "revision": 100, "account_id": ACCOUNT, "since": ALONE["first_seen"]}
)
WORLD["dispositions"] += [
    {"cluster_id": "c-9", "decision": "watch", "decided_by": "ann", "decided_at": 1780272000000},
    {"cluster_id": "c-2", "decision": "watch", "decided_by": "ann", "decided_at": 1780272000000,
     "reason": f"{ACCOUNT} called"},
]  # fmt: skip
WORLD["sightings"].append(ROWS["sightings"][0] | {"sighting_id": "x2", "account_id": ACCOUNT})


def arrow() -> dict[str, Any]:
    return {name: TABLES[name].to_arrow(rows) for name, rows in WORLD.items()}


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with connect(path) as connection:
        return {n: connection.execute(f"SELECT * FROM {n} ORDER BY ALL").fetchall() for n in TABLES}


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A database and a folder of the same rows, each with a spool."""
    database, folder = tmp_path / "out.duckdb", tmp_path / "tables"
    write_tables(database, arrow())
    add_parquet(folder, "r1", "batch-1", arrow())
    add_parquet(folder, "r1", "batch-2", {"cluster_members": arrow()["cluster_members"]})
    for path in (database, folder):
        spool = Spool(path.with_name(f"{path.name}.spool"))
        for name, rows in WORLD.items():
            stage = _StageFn(name, spool.staging)
            stage.start_bundle()
            for row in rows:
                stage.process(row)
            stage.finish_bundle()
    return database, folder


def forget(places: tuple[Path, Path], home: Path, *more: object) -> dict[str, Any]:
    uris = [f"duckdb:///{places[0]}", f"parquet:///{places[1]}"]
    outputs = [part for uri in uris for part in ("--output", uri)]
    return result("forget", ACCOUNT, *outputs, *more, home=home)


def test_the_account_is_nowhere_and_all_else_is_as_it_was(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    before = contents(places[0])
    assert contents(places[1]) == before
    dry = forget(places, home, "--dry-run")
    assert dry["dry_run"]
    assert len(dry["removed"]) == 4
    assert contents(places[0]) == before == contents(places[1])
    assert not (home / "forgotten.jsonl").exists()

    done = forget(places, home)
    database, folder = (done["removed"][f"{k}:///{p}"] for k, p in zip(
        ("duckdb", "parquet"), places, strict=True))  # fmt: skip
    assert database == folder
    assert database == {
        "session_scores": 2, "sightings": 1, "dispositions": 2, "flagged_clusters": 1,
        "cluster_members": 2,
    }  # fmt: skip
    after = contents(places[0])
    assert contents(places[1]) == after
    for name, rows in before.items():
        gone = [row for row in rows if row not in after[name]]
        assert all(ACCOUNT in map(str, row) or "c-9" in row or "called" in str(row) for row in gone)
    # The decision stays; what was said of the account does not.
    assert ("c-2", "watch", "ann", None) in [(*r[:3], r[4]) for r in after["dispositions"]]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert not [place for place, text in every_text(path) if ACCOUNT.encode() in text], path

    assert forget(places, home)["removed"] == {}
    notes = [json.loads(line) for line in (home / "forgotten.jsonl").read_text().splitlines()]
    assert [note["action"] for note in notes] == ["forget", "forget"]
    assert notes[1]["removed"] == done["removed"]


def test_a_run_that_goes_on_is_to_be_stopped_first(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    spool = Spool(places[0].with_name(f"{places[0].name}.spool"))
    with spool.locked():
        done = run(
            "forget", ACCOUNT, "--output", f"duckdb:///{places[0]}", home=tmp_path / "home",
            check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert "another run is writing" in done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("forget")
    home = folder / "home"
    result(
        "simulate", "--out", folder / "live.jsonl", "--history", folder / "history.jsonl",
        "--labels", folder / "labels.jsonl", "--accounts", 80, "--events", 5000,
        "--days", 8, "--history-days", 5, "--attack", "bulk:rate=300", home=home,
    )  # fmt: skip
    result("train", "--input", folder / "history.jsonl", "--bundle", folder / "bundle", home=home)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_old_input_does_not_bring_it_back_unless_that_is_asked_for(trained: Path) -> None:
    home, out = trained / "home", trained / "out.duckdb"
    uri = f"duckdb:///{out}"

    def detect() -> dict[str, Any]:
        return result(
            "detect", "--input", trained / "live.jsonl", "--bundle", trained / "bundle",
            "--output", uri, "--run-id", "run-1", home=home,
        )  # fmt: skip

    def rows_of(account: str) -> int:
        with connect(out) as connection:
            [(n,)] = connection.execute(
                "SELECT count(*) FROM session_scores WHERE key = ?", [account]
            ).fetchall()
        return int(n)

    detect()
    bundle = load_bundle_of(trained, home)
    with connect(out) as connection:
        keys = [k for (k,) in connection.execute(
            "SELECT key FROM session_scores WHERE level = 'profile' ORDER BY request_count DESC"
        ).fetchall()]  # fmt: skip
    account = next(k for k in keys if (bundle.past.find([k]) >= 0).all())
    events = sum(
        orjson.loads(line)["account_id"] == account
        for line in (trained / "live.jsonl").read_bytes().splitlines()
    )
    removed = result(
        "forget", account, "--output", uri, "--bundle", trained / "bundle", home=home
    )["removed"]  # fmt: skip
    assert removed[uri]["session_scores"] > 0
    assert removed[str(trained / "bundle")]["pasts"] == 1
    again = load_bundle_of(trained, home)
    assert again.version != bundle.version
    assert (again.past.find([account]) < 0).all()
    others = [k for k in keys if k != account]
    assert ((again.past.find(others) >= 0) == (bundle.past.find(others) >= 0)).all()

    health = detect()["health"]
    assert rows_of(account) == 0
    assert health["refused_forgotten"] == events
    assert health["read"] == health["scored"] + health["refused"] + health.get("duplicate", 0)
    result("forget", account, "--undo", home=home)
    detect()
    assert rows_of(account) > 0


def load_bundle_of(folder: Path, home: Path) -> Any:
    import os
    from unittest import mock

    with mock.patch.dict(os.environ, {"DISTILWATCH_HOME": str(home)}):
        return replace(load_bundle(folder / "bundle"))
