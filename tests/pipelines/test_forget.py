"""One account is forgotten everywhere, for good, and nothing else changes."""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.local.bigquery_emulator import BigQueryEmulator
from pipelines.forget import Forgot
from pipelines.tables import connect
from schemas.mention import mention
from schemas.tables import TABLES
from tests.pipelines.conftest import SmallRun
from tests.support.bigquery import client_of, make_tables
from tests.support.commands import result, run
from tests.support.leaks import every_text, leaks
from tests.support.triage import client_of as client_of_pages
from tests.support.triage import send_decision
from tests.support.views import DAY, ROWS, T0
from transforms.alerts.book import Book, Known
from transforms.alerts.life import Alert, Observation
from transforms.embedding.space import AXES
from transforms.ingest.sealing import LetterKeys
from transforms.scoring.bundle import load_bundle, save_bundle
from transforms.scoring.past import Excuses, Past, _hashes
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
_BY_ANN = {"decision": "watch", "decided_by": "ann", "decided_at": 1780272000000}
WORLD["dispositions"] += [
    _BY_ANN | {"cluster_id": "c-9"},
    _BY_ANN | {"cluster_id": "c-2", "reason": f"{ACCOUNT} called"},
    _BY_ANN | {"cluster_id": "c-1", "decision": "split", "decided_at": T0 + 2 * DAY,
               "accounts": ["a1", ACCOUNT, "a4"], "split_accounts": [ACCOUNT],
               "reason": f"{ACCOUNT}9 is another"},
    _BY_ANN | {"cluster_id": "c-3", "decision": "merge", "merged_clusters": ["c-9", "c-2"]},
]  # fmt: skip
WORLD["sightings"].append(ROWS["sightings"][0] | {"sighting_id": "x2", "account_id": ACCOUNT})
WORLD["alerts"] += [
    ROWS["alerts"][0] | {"alert_id": "l-9", "cluster_id": "c-9"},
    ROWS["alerts"][0] | {"revision": 3, "step": "acknowledged", "reason": f"ann: {ACCOUNT} rang"},
]
WORLD["flagged_clusters"].append(
    ROWS["flagged_clusters"][3] | {"cluster_id": "c-8", "merged_into": "c-9"}
)
WORLD["cluster_evidence"] = [
    {"cluster_id": name, "window_start": T0, "revision": 100, "account_count": n}
    for name, n in (("c-1", 3), ("c-9", 1))
]
KEYS = "bGV0dGVycyBvZiBhIHRlc3QsIDMyIGJ5dGVzIGxvbmcuLi4u"
RECORDS = (
    json.dumps({"account_id": ACCOUNT, "event_time": "yesterday"}).encode(),
    f'{{"account_id": "{ACCOUNT}'.encode(),  # cut off
    f'{{"account_id": "{ACCOUNT}-2", "event_time": "never"}}'.encode(),  # somebody else
    b"\x00\x00\x00\x00\x07\x20" + ACCOUNT.encode() + b"\x00",  # Avro
    b"neither",
)
WORLD["dead_letters"] = [
    {"source": "a topic", "partition": 1, "offset": n, "reason": "not_json", "event_time": T0,
     "raw_sha256": f"{n:064x}", "raw_bytes": len(record),
     "raw": LetterKeys((base64.b64decode(KEYS),)).seal(record, ("a topic", 1, n))}
    for n, record in enumerate(RECORDS)
]  # fmt: skip


def arrow() -> dict[str, Any]:
    return {name: TABLES[name].to_arrow(rows) for name, rows in WORLD.items()}


# As a word of its own: the one of `a-person-to-forget-2` is somebody else.
NAMED = re.compile(mention(ACCOUNT).encode(), re.ASCII)


def rows_of(path: Path, table: str, *what: str, tail: str = "") -> list[tuple[Any, ...]]:
    with connect(path) as connection:
        found = connection.execute(f"SELECT {', '.join(what)} FROM {table} {tail}").fetchall()
        return [tuple(row) for row in found]


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with connect(path) as connection:
        return {n: connection.execute(f"SELECT * FROM {n} ORDER BY ALL").fetchall() for n in TABLES}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
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
        with Book(path.with_name(f"{path.name}.alerts")) as book, book.writing():
            for name, accounts in (("c-1", ["a1", ACCOUNT]), ("c-9", [ACCOUNT])):
                book.keep(name, Known(Alert(Observation(name, T0, 100, True)), accounts, {}))
            for row in arrow()["alerts"].to_pylist():
                book.add_step(row | {"changed_at": T0})
                book.outbox.post(
                    f"{row['alert_id']}/{row['revision']}", "hook", _notice(row), T0, T0
                )
    monkeypatch.setenv("LETTER_KEYS", KEYS)
    (tmp_path / "settings.yaml").write_text("ingest: {dead_letter_key_env: LETTER_KEYS}\n")
    return database, folder


