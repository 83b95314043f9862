"""Staff decide on clusters in BigQuery: by command, with effect on alerts, training and views."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from infra.local.bigquery_emulator import BigQueryEmulator
from pipelines.decisions import decisions_in
from pipelines.detect.earlier import cannot_links
from pipelines.oncall import OnCall, plain_rows, rules_of
from pipelines.settings import TablesConfig
from pipelines.upkeep import expire
from schemas.tables import TABLES
from schemas.views import NAMES
from tests.support.bigquery import Dataset, duckdb_rows, new_dataset
from tests.support.commands import result, run
from tests.support.faulty_proxy import FaultyProxy, bytes_to_read
from tests.support.small_world import small_config
from tests.support.views import DAY, ROWS, T0
from transforms.alerts.book import Book
from transforms.alerts.decision_store_bigquery import BigQueryDispositions
from transforms.alerts.dispositions import accounts_of, decide
from transforms.bigquery import parse_bigquery_uri
from transforms.bigquery.client import BigQueryOptions, Connection
from transforms.clusters.cannot_link import CannotLink
from transforms.sinks.bigquery.write import BigQuerySink
from transforms.sinks.duckdb import write_tables

pytestmark = pytest.mark.bigquery
_MADE = ("flagged_clusters", "cluster_members", "session_scores", "run_health", "alerts")


@pytest.fixture
def dataset(bigquery: BigQueryEmulator) -> Dataset:
    dataset = new_dataset(bigquery)
    rows = {name: TABLES[name].to_arrow(ROWS[name]) for name in _MADE}
    BigQuerySink(dataset.uri, "r1").write(rows)
    return dataset


def test_commands_decide_undo_and_list(dataset: Dataset, tmp_path: Path) -> None:
    home, uri = tmp_path / "home", dataset.uri
    made = result(
        "alerts", "decide", "c-3", "--as", "split", "--accounts", "a6", "--why", "it's “ours”",
        "--by", "ann", "--output", uri, home=home,
    )["disposition"]  # fmt: skip
    assert (made["accounts"], made["split_accounts"]) == (["a2", "a6"], ["a6"])
    assert (made["cluster_revision"], made["severity"], made["exposure_usd"]) == (80, "critical", 8)
    confirmed = result(
        "alerts", "decide", "c-1", "--as", "confirm", "--why", "same card", "--output", uri,
        home=home,
    )["disposition"]  # fmt: skip
    assert accounts_of(decisions_in(uri), "confirm") == {"a1", "a3", "a4"}
    [row] = [r for r in dataset.rows("dispositions") if r["cluster_id"] == "c-3"]
    assert row["reason"] == "it's “ours”"
    assert row["split_accounts"] == ["a6"]
    assert cannot_links([uri]) == (CannotLink(frozenset({"a6"}), frozenset({"a2"})),)

    # Views of precision know of it, as they do in DuckDB.
    assert len(result("tables", "views", "--output", uri, home=home)["views"]) == len(NAMES)
    precise = "SELECT flagged, confirmed FROM `{d}.precision_by_policy` WHERE severity = 'high'"
    assert dataset.query(precise) == [(1, 1)]

    name = str(confirmed["disposition_id"])
    result("alerts", "undo", name[:6], "--why", "wrong", "--output", uri, home=home)
    assert accounts_of(decisions_in(uri), "confirm") == set()
    told = result("alerts", "history", "c-1", "--output", uri, home=home)["dispositions"]
    assert [(r["decision"], r["revision"]) for r in told] == [("confirm", 1), ("withdraw", 2)]
    again = run("alerts", "undo", name, "--why", "no", "--output", uri, home=home, check=False)
    assert again.returncode == 2
    assert "taken back already" in again.stderr
    unknown = run("alerts", "history", "c-", "--output", uri, home=home, check=False)
    assert "4 clusters begin with 'c-'" in unknown.stderr


def test_rows_are_added_all_or_none_and_once(dataset: Dataset) -> None:
    store = BigQueryDispositions(Connection(parse_bigquery_uri(dataset.uri)))
    both = [
        decide({"cluster_id": name}, ["a"], "confirm", by="ann", why="seen", at_ms=T0)
        for name in ("c-1", "c-1")
    ]
    kept = store.append(*both)
    assert [row.decided_at for row in kept] == [T0, T0 + 1]
    assert store.append(*kept) == kept
    assert store.rows() == kept
    assert [row.decision for row in store.current()] == ["confirm"]


def test_a_dataset_without_the_table_has_no_decisions_and_gets_it_with_the_first(
    bigquery: BigQueryEmulator,
) -> None:
    from schemas.errors import DistilwatchError

    dataset = new_dataset(bigquery)
    row = decide({"cluster_id": "c-1"}, ["a"], "confirm", by="ann", why="seen", at_ms=T0)
    closed = Connection(parse_bigquery_uri(dataset.uri), BigQueryOptions(create_tables=False))
    with pytest.raises(DistilwatchError, match="the table dispositions does not exist"):
        BigQueryDispositions(closed).append(row)
    store = BigQueryDispositions(Connection(parse_bigquery_uri(dataset.uri)))
    assert store.rows() == []
    assert store.append(row) == [row] == store.rows()
    nowhere = parse_bigquery_uri(dataset.uri.replace(dataset.name, "nowhere"))
    with pytest.raises(DistilwatchError, match="there is no dataset"):
        BigQueryDispositions(Connection(nowhere)).rows()


def test_alerts_of_a_run_into_bigquery_alone(dataset: Dataset, tmp_path: Path) -> None:
    """What people decided there keeps a cluster quiet, steps are told there, and a book that was
    lost is made again from there."""
    config = small_config(alerts__book=str(tmp_path / "book"))
    store = BigQueryDispositions(Connection(parse_bigquery_uri(dataset.uri)))
    store.append(
        decide({"cluster_id": "c-1"}, ["b1", "b2"], "dismiss", by="ann", why="ours", at_ms=T0 + DAY)
    )
    about = {"account_count": 4, "severity": "high"}
    rows = plain_rows(
        TABLES["flagged_clusters"].to_arrow(
            [ROWS["flagged_clusters"][0] | about | {"cluster_id": name} for name in ("c-1", "c-7")]
        )
    )
    accounts = {"c-1": ["b1", "b2"], "c-7": ["b7", "b8"]}
    for book in ("book", "another"):
        with Book(tmp_path / book) as opened:
            desk = OnCall(config, [dataset.uri], opened, rules_of(config.alerts), "r1")
            made = desk.look_at(rows, accounts)
            told = [(row["cluster_id"], row["step"]) for row in made]
            # The table has an open alert of c-1, which is over now that it was dismissed.
            assert sorted(told) == (
                [("c-1", "resolved"), ("c-7", "opened")] if book == "book" else []
            )
    [alert] = [row for row in dataset.rows("alerts") if row["cluster_id"] == "c-7"]
    assert (alert["step"], alert["severity"], alert["run_id"]) == ("opened", "high", "r1")


def test_a_copy_serves_commands_that_read_a_database(dataset: Dataset, tmp_path: Path) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy.duckdb"
    dataset.query("ALTER TABLE `{d}.cluster_members` ADD COLUMN theirs STRING")
    refused = run("explain", "--output", dataset.uri, home=home, check=False)
    assert refused.returncode == 2
    assert "distilwatch tables fetch --output" in " ".join(refused.stderr.split())
    for since, members, how in (
        ("2026-06-03", 2, "query"),
        ("2026-06-03", 2, "storage_read"),
        ("2026-05-01", len(ROWS["cluster_members"]), "storage_read"),
    ):
        settings = tmp_path / f"{how}.yaml"
        settings.write_text(f"bigquery: {{read_with: {how}}}\n")
        done = result(
            "tables", "fetch", "--output", dataset.uri, "--into", copy, "--since", since,
            "--config", settings, home=home,
        )  # fmt: skip
        assert done["rows"]["cluster_members"] == members
        assert set(done["rows"]) == set(TABLES)
    for name in _MADE:
        # Merging rows over again replaces them by key.
        assert _in_millis(duckdb_rows(copy, name)) == _in_millis(dataset.rows(name)), name
    result("explain", "--output", f"duckdb:///{copy}", home=home)
    fetch = ("tables", "fetch", "--output", dataset.uri, "--into", copy)
    wrong = run(*fetch, "--table", "sessions", home=home, check=False)
    assert "there is no table sessions" in wrong.stderr


def _in_millis(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what others have added, and with times as the contract has them."""
    return [
        {
            name: round(value.timestamp() * 1000) if isinstance(value, datetime) else value
            for name, value in row.items()
            if name != "theirs"
        }
        for row in rows
    ]


