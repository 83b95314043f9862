"""What people decided about what detect found reaches the next bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.labels import read_labels
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


def surprise_at(database: Path, accounts: list[str]) -> float:
    """Mean of -ln p of the accounts' profiles, clusters counted in."""
    ((mean, found),) = query(
        database,
        "SELECT avg(-ln(combined_p_value)), count(DISTINCT key) FROM session_scores "
        f"WHERE level = 'profile' AND key IN ({', '.join(map(repr, accounts))})",
    )
    assert found == len(accounts)
    return float(mean)


def test_the_confirmed_leave_the_history_and_the_dismissed_calibrate(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The traffic in which the campaign was found joins the history, as it does in real life."""
    monkeypatch.setenv("DISTILWATCH_HOME", str(small_run.home))
    database, live = tmp_path / "out.duckdb", small_run.inputs / "live.jsonl"
    tables = f"duckdb:///{database}"
    attack = {
        name
        for name, label in read_labels(small_run.inputs / "labels.jsonl").items()
        if label.attack
    }

    def say(*arguments: object) -> dict[str, Any]:
        return result(*arguments, home=small_run.home)

    # Flags more than anybody would, so that a benign cluster is among it.
    lax = tmp_path / "lax.yaml"
    lax.write_text("alerts: {max_p: 0.5, pages_per_day: 100000, control: budget}")
    say(
        "detect", "--input", live, "--bundle", small_run.made / "bundle", "--output", tables,
        "--config", lax,
    )  # fmt: skip
    clusters = largest(database)
    campaign, members = next(found for found in clusters if set(found[1]) & attack)
    assert len(members) >= 8
    benign, dismissed = next(found for found in clusters if not set(found[1]) & attack)

    for name, verdict in ((campaign, "confirm"), (benign, "dismiss")):
        say("alerts", "decide", name, "--as", verdict, "--why", "looked at", "--output", tables)
    history = small_run.inputs / "history.jsonl"
    bundles, told, flagged, surprise = {}, {}, {}, {}
    for kind, more in (("naive", ()), ("taught", ("--dispositions", tables))):
        bundles[kind], out = tmp_path / kind, tmp_path / f"{kind}.duckdb"
        told[kind] = say(
            "train", "--input", history, "--input", live, "--bundle", bundles[kind], *more
        )
        say(
            "detect", "--input", live, "--bundle", bundles[kind], "--output", f"duckdb:///{out}",
            "--run-id", kind,
        )  # fmt: skip
        surprise[kind] = surprise_at(out, members)
        flagged[kind] = {account for _, accounts in largest(out) for account in accounts}
    assert (told["taught"]["left_out"], told["taught"]["benign"]) == (len(members), len(dismissed))
    naive, taught = (load_bundle(bundles[kind]) for kind in ("naive", "taught"))
    assert taught.training["decisions"] == {"left_out": len(members), "benign": len(dismissed)}
    assert naive.training["accounts"] - taught.training["accounts"] >= len(members)
    # What was confirmed did not become normal: it stands out more than where nobody decided.
    assert surprise["taught"] > surprise["naive"] + 0.1
    assert not flagged["taught"] & set(dismissed)