def _notice(row: dict[str, Any]) -> dict[str, Any]:
    return {"alert_id": row["alert_id"], "reason": row["reason"], "cost": "none"}


def forget(places: tuple[Path, Path], home: Path, *more: object) -> dict[str, Any]:
    uris = [f"duckdb:///{places[0]}", f"parquet:///{places[1]}"]
    outputs = [part for uri in uris for part in ("--output", uri)]
    config = "--config", home.parent / "settings.yaml"
    return result("forget", ACCOUNT, *outputs, *more, *config, home=home)


def test_the_account_is_nowhere_and_all_else_is_as_it_was(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    before = contents(places[0])
    assert contents(places[1]) == before
    dry = forget(places, home, "--dry-run")
    assert dry["dry_run"]
    assert len(dry["removed"]) == 6
    assert contents(places[0]) == before == contents(places[1])
    assert not (home / "forgotten.jsonl").exists()

    done = forget(places, home)
    database, folder = (done["removed"][f"{k}:///{p}"] for k, p in zip(
        ("duckdb", "parquet"), places, strict=True))  # fmt: skip
    assert database == folder
    assert database == {
        "session_scores": 2, "sightings": 1, "dispositions": 4, "flagged_clusters": 2,
        "alerts": 2, "cluster_evidence": 1, "dead_letters": 3, "cluster_members": 2,
    }  # fmt: skip
    # A cluster of one is gone with its alert and message; of the other a reason was emptied.
    books = [done["removed"][f"{path}.alerts"] for path in places]
    assert books == [{"alerts": 3 + 1 + 1 + 1}] * 2
    after = contents(places[0])
    assert contents(places[1]) == after
    for name, rows in before.items():
        gone = [row for row in rows if row not in after[name]]
        assert all(
            ACCOUNT in str(row) or "c-9" in str(row) or name == "dead_letters" for row in gone
        )
    # Decisions stay; what was said of the account does not.
    names = ("cluster_id", "decision", "reason", "accounts", "split_accounts", "merged_clusters")
    said = rows_of(places[0], "dispositions", *names)
    assert ("c-2", "watch", None, [], [], []) in said
    assert ("c-1", "split", f"{ACCOUNT}9 is another", ["a1", "a4"], [], []) in said
    assert ("c-3", "merge", None, [], [], ["c-2"]) in said
    assert ("l-1", 3, None) in rows_of(places[0], "alerts", "alert_id", "revision", "reason")
    assert ("c-8", None) in rows_of(places[0], "flagged_clusters", "cluster_id", "merged_into")
    letters = rows_of(places[0], "dead_letters", "raw IS NULL", tail='ORDER BY "offset"')
    assert [empty for (empty,) in letters] == [True, True, False, True, False]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert not [p for p, text in every_text(path) if NAMED.search(text)], path

    assert forget(places, home)["removed"] == {}
    notes = [json.loads(line) for line in (home / "forgotten.jsonl").read_text().splitlines()]
    assert [note["action"] for note in notes] == ["forget", "forget"]
    assert notes[1]["removed"] == done["removed"]


def test_sealed_letters_need_their_key_or_are_emptied(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    uri = f"duckdb:///{places[0]}"
    done = run("forget", ACCOUNT, "--output", uri, home=tmp_path / "home", check=False)
    assert done.returncode == 2
    assert "5 dead letters hold sealed records" in done.stderr
    assert "--empty-letters" in done.stderr
    removed = result(
        "forget", ACCOUNT, "--output", uri, "--empty-letters", home=tmp_path / "home"
    )["removed"]  # fmt: skip
    assert removed[uri]["dead_letters"] == 5
    assert rows_of(places[0], "dead_letters", "count(*)", "count(raw)") == [(5, 0)]


def test_rows_that_stay_and_are_emptied_are_not_called_removed() -> None:
    done = Forgot({"duckdb:///out.duckdb": {"dead_letters": 3}, "bundle": {"pasts": 1}})
    assert done.lines()[:2] == [
        "duckdb:///out.duckdb: 3 of dead_letters removed or emptied.",
        "bundle: 1 of pasts removed.",
    ]


def test_an_allowlist_that_names_the_account_is_told_of(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    allow = tmp_path / "allow.yaml"
    allow.write_text(
        f"allow: [{{name: tests, kind: other, owner: ann, reason: our own, expires: 2099-01-01, "
        f"accounts: [{ACCOUNT}]}}]\n"
    )
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"{settings.read_text()}alerts: {{allow: '{allow}'}}\n")
    assert f"take it out of {allow} (tests)" in forget(places, tmp_path / "home")["next"]


def test_spools_that_are_not_beside_an_output_are_found(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    beside = places[0].with_name(f"{places[0].name}.spool")
    elsewhere = tmp_path / "flink"
    beside.rename(elsewhere)
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"{settings.read_text()}flink: {{spool: '{elsewhere}'}}\n")
    removed = forget(places, tmp_path / "home")["removed"]
    assert removed[str(elsewhere)]["cluster_members"] == 2
    assert not leaks(elsewhere, [f'"{ACCOUNT}"'.encode(), f"'{ACCOUNT}'".encode()])[0]


def test_a_run_that_goes_on_is_to_be_stopped_first(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    spool = Spool(places[0].with_name(f"{places[0].name}.spool"))
    before = contents(places[0])
    with spool.locked():
        done = run(
            "forget", ACCOUNT, "--output", f"duckdb:///{places[0]}", "--config",
            tmp_path / "settings.yaml", home=tmp_path / "home", check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert "another run is writing" in done.stderr
    assert contents(places[0]) == before
    assert not list((tmp_path / "home").glob("*forgotten*"))


@pytest.fixture
def trained(small_run: SmallRun, tmp_path: Path) -> Path:
    """A copy of the small run's inputs, keys and bundle, to change."""
    shutil.copytree(small_run.home, tmp_path / "home")
    shutil.copytree(small_run.made / "bundle", tmp_path / "bundle")
    shutil.copy(small_run.inputs / "live.jsonl", tmp_path)
    return tmp_path


@pytest.mark.slow
def test_old_input_does_not_bring_it_back_unless_that_is_asked_for(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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

    before = detect()["health"]
    monkeypatch.setenv("DISTILWATCH_HOME", str(home))
    with connect(out) as connection:
        keys = [k for (k,) in connection.execute(
            "SELECT key FROM session_scores WHERE level = 'profile' ORDER BY request_count DESC"
        ).fetchall()]  # fmt: skip
    account = keys[0]
    save_bundle(with_pasts_of(load_bundle(trained / "bundle"), keys), trained / "bundle")
    bundle = load_bundle(trained / "bundle")
    with connect(out) as connection:
        [(events,)] = connection.execute(
            "SELECT sum(request_count) FROM session_scores WHERE level = 'profile' AND key = ?",
            [account],
        ).fetchall()
    removed = result(
        "forget", account, "--output", uri, "--bundle", trained / "bundle", home=home
    )["removed"]  # fmt: skip
    assert removed[uri]["session_scores"] > 0
    assert removed[str(trained / "bundle")] == {"pasts": 1, "pasts of groups": 1}
    again = load_bundle(trained / "bundle")
    assert again.version != bundle.version
    assert (again.past.find([account]) < 0).all()
    others = [k for k in keys if k != account]
    assert (again.past.find(others) >= 0).all()
    assert (again.groups.find(others) >= 0).all()

    health = detect()["health"]
    assert rows_of(account) == 0
    assert health["refused_forgotten"] >= events > 0  # repeats are among the refused
    assert health["scored"] == before["scored"] - events
    assert health["read"] == health["scored"] + health["refused"] + health.get("duplicate", 0)
    result("forget", account, "--undo", home=home)
    detect()
    assert rows_of(account) > 0


@pytest.mark.slow
def test_of_a_folder_of_bundles_all_forget(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(trained / "home"))
    models, account = trained / "models", "somebody"
    for name in ("first", "second"):
        save_bundle(with_pasts_of(load_bundle(trained / "bundle"), [account]), models / name)
    (models / "current").write_text("second\n")
    args = ["forget", account, "--bundle", models]
    removed = result(*args, home=trained / "home")["removed"]
    assert set(removed) == {str(models / "first"), str(models / "second")}
    assert result(*args, home=trained / "home")["removed"] == {}


def with_pasts_of(bundle: Any, accounts: list[str]) -> Any:
    """A history this small says nothing of what lasts, and leaves no pasts."""
    hashes, n = np.sort(_hashes(accounts)), len(accounts)
    past = Past(
        hashes, np.zeros((n, 0), np.float16), np.ones(n, np.int64), np.zeros((n, AXES), np.int8)
    )
    return replace(bundle, past=past, groups=Excuses(hashes, np.zeros((n, 3), np.float16)))


@pytest.mark.slow
def test_no_file_of_a_run_names_it_any_more(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables, bundle, book of alerts, audit log and keys of a run that people have worked with."""
    made, home = tmp_path / "made", tmp_path / "home"
    monkeypatch.setenv("DISTILWATCH_HOME", str(home))
    shutil.copytree(small_run.made, made)
    shutil.copytree(small_run.home, home)
    (made / "log.txt").unlink()  # what a terminal showed is the terminal's
    uris = [f"duckdb:///{made / 'out.duckdb'}", f"parquet:///{made / 'tables'}"]
    [cluster, account] = rows_of(
        made / "out.duckdb", "cluster_members", "cluster_id", "max(account_id)"
        " FILTER (account_id NOT IN (SELECT account_id FROM cluster_members"
        " GROUP BY ALL HAVING count(DISTINCT cluster_id) > 1)) AS account",
        tail="GROUP BY ALL HAVING count(DISTINCT account_id) > 3 AND account IS NOT NULL",
    )[0]  # fmt: skip
    result(
        "alerts", "decide", cluster, "--as", "split", "--accounts", account, "--why",
        f"{account} is a friend", "--output", uris[0], home=home,
    )  # fmt: skip
    client = client_of_pages(made / "out.duckdb")
    assert account in client.get(f"/case/{cluster}").text
    assert send_decision(client, cluster, "watch", why=f"ask {account}").status_code == 303
    save_bundle(with_pasts_of(load_bundle(made / "bundle"), [account]), made / "bundle")

    def naming() -> set[str]:
        named = re.compile(mention(account).encode(), re.ASCII)
        return {
            path.relative_to(tmp_path).parts[1].removesuffix(".wal")
            for path in tmp_path.rglob("*")
            if path.is_file() and any(named.search(text) for _, text in every_text(path))
        }

    before = naming()
    assert {"out.duckdb", "tables", "out.duckdb.alerts", "report.html"} <= before
    outputs = [part for uri in uris for part in ("--output", uri)]
    done = result("forget", account, *outputs, "--bundle", made / "bundle", home=home)
    assert set(done["removed"]) == {*uris, str(made / "bundle"), str(made / "out.duckdb.alerts")}
    # Pages that were written before are to be written anew, as the command says.
    assert done["next"] == ["write reports anew that tell of it"]
    assert naming() == {"report.html"}
    run("report", "--output", uris[0], "--html", made / "report.html", home=home)
    assert naming() == set()
    assert client.get(f"/case/{cluster}").status_code == 200


@pytest.mark.bigquery
def test_bigquery_forgets_what_duckdb_forgets(
    bigquery: BigQueryEmulator, places: tuple[Path, Path], tmp_path: Path
) -> None:
    home, dataset = tmp_path / "home", "forget"
    with client_of(bigquery) as client:
        make_tables(client, dataset, arrow())
        uri = f"bigquery://{client.project}/{dataset}?endpoint=http://{bigquery.rest}"
        config = "--config", tmp_path / "settings.yaml"
        # What a run that was killed has staged; a table of others may have nearly such a name.
        crashed, theirs = f"staging_session_scores_{'a' * 16}", "staging_session_scores_theirs"
        for name in (crashed, theirs):
            client.query_and_wait(
                f"CREATE TABLE `{dataset}.{name}` AS SELECT * FROM `{dataset}.session_scores`"
            )
        dry = result("forget", ACCOUNT, "--output", uri, "--dry-run", *config, home=home)["removed"]
        database = f"duckdb:///{places[0]}"
        assert crashed in {table.table_id for table in client.list_tables(dataset)}
        removed = result(
            "forget", ACCOUNT, "--output", uri, "--output", database, *config, home=home
        )
        left_there = {table.table_id for table in client.list_tables(dataset)}
        assert left_there == {*TABLES, theirs}
        place = f"bigquery://{client.project}/{dataset}"
        assert removed["removed"][place] == removed["removed"][database] == dry[place]
        for name, rows in contents(places[0]).items():
            found = client.query_and_wait(f"SELECT COUNT(*) FROM `{dataset}.{name}`")
            assert [row[0] for row in found] == [len(rows)], name
            left = client.query_and_wait(f"SELECT * FROM `{dataset}.{name}`")
            assert not NAMED.search(repr([row.values() for row in left]).encode()), name
        again = result("forget", ACCOUNT, "--output", uri, *config, home=home)
        assert again["removed"] == {}
