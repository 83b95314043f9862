"""The whole way into BigQuery: the same tables as in DuckDB, and the same again."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.local.bigquery_emulator import BigQueryEmulator
from schemas.tables import TABLES
from tests.support.bigquery import Dataset, duckdb_rows, new_dataset
from tests.support.commands import result, run
from tests.support.leaks import secrets

pytestmark = pytest.mark.bigquery
DATA = Path(
    os.environ.get("DISTILWATCH_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
WRITTEN = (
    "session_scores", "flagged_clusters", "cluster_members", "dead_letters", "run_health",
    "cluster_evidence", "alerts",
)  # fmt: skip


def plain(value: Any) -> Any:
    """Times in UTC, without which two equal ones may differ in their zone's object."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def in_duckdb(database: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: plain(duckdb_rows(database, name)) for name in TABLES}


def in_bigquery(dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    """Without what BigQuery's own table says of the arrival of rows in it."""
    found = {name: plain(dataset.rows(name)) for name in TABLES}
    found["run_health"] = [r for r in found["run_health"] if r["stage"] != "bigquery"]
    return found


def deliveries(dataset: Dataset) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for row in dataset.rows("run_health"):
        if row["stage"] == "bigquery":
            found.setdefault(row["source"], {})[row["metric"]] = row["value"]
    return found


def both_ways_twice(folder: Path, dataset: Dataset, made: dict[str, Any]) -> None:
    """Trains and detects, twice, into DuckDB and BigQuery; all four must be equal."""
    home, database = folder / "home", folder / "out.duckdb"
    result("train", "--input", folder / "history.jsonl", "--bundle", folder / "bundle", home=home)
    detect = (
        "detect", "--input", folder / "live.jsonl", "--bundle", folder / "bundle",
        "--output", f"duckdb:///{database}", "--output", dataset.uri,
    )  # fmt: skip
    first = result(*detect, home=home)
    expected = in_duckdb(database)
    assert {name for name, rows in expected.items() if rows} == set(WRITTEN)
    assert in_bigquery(dataset) == expected
    health = {r["metric"]: r["value"] for r in expected["run_health"]}
    assert health["read"] == made["live_records"]
    for name in set(WRITTEN) - {"run_health", "alerts"}:  # of alerts the book keeps account
        rows = len(expected[name])
        assert deliveries(dataset)[name] == {"sent": rows, "arrived": rows, "not_taken": 0}
    [delivered] = first["delivered"].values()
    assert delivered["sent"] == delivered["arrived"] > 0

    again = result(*detect, home=home)
    assert again["delivered"] == first["delivered"]
    assert in_duckdb(database) == expected
    assert in_bigquery(dataset) == expected
    assert dataset.tables() == set(TABLES)  # nothing passing stays behind
    wanted = {s for name in ("live", "history") for s in secrets(folder / f"{name}.jsonl")}
    assert len(wanted) > 300
    for name, rows in in_bigquery(dataset).items():
        text = repr(rows).encode()
        assert not [secret for secret in wanted if secret in text], name


@pytest.mark.slow
def test_simulated_traffic_into_duckdb_and_bigquery_twice(
    bigquery: BigQueryEmulator, tmp_path: Path
) -> None:
    made = result(
        "simulate", "--out", tmp_path / "live.jsonl", "--history", tmp_path / "history.jsonl",
        "--labels", tmp_path / "labels.jsonl", "--accounts", 200, "--events", 14_000,
        "--days", 8, "--history-days", 5, "--mutate", 0.05,
        "--attack", "hydra-disjoint:m=12,rate=46,links=1", "--attack", "bulk:rate=600",
        home=tmp_path / "home",
    )  # fmt: skip
    both_ways_twice(tmp_path, new_dataset(bigquery), made)


@pytest.mark.slow
@pytest.mark.corpora
@pytest.mark.skipif(
    not (DATA / "prompts").is_dir(), reason="no corpora: set DISTILWATCH_DATA to their folder"
)
def test_composed_corpora_into_duckdb_and_bigquery_twice(
    bigquery: BigQueryEmulator, tmp_path: Path
) -> None:
    made = result(
        "simulate", "--corpus", DATA / "prompts", "--traces", DATA / "traces",
        "--accounts", 250, "--events", 24_000, "--days", 8, "--history-days", 5, "--mutate", 0.05,
        "--attack", "hydra-disjoint:m=12,rate=46,links=1", "--attack", "evol", "--attack", "relay",
        "--out", tmp_path / "live.jsonl", "--history", tmp_path / "history.jsonl",
        "--labels", tmp_path / "labels.jsonl", home=tmp_path / "home",
    )  # fmt: skip
    both_ways_twice(tmp_path, new_dataset(bigquery), made)


def test_what_is_missing_is_told_before_anything_starts(
    bigquery: BigQueryEmulator, tmp_path: Path
) -> None:
    uri = f"bigquery://{bigquery.project}/nowhere?endpoint=http://{bigquery.rest}"
    done = run(
        "detect", "--input", tmp_path / "none.jsonl", "--bundle", tmp_path, "--output", uri,
        home=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert f"there is no dataset {bigquery.project}.nowhere" in said
    assert f"bq --location=EU mk --dataset {bigquery.project}:nowhere" in said
