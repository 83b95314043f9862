"""Events out of BigQuery: the same results as from a file, and the price told before."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.cloud import bigquery as api

from infra.local.bigquery_emulator import BigQueryEmulator
from schemas.events import EVENT_FIELDS
from tests.support.bigquery import Dataset, duckdb_rows, new_dataset
from tests.support.commands import result, run
from tests.support.faulty_proxy import FaultyProxy, bytes_to_read

pytestmark = [pytest.mark.bigquery, pytest.mark.slow]
_KINDS = {
    "string": ("STRING", "NULLABLE"), "integer": ("INT64", "NULLABLE"),
    "number": ("FLOAT64", "NULLABLE"), "time": ("TIMESTAMP", "NULLABLE"),
    "vector": ("FLOAT64", "REPEATED"), "strings": ("STRING", "REPEATED"),
}  # fmt: skip
_JOBS = r"/bigquery/v2/projects/[^/]+/jobs"


@dataclass(frozen=True)
class Past:
    """A simulated history and live traffic, in files and in tables with the same rows."""

    folder: Path
    dataset: Dataset

    def uri(self, table: str, rest: str | None = None, **options: str) -> str:
        address = self.dataset.at(rest or self.dataset.emulator.rest).replace("?", f"/{table}?")
        return address + "".join(f"&{name}={value}" for name, value in options.items())


@pytest.fixture(scope="module")
def past(bigquery: BigQueryEmulator, tmp_path_factory: pytest.TempPathFactory) -> Past:
    folder, dataset = tmp_path_factory.mktemp("past"), new_dataset(bigquery)
    result(
        "simulate", "--out", folder / "live.jsonl", "--history", folder / "history.jsonl",
        "--labels", folder / "labels.jsonl", "--accounts", 100, "--events", 3_000,
        "--days", 7, "--history-days", 4, "--attack", "bulk:rate=200", "--mutate", 0,
        home=folder / "home",
    )  # fmt: skip
    for name in ("history", "live"):
        events = [json.loads(line) for line in (folder / f"{name}.jsonl").open()]
        _load(dataset, name, events)
    return Past(folder, dataset)


def _row(event: dict[str, Any]) -> dict[str, Any]:
    """An event as a row: times as BigQuery writes them."""
    row = {}
    for field in EVENT_FIELDS:
        value = event.get(field.name)
        if field.kind == "time" and isinstance(value, int):
            value = datetime.fromtimestamp(value / 1000, UTC).isoformat()
        if value is not None:
            row[field.name] = value
    return row


def _load(dataset: Dataset, name: str, events: list[dict[str, Any]]) -> None:
    """Puts events into a table of the layout of docs/bigquery.md, and a column that is none's."""
    schema = [api.SchemaField(f.name, *_KINDS[f.kind]) for f in EVENT_FIELDS]
    table = api.Table(
        f"{dataset.emulator.project}.{dataset.name}.{name}",
        schema=[*schema, api.SchemaField("answer_text", "STRING")],
    )
    table.time_partitioning = api.TimePartitioning(field="event_time")
    dataset.client.create_table(table)
    lines = [json.dumps(_row(event) | {"answer_text": "secret"}) for event in events]
    config = api.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=table.schema)
    file = io.BytesIO("\n".join(lines).encode())
    dataset.client.load_table_from_file(file, table.reference, job_config=config).result()


@pytest.fixture(scope="module")
def bundle(past: Past) -> Path:
    folder = past.folder / "bundle"
    trained = result(
        "train", "--input", past.uri("history"), "--bundle", folder, home=past.folder / "home"
    )
    [(events,)] = past.dataset.query("SELECT count(*) FROM {d}.history")
    assert trained["events"] == events
    return folder


def _found(database: Path) -> dict[str, list[dict[str, Any]]]:
    names = ("session_scores", "flagged_clusters", "cluster_members", "run_health")
    found = {name: duckdb_rows(database, name) for name in names}
    for rows in found.values():
        for row in rows:
            del row["run_id"]
    return found


