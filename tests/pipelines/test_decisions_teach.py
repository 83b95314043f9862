"""What people decided about what detect found reaches the next bundle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.conftest import SmallRun
from tests.support.commands import query, result
from transforms.scoring.bundle import load_bundle

pytestmark = pytest.mark.slow


def largest(database: Path) -> list[tuple[str, list[str]]]:
    """Clusters and their accounts, largest first."""
    return query(
        database,
        "SELECT cluster_id, list(account_id ORDER BY account_id) FROM cluster_members "
        "JOIN current_clusters USING (cluster_id, revision) GROUP BY ALL "
        "ORDER BY count(*) DESC, cluster_id",
    )


def test_the_confirmed_leave_the_history_and_the_dismissed_calibrate(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The traffic in which the campaign was found is the next history, as it is in real life."""
    monkeypatch.setenv("DISTILWATCH_HOME", str(small_run.home))
    database, live = tmp_path / "out.duckdb", small_run.inputs / "live.jsonl"
    shutil.copy(small_run.database, database)
    tables = f"duckdb:///{database}"
    clusters = largest(database)
    campaign, members = clusters[0]
    assert len(members) >= 8
    benign, dismissed = clusters[-1]

    def say(*arguments: object) -> dict[str, Any]:
        return result(*arguments, home=small_run.home)

    for name, verdict in ((campaign, "confirm"), (benign, "dismiss")):
        say("alerts", "decide", name, "--as", verdict, "--why", "looked at", "--output", tables)
    told = {
        kind: say("train", "--input", live, "--bundle", tmp_path / kind, *more)
        for kind, more in (("naive", ()), ("taught", ("--dispositions", tables)))
    }
    assert (told["taught"]["left_out"], told["taught"]["benign"]) == (len(members), len(dismissed))
    naive, taught = (load_bundle(tmp_path / kind) for kind in ("naive", "taught"))
    assert taught.training["decisions"] == {"left_out": len(members), "benign": len(dismissed)}
    assert naive.training["accounts"] - taught.training["accounts"] >= len(members)
