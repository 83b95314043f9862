"""Tables as `detect` writes them, read back by report, explain and evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from pipelines import cli
from pipelines.evaluate import as_markdown, evaluate, write_plots
from pipelines.report import read_story, write_report
from pipelines.report.read import find_cluster
from pipelines.tables import check_tables, read_accounts
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.sinks.duckdb import write_database

NOON = 1_780_000_000_000
HOUR = 3_600_000


def _score(key: str, level: str, n: int, start: int, end: int, **more: Any) -> dict[str, Any]:
    return {
        "session_id": f"{level}-{key}-{start}",
        "revision": n,
        "level": level,
        "key_kind": "account",
        "key": key,
        "session_start": NOON + start * HOUR,
        "session_end": NOON + end * HOUR,
        "request_count": n,
        "score": 1.0,
        "p_value": 0.5,
        "run_id": "run-1",
        "bundle_version": "b1",
    } | more


def _cluster(name: str, revision: int, **more: Any) -> dict[str, Any]:
    return {
        "cluster_id": name,
        "revision": revision,
        "window_start": NOON,
        "window_end": NOON + 672 * HOUR,
        "status": "open",
        "severity": "high",
        "score": 4.5,
        "p_value": 0.0007,
        "first_seen": NOON,
        "last_seen": NOON + 30 * HOUR,
        "first_alert": NOON + revision // 100 * HOUR,
        "account_count": 2,
        "payment_count": 1,
        "request_count": revision,
        "input_tokens": 1000,
        "output_tokens": 9000,
        "exposure_usd": 12.5,
        "exposure_method": "list_price",
        "reasons": [
            {
                "feature": "hill_cells", "value": 5.0, "normal_low": 1.0, "normal_high": 2.0,
                "z": 6.0, "contribution": 1.0, "words": "topics used evenly: 148, where 3 to 7 is",
            }
        ],
        "tactics": ["drip"],
        "run_id": "run-1",
        "bundle_version": "b1",
    } | more  # fmt: skip


def _member(cluster: str, revision: int, account: str, requests: int) -> dict[str, Any]:
    links = [
        {"kind": kind, "thing": thing, "accounts": 2, "weight": 1.0}
        for kind, thing in (("payment", "00ff"), ("network", "01"), ("network", "02"))
    ]
    return {
        "cluster_id": cluster, "revision": revision, "account_id": account, "since": NOON,
        "request_count": requests, "score": 3.0, "p_value": 0.01, "links": links,
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, Path]:
    """A database and its labels: a campaign of two, one of them flagged late, and benign ones."""
    scores = [
        _score("a1", "profile", 300, 0, 30, p_value=0.01, combined_p_value=0.0014, score=4.0),
        _score("a1", "profile", 100, 0, 10, p_value=0.9, combined_p_value=0.9),  # superseded
        _score("a2", "profile", 200, 5, 29, p_value=0.02, combined_p_value=0.0014, score=3.0),
        _score("a1", "session_account", 120, 0, 3),
        _score("a1", "session_account", 180, 20, 30),
        _score("a1", "session_account", 60, 21, 25),  # joined to the one before by a late event
        _score("a2", "session_account", 200, 5, 29),
    ]
    scores += [
        _score(f"b{i}", "profile", 10, 0, 5, p_value=(i + 1) / 40, score=0.5) for i in range(39)
    ]
    tables = {
        "session_scores": scores,
        "flagged_clusters": [
            _cluster("c-aa", 500),
            _cluster("c-aa", 200, p_value=0.5, severity="low"),
            _cluster("c-bb", 10, severity="medium", p_value=0.005, account_count=1),
            _cluster("c-cc", 10, status="dismissed"),
        ],
        "cluster_members": [
            _member("c-aa", 500, "a2", 200),
            _member("c-aa", 500, "a1", 300),
            _member("c-aa", 200, "b3", 1),  # was a member once
            _member("c-bb", 10, "b1", 10),
            _member("c-cc", 10, "b2", 10),
        ],
        "run_health": [
            {"run_id": "run-1", "metric": metric, "value": value}
            for metric, value in (
                ("read", 1000), ("scored", 890), ("duplicate", 10), ("refused", 100),
                ("refused_not_json", 60), ("refused_late", 30), ("refused_future_time", 10),
            )
        ],
    }  # fmt: skip
    for name, rows in tables.items():
        folder = tmp_path / "staged" / name
        folder.mkdir(parents=True)
        pq.write_table(TABLES[name].to_arrow(rows), folder / "part.parquet")
    database = tmp_path / "out.duckdb"
    write_database(database, str(tmp_path / "staged"))
    labels = tmp_path / "labels.jsonl"
    truth = [
        {"account_id": a, "label": "attack", "kind": "drip", "campaign_id": "k1", "split": "live"}
        for a in ("a1", "a2", "a3")
    ]
    truth += [
        {"account_id": f"b{i}", "label": "benign", "kind": "person", "campaign_id": None}
        for i in range(39)
    ]
    truth.append({"account_id": "old", "label": "benign", "kind": "person", "split": "history"})
    labels.write_text("".join(json.dumps(row) + "\n" for row in truth))
    return database, labels


def test_the_story_has_newest_revisions_and_gravest_first(run: tuple[Path, Path]) -> None:
    story = read_story(*run)
    assert [c.cluster_id for c in story.clusters] == ["c-aa", "c-bb"]
    first = story.clusters[0]
    assert (first.revision, first.severity, first.requests) == (500, "high", 500)
    assert first.first_alert_ms == NOON + 2 * HOUR, "of its first revision"
    assert [m.account for m in first.members] == ["a1", "a2"]
    assert [s.requests for s in first.members[0].sessions] == [120, 180]
    assert first.members[0].links == (
        "same payment method (2 accounts)",
        "same network (2 accounts) and 1 more such",
    )
    assert first.reasons[0].z == 6.0
    assert (story.accounts, story.requests, story.run_id) == (41, 890, "run-1")
    assert (story.first_ms, story.last_ms) == (NOON, NOON + 30 * HOUR)


def test_the_balance_agrees(run: tuple[Path, Path]) -> None:
    story = read_story(run[0])
    assert story.balance[0] == ("Read", 1000)
    assert sum(count for _, count in story.balance[1:]) == 1000
    assert ("Refused: not json", 60) in story.balance
    assert ("Refused: other", 10) in story.balance


def test_the_truth_in_the_story(run: tuple[Path, Path]) -> None:
    story = read_story(*run)
    (campaign,) = story.campaigns
    assert (campaign.campaign, campaign.flagged, campaign.accounts) == ("k1", 2, 3)
    assert campaign.clusters == ("c-aa",)
    (benign,) = story.benign
    assert (benign.kind, benign.flagged, benign.accounts) == ("person", 1, 39)
    assert story.clusters[0].is_attack() is True
    assert story.clusters[1].is_attack() is False
    assert read_story(run[0]).campaigns == ()


def test_accounts_joined_with_labels(run: tuple[Path, Path]) -> None:
    accounts, alerts, first_ms = read_accounts(*run)
    by_name = {a.account: a for a in accounts}
    assert "old" not in by_name
    assert by_name["a1"].p_value == 0.0014
    assert by_name["a1"].own_p == 0.01
    assert by_name["a3"].p_value == 1.0
    assert by_name["a1"].flagged
    assert not by_name["b2"].flagged, "dismissed"
    assert not by_name["b3"].flagged, "no longer a member"
    assert {alert.cluster_id for alert in alerts} == {"c-aa", "c-bb"}
    assert first_ms["a2"] == NOON + 5 * HOUR


def test_evaluation_of_the_tables(run: tuple[Path, Path], tmp_path: Path) -> None:
    result = evaluate(*run, draws=50)
    assert result.recall["0.01"].value == pytest.approx(2 / 3)
    assert result.by_account.precision == pytest.approx(2 / 3)
    assert result.clusters.precision == 0.5
    assert result.campaigns[0].hours_to_alert == 2.0
    level = {p.promised for p in result.promises if p.measure == "flagged"}
    assert level == {0.005}, "the largest p-value that is flagged now"
    text = as_markdown(result)
    assert "| class person | 39 | 0.00 (0.00 to 9.03) |" in text
    assert "| AUROC |" in text
    assert "| k1 | drip | 3 | 500 | 2 | 1 | 2.0 h |" in text
    plots = write_plots(read_accounts(*run)[0], tmp_path / "plots")
    assert [p.name for p in plots] == ["roc.svg", "calibration.svg"]
    assert all(p.read_text().startswith("<svg") for p in plots)


def test_commands_over_the_tables(
    run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, labels = f"duckdb:///{run[0]}", str(run[1])
    assert cli.run(["evaluate", "--output", uri, "--labels", labels]) == 0
    out, _ = capsys.readouterr()
    for words in ("recall at 0.1 % of benign accounts", "By campaign", "distilwatch report"):
        assert words in out
    assert cli.run(["evaluate", "--output", uri, "--labels", labels, "--json"]) == 0
    out, err = capsys.readouterr()
    figures = json.loads(out)
    assert figures["recall"]["0.01"]["value"] == pytest.approx(2 / 3)
    assert not err
    page = tmp_path / "report.html"
    assert cli.run(["report", "--output", uri, "--labels", labels, "--html", str(page)]) == 0
    assert "c-aa" in page.read_text()
    capsys.readouterr()
    assert cli.run(["explain", "c-a", "--output", uri, "--labels", labels]) == 0
    out, _ = capsys.readouterr()
    for words in ("Cluster c-aa", "2 accounts on one payment method",
                  "Different topics it asks about: 148; normal is 3 to 7",
                  "Cost: answers worth $12", "same payment method", "drip, k1"):  # fmt: skip
        assert words in out
    assert cli.run(["explain", "--output", uri]) == 0
    assert "2 clusters" in capsys.readouterr().out
    assert cli.run(["explain", "c-", "--output", uri]) == 2
    assert "2 clusters begin with c-" in capsys.readouterr().err
    assert cli.run(["explain", "c-zz", "--output", uri]) == 2
    assert "flagged are c-aa, c-bb" in capsys.readouterr().err


def test_reading_changes_nothing(run: tuple[Path, Path], tmp_path: Path) -> None:
    before = run[0].read_bytes()
    write_report(run[0], tmp_path / "sub" / "page.html", run[1])
    assert run[0].read_bytes() == before
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["page.html"]


def test_tables_that_are_none(run: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DistilwatchError, match="give duckdb:///"):
        check_tables(str(run[0]))
    with pytest.raises(DistilwatchError, match="did you mean duckdb"):
        check_tables(f"duckbd:///{run[0]}")
    text = tmp_path / "text.duckdb"
    text.write_text("no database" * 1000)
    with pytest.raises(DistilwatchError, match="no DuckDB database"):
        check_tables(f"duckdb:///{text}")
    other = tmp_path / "other.duckdb"
    duckdb.connect(str(other)).close()
    with pytest.raises(DistilwatchError, match="there is no table"):
        check_tables(f"duckdb:///{other}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no labels"),
        ("{}\n", "line 1"),
        ('{"account_id": "a", "label": "bad"}\n', "the label 'bad'"),
        ('{"account_id": "a", "label": "attack"}\nnonsense\n', "line 2"),
        ('{"account_id": "stranger", "label": "attack"}\n', "none of the 1 labelled accounts"),
    ],
)
def test_labels_that_do_not_fit(
    run: tuple[Path, Path], tmp_path: Path, content: str, words: str
) -> None:
    labels = tmp_path / "bad.jsonl"
    labels.write_text(content)
    with pytest.raises(DistilwatchError, match=words):
        read_accounts(run[0], labels)


def test_a_cluster_is_found_by_its_whole_id(run: tuple[Path, Path]) -> None:
    assert find_cluster(read_story(run[0]), "c-bb").cluster_id == "c-bb"


def test_an_answer_is_shown_as_it_is_and_orders_the_terminal_nothing(
    run: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"duckdb:///{run[0]}"
    sql = "SELECT '[red]in[/nothing] 1' AS \"[a]\", 'x' || chr(27) || ']0;mine' || chr(7) AS b"
    assert cli.run(["tables", "query", "--output", uri, sql]) == 0
    out = capsys.readouterr().out
    assert "[red]in[/nothing] 1" in out
    assert "[a]" in out
    assert "\x1b" not in out
    assert "]0;mine" in out