@pytest.mark.parametrize("how", ["storage_read", "query"])
def test_events_of_a_table_give_what_those_of_a_file_give(
    past: Past, bundle: Path, tmp_path: Path, how: str
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"bigquery:\n  read_with: {how}\n")
    found = []
    for name, source in (("table", past.uri("live")), ("file", past.folder / "live.jsonl")):
        database = tmp_path / f"{name}.duckdb"
        result(
            "detect", "--input", source, "--bundle", bundle, "--config", settings,
            "--output", f"duckdb:///{database}", home=past.folder / "home",
        )  # fmt: skip
        found.append(_found(database))
    assert found[0] == found[1]
    assert found[0]["session_scores"]


@pytest.fixture
def proxy(bigquery: BigQueryEmulator) -> Iterator[FaultyProxy]:
    with FaultyProxy(bigquery.rest) as proxy:
        yield proxy


def test_what_costs_too_much_does_not_start(
    past: Past, bundle: Path, proxy: FaultyProxy, tmp_path: Path
) -> None:
    proxy.fail("POST", _JOBS, change=bytes_to_read(30 * 2**40))
    done = run(
        "detect", "--input", past.uri("live", proxy.address), "--bundle", bundle,
        "--output", f"duckdb:///{tmp_path}/out.duckdb", home=past.folder / "home", check=False,
    )  # fmt: skip
    said = " ".join(done.stderr.split())
    assert done.returncode == 2
    assert "reading would cost about 33.00 USD, and 25.00 are allowed" in said
    assert "bigquery.max_cost_usd" in said
    assert not (tmp_path / "out.duckdb").exists()
    # A dry run, of the columns of the event alone, is all that was asked.
    [body] = [json.loads(b) for m, p, b in proxy.bodies if m == "POST" and p.endswith("/jobs")]
    assert body["configuration"]["dryRun"] is True
    assert "answer_text" not in body["configuration"]["query"]["query"]


def test_training_reads_twice_and_pays_twice(
    past: Past, proxy: FaultyProxy, tmp_path: Path
) -> None:
    proxy.fail("POST", _JOBS, change=bytes_to_read(15 * 2**40))
    done = run(
        "train", "--input", past.uri("history", proxy.address), "--bundle", tmp_path / "bundle",
        home=past.folder / "home", check=False,
    )  # fmt: skip
    assert done.returncode == 2
    place = f"bigquery://{past.dataset.emulator.project}/{past.dataset.name}/history"
    said = " ".join(done.stderr.split())
    assert f"(Reading {place}: 30.00 TiB, about 33.00 USD)" in said


def test_only_the_time_asked_for_is_read(past: Past, bundle: Path, tmp_path: Path) -> None:
    [(first, last)] = past.dataset.query("SELECT min(event_time), max(event_time) FROM {d}.live")
    middle = first + (last - first) / 2
    [(expected,)] = past.dataset.query(
        f"SELECT count(*) FROM {{d}}.live WHERE event_time >= TIMESTAMP '{middle.isoformat()}'"
    )
    at = middle.isoformat().replace("+00:00", "Z")
    found = result(
        "detect", "--input", past.uri("live", start=at), "--bundle", bundle,
        "--output", f"duckdb:///{tmp_path}/out.duckdb", home=past.folder / "home",
    )  # fmt: skip
    assert found["health"]["read"] == expected > 0


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("none", "Not found: table"),
        ("narrow", "the table has no column event_id, event_time, account_id"),
        ("seen", "seen is a view, not a table"),
    ],
)
def test_a_table_without_events_is_told_before_anything_starts(
    past: Past, bundle: Path, tmp_path: Path, table: str, said: str
) -> None:
    past.dataset.query("CREATE TABLE IF NOT EXISTS {d}.narrow (x INT64)")
    past.dataset.query("CREATE VIEW IF NOT EXISTS {d}.seen AS SELECT * FROM {d}.live")
    done = run(
        "detect", "--input", past.uri(table), "--bundle", bundle,
        "--output", f"duckdb:///{tmp_path}/out.duckdb", home=past.folder / "home", check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert said.lower() in " ".join(done.stderr.split()).lower()
