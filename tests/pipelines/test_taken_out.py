"""What people take out of a cluster stays out of it in the next run over the same requests."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.sharing.tables import LocalShared, confirmed
from schemas.errors import DistilwatchError
from tests.pipelines.conftest import SmallRun
from tests.support.commands import query, result

pytestmark = pytest.mark.slow


def clusters(database: Path) -> dict[str, list[str]]:
    """Accounts of each flagged cluster, at its newest revision."""
    return dict(
        query(
            database,
            "SELECT cluster_id, list(account_id ORDER BY account_id) FROM current_clusters "
            "JOIN cluster_members USING (cluster_id, revision) WHERE status <> 'resolved' "
            "GROUP BY ALL",
        )
    )


def test_a_cluster_goes_on_without_what_was_taken_out_until_that_is_taken_back(
    small_run: SmallRun, tmp_path: Path
) -> None:
    database = tmp_path / "out.duckdb"
    shutil.copy(small_run.database, database)
    tables = f"duckdb:///{database}"

    def say(*arguments: object) -> dict[str, Any]:
        return result(*arguments, "--output", tables, home=small_run.home)

    def detect() -> dict[str, list[str]]:
        say(
            "detect", "--input", small_run.inputs / "live.jsonl",
            "--bundle", small_run.made / "bundle", "--run-id", "run-1",
        )  # fmt: skip
        return clusters(database)

    before = clusters(database)
    name, accounts = max(before.items(), key=lambda found: len(found[1]))
    apart, rest = accounts[:2], accounts[2:]
    assert len(rest) >= 5
    say("alerts", "decide", name, "--as", "confirm", "--why", "looked at")
    say(
        "alerts", "decide", name, "--as", "split", "--why", "customers",
        "--accounts", ",".join(apart),
    )  # fmt: skip
    with pytest.raises(DistilwatchError, match="were taken out of"):
        confirmed(LocalShared(database), name)

    now = detect()
    # Who was in it only for what it asked as a whole may fit no more.
    assert {*now[name]} <= {*rest}
    assert len(now[name]) >= len(rest) - 2
    assert not any({*apart} & {*found} and {*rest} & {*found} for found in now.values())
    assert {n: found for n, found in now.items() if not {*found} & {*accounts}} == {
        n: found for n, found in before.items() if n != name
    }
    assert confirmed(LocalShared(database), name).accounts == now[name]
    rows = query(database, "SELECT count(*) FROM flagged_clusters")
    assert detect() == now
    assert query(database, "SELECT count(*) FROM flagged_clusters") == rows

    ((split,),) = query(
        database, "SELECT disposition_id FROM dispositions WHERE decision = 'split'"
    )
    say("alerts", "undo", split, "--why", "a mistake")
    assert detect() == before