def test_a_dear_copy_does_not_begin(
    dataset: Dataset, bigquery: BigQueryEmulator, tmp_path: Path
) -> None:
    with FaultyProxy(bigquery.rest) as proxy:
        proxy.fail("POST", r"/bigquery/v2/projects/[^/]+/jobs", change=bytes_to_read(30 * 2**40))
        done = run(
            "tables", "fetch", "--output", dataset.at(proxy.address), "--into",
            tmp_path / "copy.duckdb", home=tmp_path / "home", check=False,
        )  # fmt: skip
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "reading would cost about 33.00 USD, and 25.00 are allowed" in said
    assert not (tmp_path / "copy.duckdb").exists()


def test_dead_letters_are_listed_replayed_and_marked(dataset: Dataset, tmp_path: Path) -> None:
    home, uri = tmp_path / "home", dataset.uri
    events = tmp_path / "events.jsonl"
    event = {"event_id": "e1", "account_id": "a1", "event_time": T0}
    lines = [json.dumps(event | {"input_tokens": tokens}).encode() for tokens in ("many", 7)]
    events.write_bytes(b"\n".join(lines) + b"\n")
    letters = [
        {"source": str(events), "partition": 0, "offset": offset, "reason": "wrong_type",
         "raw_sha256": hashlib.sha256(line).hexdigest(), "raw_bytes": len(line), "event_time": T0}
        for offset, line in zip((0, len(lines[0]) + 1), lines, strict=True)
    ]  # fmt: skip
    BigQuerySink(uri, "r1").write_table("dead_letters", TABLES["dead_letters"].to_arrow(letters))
    listed = result("dlq", "list", "--output", uri, home=home)
    assert [(x["reason"], x["status"]) for x in listed["letters"]] == [("wrong_type", "open")] * 2
    assert result("dlq", "show", listed["letters"][0]["id"], "--output", uri, home=home)
    tried = result("dlq", "replay", "--output", uri, home=home)
    assert (tried["replayed"], tried["still_refused"]) == (1, 1)
    assert dataset.rows("dead_letter_replays") == []
    target = tmp_path / "again.jsonl"
    result("dlq", "replay", "--output", uri, "--to", target, home=home)
    outcomes = [(r["offset"], r["status"]) for r in dataset.rows("dead_letter_replays")]
    assert outcomes == [(0, "still_refused"), (len(lines[0]) + 1, "replayed")]
    assert target.read_bytes().strip() == lines[1]
    again = result("dlq", "list", "--output", uri, "--status", "replayed", home=home)
    assert again["total"] == 1


def test_what_is_old_goes_as_it_does_from_a_database(dataset: Dataset, tmp_path: Path) -> None:
    database = tmp_path / "out.duckdb"
    write_tables(database, {name: TABLES[name].to_arrow(ROWS[name]) for name in _MADE})
    config = TablesConfig(
        keep_scores=f"{DAY} ms", keep_revisions="1 d", keep_clusters="2 d", keep_shared="1 d"
    )
    now = T0 + 3 * DAY + DAY // 2
    removed = [expire(uri, config, now) for uri in (f"duckdb:///{database}", dataset.uri)]
    assert removed[0] == removed[1]
    assert {"session_scores", "flagged_clusters", "cluster_members", "alerts"} <= set(removed[0])
    for name in _MADE:
        key = TABLES[name].key
        here, there = duckdb_rows(database, name), dataset.rows(name)
        assert [[row[k] for k in key] for row in here] == [[row[k] for k in key] for row in there
            if row.get("stage") != "bigquery"]  # fmt: skip
