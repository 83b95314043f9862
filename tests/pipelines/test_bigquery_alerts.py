"""Alerts live, and are told, from tables in BigQuery as from a file."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.bigquery_emulator import BigQueryEmulator
from pipelines.config import Config, load_config
from pipelines.console import Console
from pipelines.decisions import decide_cluster
from pipelines.fetched import at_hand
from pipelines.newest import InBigQuery, newest_clusters
from pipelines.oncall import rules_of
from pipelines.policy_trial import NEEDED, Trial, try_policy
from pipelines.telling import Told, messages, replay_dead, tell, tell_until_stopped
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from tests.support.bigquery import Dataset, duckdb_rows, new_dataset
from tests.support.receivers import (
    HOOK_SECRET,
    Answer,
    Receiver,
    heard,
    hook_file,
    receiver,
    signed,
)
from tests.support.views import ROWS
from transforms.alerts.outbox import Replayed
from transforms.alerts.paging import PACKAGED, Policy
from transforms.alerts.part import read_part
from transforms.bigquery.uri import BigQueryUri
from transforms.sinks.bigquery.write import BigQuerySink
from transforms.sinks.duckdb import write_tables

pytestmark = pytest.mark.bigquery
_MADE = ("flagged_clusters", "cluster_members", "session_scores", "run_health")


@pytest.fixture
def dataset(bigquery: BigQueryEmulator) -> Dataset:
    """What `detect` wrote, and nobody was told of."""
    dataset = new_dataset(bigquery)
    BigQuerySink(dataset.uri, "r1").write({n: TABLES[n].to_arrow(ROWS[n]) for n in _MADE})
    return dataset


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The same in a file."""
    path = tmp_path / "out.duckdb"
    write_tables(path, {n: TABLES[n].to_arrow(ROWS[n]) for n in _MADE})
    return path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("HOOK_SECRET", HOOK_SECRET)
    with receiver(signed) as server:
        yield server


def settings(folder: Path, server: Receiver, book: str = "book") -> Config:
    folder.mkdir(parents=True, exist_ok=True)
    alerts = {"channels": str(hook_file(folder, server)), "book": str(folder / book)}
    path = folder / f"{book}.yaml"
    path.write_text(yaml.safe_dump({"alerts": alerts, "bigquery": {"commit_every": "10 s"}}))
    return load_config(path)


def told(output: str, config: Config) -> Told:
    with Console(True) as console:
        return tell(output, config, console)


def alerts(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return sorted(
        tuple(str(row[n]) for n in ("cluster_id", "step", "state", "severity", "policy"))
        for row in rows
    )


def test_what_is_told_is_the_same_and_told_once(
    dataset: Dataset, database: Path, server: Receiver, tmp_path: Path
) -> None:
    config = settings(tmp_path / "there", server)
    with receiver(signed) as other:
        local = settings(tmp_path / "here", other)
        assert told(f"duckdb:///{database}", local).steps == told(dataset.uri, config).steps
        assert sorted(heard(server)) == sorted(heard(other))
    assert heard(server)
    assert alerts(dataset.rows("alerts")) == alerts(duckdb_rows(database, "alerts"))
    sent = len(heard(server))
    assert told(dataset.uri, config).steps == {}
    # On another machine, or after the book was lost, the table says what was told.
    assert told(dataset.uri, settings(tmp_path / "there", server, "another")).steps == {}
    assert len(heard(server)) == sent

    decide_cluster(dataset.uri, "c-1", "dismiss", "a load test", by="ann")
    assert told(dataset.uri, config).steps == {"resolved": 1}
    assert heard(server)[sent:] == [("resolved", "c-1")]


def test_what_could_not_be_sent_waits_in_the_book(
    dataset: Dataset, server: Receiver, tmp_path: Path
) -> None:
    config = settings(tmp_path, server)
    server.script += [Answer(410)] * 9
    dead = told(dataset.uri, config).dead
    assert dead
    assert len(messages(dataset.uri, config, ["dead"])) == dead
    server.script.clear()
    assert replay_dead(dataset.uri, config, []) == Replayed(dead, 0)
    assert told(dataset.uri, config).sent == dead


def test_without_a_book_it_says_which_setting_names_one(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(None)
    for ask in (lambda: told(dataset.uri, config), lambda: messages(dataset.uri, config, [])):
        with pytest.raises(DistilwatchError) as caught:
            ask()
        assert "alerts.book" in caught.value.mend
        assert "--config" in caught.value.mend


def test_it_goes_on_and_obeys_decisions_until_it_is_stopped(
    dataset: Dataset, server: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()

    @contextmanager
    def stopped() -> Iterator[threading.Event]:
        yield stop

    monkeypatch.setattr("pipelines.telling.stopped_by_signals", stopped)
    config, found = settings(tmp_path, server), list[Told]()

    def watch() -> None:
        with Console(True) as console:
            found.append(tell_until_stopped(dataset.uri, config, console))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        wait_for(lambda: any(step == "opened" for step, _ in heard(server)))
        decide_cluster(dataset.uri, "c-1", "dismiss", "a load test", by="ann")
        wait_for(lambda: ("resolved", "c-1") in heard(server))
        # A cluster that comes later is told of as well.
        newer = ROWS["flagged_clusters"][0] | {
            "cluster_id": "c-9", "severity": "high", "account_count": 4,
        }  # fmt: skip
        BigQuerySink(dataset.uri, "r2").write_table(
            "flagged_clusters", TABLES["flagged_clusters"].to_arrow([newer])
        )
        wait_for(lambda: ("opened", "c-9") in heard(server))
    finally:
        stop.set()
        thread.join(120)
    assert found[0].steps["resolved"] == 1


def wait_for(true: Any, seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_tables_that_did_not_change_are_not_asked_again(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an emulator cannot show, as its tables do not tell of changes: a query costs money."""
    tables = newest_clusters(dataset.uri, load_config(None))
    assert isinstance(tables, InBigQuery)
    monkeypatch.setattr(BigQueryUri, "emulated", False)
    state = ["monday"]
    monkeypatch.setattr(tables, "_state", lambda _: tuple(state))
    first = tables.news()
    assert first is not None
    assert {row["cluster_id"] for row in first.clusters} == {
        row["cluster_id"] for row in ROWS["flagged_clusters"]
    }
    assert tables.news() is not None  # whoever looked at it may have failed
    tables.taken()
    assert tables.news() is None
    state[:] = ["tuesday"]
    assert tables.news() is not None


def test_a_policy_is_tried_on_the_past_of_a_dataset(
    dataset: Dataset, database: Path, tmp_path: Path
) -> None:
    config = load_config(None)
    rules, policy = rules_of(config.alerts), read_part(PACKAGED / "campaign.yaml", Policy)
    policy = policy.model_copy(update={"makes": "nothing"})
    decide_cluster(dataset.uri, "c-3", "dismiss", "ours", by="ann")
    decide_cluster(f"duckdb:///{database}", "c-3", "dismiss", "ours", by="ann")

    def tried(output: str) -> Trial:
        with at_hand(output, config, NEEDED) as path:
            return try_policy(path, policy, rules.policies, rules.allowlist, rules.growth, 30)

    there = tried(dataset.uri)
    assert there == tried(f"duckdb:///{database}")
    assert there.changes()[1]
    assert dataset.tables() == set(TABLES)  # nothing was written
