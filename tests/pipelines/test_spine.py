"""The whole way of an event, run as users run it, on traffic that the project makes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest

from schemas.tables import TABLES
from tests.support.commands import query, result, run, table
from transforms.sharing.coverage import UNIT
from transforms.sharing.evidence import unpack


@dataclass(frozen=True)
class Run:
    """A simulation with 5 % spoilt records, a bundle of its history, and what detect found."""

    folder: Path
    home: Path
    simulated: dict[str, Any]
    detected: dict[str, Any]

    @property
    def database(self) -> Path:
        return self.folder / "out.duckdb"

    def detect(self, live: str, database: str) -> Path:
        """Runs detect once more; the run's name is the same whatever the input's."""
        out = self.folder / database
        result(
            "detect", "--input", self.folder / live, "--bundle", self.folder / "bundle",
            "--output", f"duckdb:///{out}", "--run-id", "run-1", home=self.home,
        )  # fmt: skip
        return out


@pytest.fixture(scope="module")
def spine(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("spine")
    home = folder / "home"
    simulated = result(
        "simulate", "--out", folder / "live.jsonl", "--history", folder / "history.jsonl",
        "--labels", folder / "labels.jsonl", "--accounts", 200, "--events", 14_000,
        "--days", 8, "--history-days", 5, "--mutate", 0.05,
        "--attack", "hydra-disjoint:m=12,rate=46,links=1", "--attack", "bulk:rate=600",
        home=home,
    )  # fmt: skip
    result("train", "--input", folder / "history.jsonl", "--bundle", folder / "bundle", home=home)
    detected = result(
        "detect", "--input", folder / "live.jsonl", "--bundle", folder / "bundle",
        "--output", f"duckdb:///{folder / 'out.duckdb'}",
        "--output", f"parquet:///{folder / 'parquet'}", "--run-id", "run-1", home=home,
    )  # fmt: skip
    return Run(folder, home, simulated, detected)


def test_flagged_clusters_say_what_they_asked_for(spine: Run) -> None:
    found = query(spine.database, "SELECT request_count, capabilities FROM current_clusters")
    assert found
    for requests, capabilities in found:
        assert capabilities
        assert sum(c["share"] for c in capabilities) == pytest.approx(1)
        assert sum(c["requests"] for c in capabilities) <= requests
        for one in capabilities:
            assert one["lift"] > 0
            for name in ("covered", "expected"):
                assert one[name] is None or 0 <= one[name] <= 1
    assert any(c["covered"] for _, capabilities in found for c in capabilities)


def test_every_record_is_scored_refused_or_a_repeat(spine: Run) -> None:
    [(read, scored, refused, duplicate, unaccounted)] = query(
        spine.database,
        "SELECT records_read, scored, refused, duplicate, unaccounted FROM run_balance",
    )
    assert read == spine.simulated["live_records"]
    assert unaccounted == 0
    assert scored > 0
    assert refused > 0
    assert duplicate > 0


def test_every_spoilt_record_is_a_dead_letter_with_its_reason(spine: Run) -> None:
    live = dict(query(spine.database, "SELECT reason, count(*) FROM dead_letters GROUP BY 1"))
    everywhere = spine.simulated["spoilt"]
    assert set(live) == set(everywhere) - {"duplicate"}
    assert all(0 < count <= everywhere[reason] for reason, count in live.items())


def test_spoilt_records_do_not_skew_the_rest(spine: Run) -> None:
    """Only what was accepted, once each, gives the same scores as the spoilt stream."""
    bad = {offset for (offset,) in query(spine.database, 'SELECT "offset" FROM dead_letters')}
    clean, at, seen = spine.folder / "clean.jsonl", 0, set()
    with (spine.folder / "live.jsonl").open("rb") as lines, clean.open("wb") as out:
        for line in lines:
            if at not in bad and line not in seen:
                seen.add(line)
                out.write(line)
            at += len(line)
    again = spine.detect("clean.jsonl", "clean.duckdb")
    for name in ("session_scores", "flagged_clusters", "cluster_members", "cluster_evidence"):
        assert table(again, name) == table(spine.database, name), name


def test_order_of_arrival_changes_nothing(spine: Run) -> None:
    lines = (spine.folder / "live.jsonl").read_bytes().splitlines(keepends=True)
    random.Random(3).shuffle(lines)
    (spine.folder / "shuffled.jsonl").write_bytes(b"".join(lines))
    again = spine.detect("shuffled.jsonl", "shuffled.duckdb")
    names = ("session_scores", "flagged_clusters", "cluster_members", "cluster_evidence")
    for name in (*names, "run_health"):
        assert table(again, name) == table(spine.database, name), name


def test_every_flagged_group_has_evidence_that_others_could_use(spine: Run) -> None:
    rows = query(
        spine.database,
        """SELECT c.account_count, e.account_count, e.coverage, len(e.features), len(e.space),
                  e.things
           FROM flagged_clusters c LEFT JOIN cluster_evidence e USING
             (cluster_id, window_start, revision) WHERE c.account_count > 1""",
    )
    assert rows
    for accounts, gathered, coverage, features, space, things in rows:
        assert gathered == accounts
        assert features > 10
        assert space == 32
        assert all(2 <= t["members"] <= accounts and t["others"] >= 0 for t in things)
        lengths = unpack(coverage) / UNIT
        assert 0 < np.linalg.norm(lengths) <= accounts


def test_a_second_run_changes_nothing(spine: Run) -> None:
    before = {name: table(spine.database, name) for name in TABLES}
    spine.detect("live.jsonl", "out.duckdb")
    assert {name: table(spine.database, name) for name in TABLES} == before


def test_parquet_holds_the_rows_of_duckdb(spine: Run) -> None:
    for name, definition in TABLES.items():
        folder = spine.folder / "parquet" / name
        rows = ds.dataset(folder, schema=definition.arrow()).count_rows() if folder.exists() else 0
        assert rows == len(table(spine.database, name)), name


def test_sessions_add_up_to_the_scored_events(spine: Run) -> None:
    [(scored,)] = query(spine.database, "SELECT scored FROM run_balance")
    for level in ("session_account", "profile"):
        [(events,)] = query(
            spine.database,
            f"SELECT sum(request_count) FROM session_scores WHERE level = '{level}'",
        )
        assert events == scored, level


def test_no_prompt_and_no_payment_fingerprint_leaves_ingest(spine: Run) -> None:
    import orjson

    prompts, fingerprints = set(), set()
    for line in (spine.folder / "live.jsonl").read_bytes().splitlines():
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(event, dict):
            prompts.add(event.get("prompt_text", "")[:60])
            fingerprints.add(event.get("payment_fingerprint", ""))
    written = (
        b"".join(path.read_bytes() for path in (spine.folder / "parquet").rglob("*.parquet"))
        + repr([table(spine.database, name) for name in TABLES]).encode()
    )
    found = [p for p in prompts | fingerprints if len(p) >= 12 and p.encode() in written]
    assert not found


def test_evaluate_prints_the_figures(spine: Run) -> None:
    figures = result(
        "evaluate", "--output", f"duckdb:///{spine.database}",
        "--labels", spine.folder / "labels.jsonl", home=spine.home,
    )  # fmt: skip
    assert 0 <= figures["auroc"] <= 1
    assert set(figures["recall"]) == {"0.001", "0.01"}


def test_a_bundle_changed_by_one_byte_is_refused_and_nothing_is_written(spine: Run) -> None:
    import shutil

    changed = spine.folder / "changed"
    shutil.copytree(spine.folder / "bundle", changed)
    victim = changed / "profile.npz"
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    out = spine.folder / "never.duckdb"
    done = run(
        "detect", "--input", spine.folder / "live.jsonl", "--bundle", changed,
        "--output", f"duckdb:///{out}", home=spine.home, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "profile.npz was changed" in done.stderr
    assert not out.exists()


@pytest.mark.slow
def test_the_demo_ends_with_flagged_clusters_the_truth_and_a_report(tmp_path: Path) -> None:
    done = run("demo", "--dir", tmp_path / "demo", home=tmp_path / "home")
    assert "Flagged clusters" in done.stdout
    assert "The truth" in done.stdout
    assert "campaign-00" in done.stdout
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    clusters = query(tmp_path / "demo" / "out.duckdb", "SELECT cluster_id FROM current_clusters")
    assert clusters
    assert all(cluster in page for (cluster,) in clusters)
