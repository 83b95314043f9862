"""The game, from what is shown to the page; and once against the product itself."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest

from pipelines import cli
from pipelines.console import Console
from pipelines.protocol.adaptive.costs import Bill
from pipelines.protocol.adaptive.method import LADDERS, START
from pipelines.protocol.adaptive.policy import Change
from pipelines.protocol.adaptive.report import as_csv, headline, pictures, section
from pipelines.protocol.adaptive.rounds import (
    Ablation,
    AdaptiveOptions,
    AdaptiveResult,
    Round,
    _Tally,
    play,
)
from pipelines.protocol.adaptive.seen import SeenReason, read_seen
from schemas.tables import TABLES
from transforms.sinks.duckdb import write_database

NOON = 1_780_000_000_000


def reason(feature: str, value: float) -> dict[str, Any]:
    return {
        "feature": feature, "value": value, "normal_low": 1.0, "normal_high": 2.0, "z": 3.0,
        "contribution": 0.5, "words": "",
    }  # fmt: skip


def cluster(name: str, **more: Any) -> dict[str, Any]:
    return {
        "cluster_id": name, "revision": 9, "window_start": NOON, "window_end": NOON + 9,
        "status": "open", "severity": "low", "score": 1.0, "p_value": 0.001, "first_seen": NOON,
        "last_seen": NOON + 1, "first_alert": NOON + 1, "account_count": 2, "request_count": 9,
        "reasons": [reason("hill_cells", 5.0), reason("idle_gap_hours", 0.5)],
        "tactics": ["drip"],
    } | more  # fmt: skip


def member(name: str, account: str, *kinds: str) -> dict[str, Any]:
    links = [{"kind": k, "thing": "00", "accounts": 2, "weight": 1.0} for k in kinds]
    return {
        "cluster_id": name, "revision": 9, "account_id": account, "since": NOON, "links": links
    }  # fmt: skip


def test_it_is_shown_its_own_accounts_with_reasons_links_and_tactics(tmp_path: Path) -> None:
    tables = {
        "session_scores": [],
        "flagged_clusters": [
            cluster("c1"), cluster("c2"), cluster("c3"), cluster("c4", status="dismissed"),
        ],
        "cluster_members": [
            member("c1", "x", "payment", "network", "network"), member("c1", "y", "payment"),
            member("c1", "benign", "payment"), member("c2", "z"), member("c3", "other"),
            member("c4", "dismissed"),
        ],
        "run_health": [],
    }  # fmt: skip
    for name, rows in tables.items():
        folder = tmp_path / "staged" / name
        folder.mkdir(parents=True)
        pq.write_table(TABLES[name].to_arrow(rows), folder / "part.parquet")
    write_database(tmp_path / "out.duckdb", str(tmp_path / "staged"))
    seen = read_seen(tmp_path / "out.duckdb", ["z", "x", "y", "dismissed", "free"])
    assert seen.flagged == {"x", "y", "z"}
    assert seen.benign == 2
    first, second = seen.findings
    assert (first.accounts, first.others) == (frozenset("xy"), 1)
    assert first.links == (("payment", 2), ("network", 1))
    assert first.reasons == (
        SeenReason("hill_cells", True, 0.5),
        SeenReason("idle_gap_hours", False, 0.5),
    )
    assert first.tactics == ("drip",)
    assert (second.accounts, second.links) == (frozenset("z"), ())


def test_a_question_counts_once_and_gets_through_when_one_asker_is_not_flagged() -> None:
    tally = _Tally()
    for account, question, more in (
        ("a", "q1", {"cost_usd": 1.0}),
        ("b", "q1", {"cost_usd": 3.0, "status_code": 200}),
        ("a", "q2", {}),
        ("a", "refused", {"status_code": 429}),
    ):
        tally.add({"account_id": account, **more}, True, question)
    tally.add({"account_id": "a", "cost_usd": 0.5}, False, "cover")
    assert (tally.asked, len(tally.askers)) == (5, 2)
    assert [tally.through(frozenset(f)) for f in ("", "a", "b", "ab")] == [2, 1, 2, 0]
    assert tally.spent(True) == pytest.approx(8.0)  # unpriced ones cost what others cost
    assert tally.spent(False) == 0.5


def result(shares: tuple[float, ...]) -> AdaptiveResult:
    rounds = [
        Round(
            number=n,
            method=replace(START, card=1) if n > 1 else START,
            changes=(Change("card", 10, 1, "link payment"),) if n == 2 else (),
            accounts=10,
            lost=3,
            flagged_accounts=2,
            asked=120,
            useful=100,
            through=round(100 * share),
            days=6 / share if share else math.inf,
            bill=Bill(10.0, 2.0, 1.0, 1.0, 1.0, 0.0),
            benign_flagged=4,
            signals=(("link payment", 2.0),),
        )
        for n, share in enumerate(shares, 1)
    ]
    ablations = (Ablation("", "", 0.8, 20.0), Ablation("card", 1, 0.1, 99.0))
    return AdaptiveResult(AdaptiveOptions(), 50, 1_000, tuple(rounds), ablations)


def test_table_page_and_charts_say_what_happened() -> None:
    made = result((0.0, 0.4, 0.8))
    header, *rows = csv.reader(StringIO(as_csv(made)))
    assert len(rows) == 3
    assert set(LADDERS) < set(header)
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["share_through"] for row in table] == ["0.0000", "0.4000", "0.8000"]
    assert [row["usd_per_1000_through"] for row in table] == ["", "375.0000", "187.5000"]
    assert table[1]["changes"] == "accounts on one card 10 → 1 (link payment)"
    page = "\n".join(section(made))
    assert "| method settled on (2 rounds from 2 on) | 60 % | $250.00 | $83.33 | 11.2 |" in page
    assert "| 1 | 10 | 20 % | 3 | 100 | 0 % | – | – | never | 4 | `link payment` |" in page
    assert "| accounts on one card | 1 | 10 | 10 % | -70 | $99.00 |" in page
    assert "0 % of its wanted questions got through in round 1" in headline(made)
    assert [r.number for r in made.settled] == [2, 3]
    assert "link by what is dearer" in page
    drawn = pictures(made)
    assert set(drawn) == {"adaptive-through.svg", "adaptive-cost.svg"}
    for svg in drawn.values():
        ElementTree.fromstring(svg)


def test_a_game_in_which_nothing_gets_through_is_told_too() -> None:
    made = result((0.0,))
    assert set(pictures(made)) == {"adaptive-through.svg"}
    assert "| last 1 rounds | 0 % | – | – | never |" in "\n".join(section(made))


def test_the_command_plays_without_corpora(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[AdaptiveOptions] = []

    def fake(options: AdaptiveOptions, _: Console) -> AdaptiveResult:
        asked.append(options)
        return result((0.0, 0.5))

    monkeypatch.setattr("pipelines.protocol.run.play", fake)
    out = tmp_path / "results"
    args = ["evaluate", "--protocol", "--only", "adaptive", "--out", str(out)]
    assert cli.run([*args, "--rounds", "2", "--seed", "4"]) == 0
    assert (asked[0].rounds, asked[0].seed, asked[0].corpora) == (2, 4, None)
    names = {"protocol.csv", "protocol.md", "adaptive.csv"}
    assert names | {"adaptive-through.svg", "adaptive-cost.svg"} == {p.name for p in out.iterdir()}
    page = (out / "protocol.md").read_text()
    assert "--only adaptive --rounds 2 --seed 4" in page
    assert "## An attacker that adapts" in page
    assert "Adaptive attacker" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_rounds_against_the_product_are_the_same_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path))
    options = AdaptiveOptions(
        rounds=2, accounts=130, events=4_000, days=8, history_days=5, wanted=900, ablate=False
    )
    one = play(options, Console(as_json=True))
    again = play(replace(options, rounds=1), Console(as_json=True))
    first, second = one.rounds
    assert again.rounds == (first,)
    assert first.accounts >= 5
    assert first.useful > 300
    assert first.flagged_accounts > 0
    assert first.through < first.useful
    assert first.bill.requests > 0
    assert {c.why for c in second.changes} <= {name for name, _ in first.signals}
    assert second.method != first.method
