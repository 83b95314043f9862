"""Alerts as their users meet them: detect pages, people decide, it stays quiet, training learns."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import cli
from tests.support.commands import query
from tests.support.receivers import (
    HOOK_SECRET,
    Answer,
    Receiver,
    heard,
    hook_file,
    receiver,
    signed,
)
from transforms.alerts.decision_store import DispositionStore
from transforms.alerts.dispositions import decide
from transforms.alerts.paging import PACKAGED
from transforms.scoring.bundle import load_bundle


@dataclass(frozen=True)
class House:
    """Traffic, a bundle, a receiver, and tables that detect wrote while channels were set."""

    folder: Path
    server: Receiver
    config: Path

    @property
    def database(self) -> Path:
        return self.folder / "out.duckdb"

    @property
    def output(self) -> str:
        return f"duckdb:///{self.database}"

    def detect(self) -> dict[str, Any]:
        return called(
            "detect", "--input", self.folder / "live.jsonl", "--bundle", self.folder / "bundle",
            "--output", self.output, "--config", self.config,
        )  # fmt: skip

    def heard(self) -> list[tuple[str, str]]:
        """Step and cluster of all that the receiver took."""
        return heard(self.server)


_OUT: pytest.CaptureFixture[str]


def called(*arguments: object, code: int = 0) -> dict[str, Any]:
    """What a command says with --json, in this process."""
    _OUT.readouterr()
    got = cli.run([*map(str, arguments), "--json"])
    out = _OUT.readouterr().out
    assert got == code, out
    found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return found


@pytest.fixture(autouse=True)
def _listening(capsys: pytest.CaptureFixture[str]) -> None:
    global _OUT
    _OUT = capsys


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    patch = pytest.MonkeyPatch()
    patch.setenv("DISTILWATCH_HOME", str(folder / "home"))
    patch.setenv("HOOK_SECRET", HOOK_SECRET)
    assert not cli.run(
        ["simulate", "--out", str(folder / "live.jsonl"), "--history",
         str(folder / "history.jsonl"), "--labels", str(folder / "labels.jsonl"), "--accounts",
         "200", "--events", "14000", "--days", "8", "--history-days", "5", "--attack",
         "hydra-disjoint:m=24,rate=46,links=1", "--json"]
    )  # fmt: skip
    assert not cli.run(
        ["train", "--input", str(folder / "history.jsonl"), "--bundle", str(folder / "bundle"),
         "--json"]
    )  # fmt: skip
    with receiver(signed) as server:
        config = folder / "config.yaml"
        alerts = {
            "channels": str(hook_file(folder, server)),
            "case_url": "https://triage.example/clusters/{cluster_id}",
        }
        config.write_text(yaml.safe_dump({"alerts": alerts}))
        yield House(folder, server, config)
    patch.undo()


@pytest.fixture
def found(house: House) -> House:
    """A house in which detect has run."""
    if not house.database.exists():
        house.detect()
    return house


def test_detect_pages_once_after_the_tables_are_written(found: House) -> None:
    alerts = query(found.database, "SELECT cluster_id, policy, state, channels FROM current_alerts")
    clusters = query(found.database, "SELECT cluster_id FROM current_clusters")
    storms = {name for name, *_ in alerts if name.startswith("s-")}
    assert {name for name, *_ in alerts} - storms == {name for (name,) in clusters}
    assert all(policy for _, policy, *_ in alerts)
    told = found.heard()
    assert {name for step, name in told if step == "opened"} == {
        name for name, _, _, channels in alerts if channels
    }
    for request in found.server.taken():
        notice = request.json["data"]
        if not notice["cluster_id"].startswith("s-"):
            assert notice["case_url"].endswith(f"/clusters/{notice['cluster_id']}")
    several = [r.json["data"] for r in found.server.taken() if r.json["data"]["accounts"] > 2]
    assert all("they share" in notice["title"] for notice in several)
    assert several
    before = query(found.database, "SELECT * FROM alerts ORDER BY ALL")
    assert found.detect()["rows"]["alerts"] == 0
    assert found.heard() == told
    assert query(found.database, "SELECT * FROM alerts ORDER BY ALL") == before


def test_detect_ends_with_2_when_nobody_could_be_told_and_the_next_send_tells(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.detect.bounded._LAST_TRIES_S", 0.0)
    up = False

    def away(path: str, headers: dict[str, str], content: bytes) -> Answer:
        return signed(path, headers, content) if up else Answer(503)

    with receiver(away) as server:
        config = tmp_path / "config.yaml"
        config.write_text(
            yaml.safe_dump({
                "alerts": {"channels": str(hook_file(tmp_path, server))},
                "observe": {"metrics_file": str(tmp_path / "run.prom")},
            })
        )  # fmt: skip
        asked = (
            "--input", house.folder / "live.jsonl", "--bundle", house.folder / "bundle",
            "--output", f"duckdb:///{tmp_path}/out.duckdb", "--config", config,
        )  # fmt: skip
        summary = called("detect", *asked, code=2)
        assert summary["untold"]["waiting"] > 0
        assert summary["untold"]["dead"] == 0
        waiting = float(summary["untold"]["waiting"])
        told = (tmp_path / "run.prom").read_text()
        assert f'distilwatch_untold_messages{{state="failing"}} {waiting}\n' in told
        # All the same, whoever looks finds everything.
        clusters = query(tmp_path / "out.duckdb", "SELECT cluster_id FROM current_clusters")
        assert len(clusters) == summary["rows"]["flagged_clusters"] > 0
        # A channel that does not answer rests for a while; its messages are not lost.
        assert called("detect", *asked, code=2)["untold"] == summary["untold"]
        up = True
        monkeypatch.setattr("pipelines.oncall.now_ms", lambda: int((time.time() + 86_400) * 1000))
        assert "untold" not in called("detect", *asked)
        assert {name for step, name in heard(server) if step == "opened"} >= {
            name for (name,) in query(
                tmp_path / "out.duckdb",
                "SELECT cluster_id FROM current_alerts WHERE len(channels) > 0",
            )
        }  # fmt: skip


def test_a_decision_ends_an_alert_and_it_stays_quiet_until_it_is_undone(found: House) -> None:
    [(name, accounts)] = query(
        found.database,
        "SELECT cluster_id, account_count FROM current_clusters "
        "ORDER BY account_count DESC, cluster_id LIMIT 1",
    )
    made = called(
        "alerts", "decide", name[:12], "--as", "dismiss", "--why", "a load test", "--until",
        "30 d", "--by", "ann", "--output", found.output,
    )["disposition"]  # fmt: skip
    assert made["cluster_id"] == name
    assert len(made["accounts"]) == accounts
    assert made["valid_until"] - made["decided_at"] == pytest.approx(30 * 86_400_000, abs=5_000)
    heard = len(found.heard())
    called("alerts", "send", "--output", found.output, "--config", found.config)
    assert ("resolved", name) in found.heard()[heard:]
    heard = len(found.heard())
    found.detect()
    assert len(found.heard()) == heard  # quiet after a re-run
    called("alerts", "undo", made["disposition_id"][:8], "--why", "no", "--output", found.output)
    told = called("alerts", "send", "--output", found.output, "--config", found.config)
    assert told["steps"]["opened"] == 1  # a storm may tell of it, too
    history = called("alerts", "history", name, "--output", found.output)["dispositions"]
    assert [row["decision"] for row in history] == ["dismiss", "withdraw"]
    problem = called(
        "alerts", "undo", made["disposition_id"], "--why", "no", "--output", found.output, code=2
    )
    assert "taken back already" in problem["error"]["message"]
    problem = called(
        "alerts", "decide", "c-", "--as", "watch", "--why", "x", "--output", found.output, code=2
    )
    assert "clusters begin with 'c-'" in problem["error"]["message"]


def test_messages_that_could_not_be_sent_are_listed_and_sent_again(found: House) -> None:
    # One that was told by itself: storms have rows, too, and no cluster of their own.
    (name, *_), *_ = query(
        found.database,
        "SELECT cluster_id FROM current_alerts JOIN current_clusters USING (cluster_id) "
        "WHERE state = 'open' AND len(channels) > 0 ORDER BY cluster_id",
    )
    found.server.script.append(Answer(410))
    decided = called(
        "alerts", "decide", name, "--as", "confirm", "--why", "it is", "--output", found.output
    )
    sent = called("alerts", "send", "--output", found.output, "--config", found.config, code=2)
    assert (sent["sent"], sent["dead"]) == (0, 1)
    listed = called("alerts", "outbox", "list", "--state", "dead", "--output", found.output)
    [message] = listed["messages"]
    assert message["notice"]["step"] == "acknowledged"
    assert message["error"] == "the webhook answered 410"
    assert called("alerts", "outbox", "replay", "--output", found.output)["replayed"] == 1
    sent = called("alerts", "send", "--output", found.output, "--config", found.config)
    assert (sent["sent"], sent["dead"]) == (1, 0)
    assert found.heard()[-1] == ("acknowledged", name)
    called(
        "alerts", "undo", decided["disposition"]["disposition_id"], "--why", "x", "--output",
        found.output,
    )  # fmt: skip


def test_a_policy_is_tried_on_the_past(found: House, tmp_path: Path) -> None:
    policy = yaml.safe_load((PACKAGED / "campaign.yaml").read_text())
    path = tmp_path / "campaign.yaml"
    heard = len(found.heard())
    path.write_text(yaml.safe_dump(policy))
    same = called("alerts", "test-policy", path, "--output", found.output)
    assert same["new"] == same["gone"] == []
    assert same["now"] == same["then"]
    path.write_text(yaml.safe_dump(policy | {"makes": "nothing"}))
    none = called("alerts", "test-policy", path, "--output", found.output)
    gone = {fired["cluster_id"] for fired in none["gone"]}
    several = query(
        found.database,
        "SELECT cluster_id FROM current_clusters WHERE account_count > 1 AND severity <> 'low'",
    )
    assert gone == {name for (name,) in several}
    assert gone
    assert len(found.heard()) == heard
    path.write_text(yaml.safe_dump(policy | {"when": {"account_cuont": {"at_least": 2}}}))
    problem = called("alerts", "test-policy", path, "--output", found.output, code=2)
    assert "account_cuont" in problem["error"]["message"]


def test_settings_of_alerts_are_checked_before_anything_starts(
    found: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK_SECRET")
    problem = called(
        "detect", "--input", found.folder / "live.jsonl", "--bundle", found.folder / "bundle",
        "--output", f"duckdb:///{tmp_path}/x.duckdb", "--config", found.config, code=2,
    )  # fmt: skip
    assert "there is no secret (environment variable HOOK_SECRET)" in problem["error"]["message"]
    config = tmp_path / "c.yaml"
    config.write_text("alerts: {case_url: 'https://x/{cluster}'}")
    problem = called("alerts", "send", "--output", found.output, "--config", config, code=2)
    assert "alerts.case_url" in problem["error"]["message"]


def test_training_learns_from_decisions(found: House, tmp_path: Path) -> None:
    """Accounts of the history stand for clusters of it: what matters is who is in a decision."""
    accounts = sorted(
        {
            json.loads(line)["account_id"]
            for line in (found.folder / "history.jsonl").read_text().splitlines()
        }
    )
    confirmed, dismissed = accounts[:5], accounts[5:15]
    store = DispositionStore(found.database)
    made = store.append(
        *(
            decide(
                {"cluster_id": name}, held, decision, by="ann", why="seen", at_ms=1_780_000_000_000
            )
            for name, held, decision in (
                ("c-old", confirmed, "confirm"), ("c-older", dismissed, "dismiss"),
            )
        )
    )  # fmt: skip
    bundle = tmp_path / "bundle"
    told = called(
        "train", "--input", found.folder / "history.jsonl", "--bundle", bundle, "--dispositions",
        found.output,
    )  # fmt: skip
    for row in made:
        store.withdraw(row.disposition_id, "ann", "only a test")
    assert (told["left_out"], told["benign"]) == (5, 10)
    before, after = load_bundle(found.folder / "bundle"), load_bundle(bundle)
    assert before.training["accounts"] - after.training["accounts"] >= 5
    assert after.training["decisions"] == {"left_out": 5, "benign": 10}
    # The benign ones calibrate: the calibration set grew by those that hash would have put aside.
    calibrating = [len(b.models["profile"].calibration.scores[""]) for b in (before, after)]
    assert calibrating[1] > calibrating[0]


@pytest.mark.slow
def test_a_drill_says_how_long_a_page_takes(house: House) -> None:
    before = len(house.server.taken())
    found = called("alerts", "drill", "--seed", 2, "--config", house.config)
    assert found["drill"]
    assert found["passed"]
    assert found["found"] >= 12
    assert found["told_s"] >= found["detect_s"] > 0
    new = [request.json["data"] for request in house.server.taken()[before:]]
    assert [notice["step"] for notice in new] == ["opened", "resolved"]
    for notice in new:
        assert notice["title"].startswith("[DRILL] ")
        assert notice["namespace"] == "drill"
    if house.database.exists():
        drills = query(house.database, "SELECT count(*) FROM alerts WHERE namespace IS NOT NULL")
        assert drills == [(0,)]
