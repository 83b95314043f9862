"""The account protocol: fields left out, baselines by account, figures, and a tiny run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.judge import Account, Alert
from pipelines.protocol import accounts as protocol
from pipelines.protocol.accounts import drop_fields
from pipelines.protocol.baselines.accounts import (
    Traffic,
    read_traffic,
    shared_payments,
    shared_scaffolds,
    volumes,
)
from pipelines.protocol.figures import result_of
from pipelines.protocol.grid import DROPS, Cell, cells
from pipelines.protocol.report import Results, as_csv, as_markdown, pictures
from schemas.errors import DistilwatchError

PROMPT = "Summarise what the following eight words say about item number"


def event(account: str, hour: int, **more: object) -> dict[str, object]:
    return {
        "event_id": f"{account}-{hour}",
        "event_time": f"2026-06-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z",
        "account_id": account,
        **more,
    }


def write(path: Path, events: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(e) + "\n" for e in events), encoding="utf-8")
    return path


def test_traffic_is_counted_by_account(tmp_path: Path) -> None:
    events = [
        event("a", h, payment_fingerprint="card", prompt_text=f"{PROMPT} {h}") for h in (1, 2, 30)
    ]
    events += [event("b", 5, payment_fingerprint="card", event_time=1_780_272_000_000)]
    events += [event("c", 5, prompt_text="short")]
    live = read_traffic(write(tmp_path / "live.jsonl", events))
    names = ["a", "b", "c", "nobody"]
    assert volumes(live, names)[:, 1] == pytest.approx(np.log1p([2, 1, 1, 0]))
    assert shared_payments(live, names).tolist() == [2, 2, 0, 0]
    assert shared_scaffolds(live, Traffic(), names).tolist() == [1, 0, 0, 0]
    # What the history had already is nobody's mark.
    assert shared_scaffolds(live, live, names).tolist() == [0, 0, 0, 0]


def test_a_broken_event_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "live.jsonl", [event("a", 1), {"event_id": "x"}])
    with pytest.raises(DistilwatchError, match="line 2"):
        read_traffic(path)


def test_ablations_keep_what_an_event_must_have(tmp_path: Path) -> None:
    full = event("a", 1, prompt_text="x", payment_fingerprint="y", cost_usd=1.0)
    full["response_format"] = "text"
    for drop, gone in (("content", "response_format"), ("metadata", "payment_fingerprint")):
        path = write(tmp_path / f"{drop}.jsonl", [full])
        drop_fields(path, DROPS[drop])
        left = json.loads(path.read_text())
        assert gone not in left
        assert (left["prompt_text"] == "x") == (drop == "metadata")
        assert {"event_id", "event_time", "account_id"} < left.keys()
    assert not {"event_id", "event_time", "account_id"} & {n for d in DROPS.values() for n in d}


def test_grids_name_every_cell_once() -> None:
    for budget in ("small", "full"):
        found = cells("report", (1, 2), budget, ["ben_mmlu", "atk_meta_prompts"])
        names = [c.name for c in found]
        assert len(set(names)) == len(names)
        assert {"main", "source swap", "ablation", "contaminated"} <= {c.group for c in found}
    assert any(c.exclude == ("ben_mmlu",) for c in found)


def test_figures_of_a_cell_leave_relay_out(tmp_path: Path) -> None:
    def account(name: str, kind: str, p: float) -> Account:
        attack = kind not in ("person", "business")
        return Account(name, attack, kind, kind if attack else "", p, -p, p, 10, p < 0.01)

    people = [account(f"p{i}", "person", 0.02 + i / 200) for i in range(150)]
    bulk = [account(f"x{i}", "bulk", 0.001) for i in range(4)]
    relay = [account("r", "relay", 0.9)]
    live = Traffic()
    for name in ("x0", "x1"):
        live.times[name] = [100, 200, 300]
    everyone = [*people, *bulk, *relay]
    result = result_of(
        Cell("main, seed 1", "main"),
        everyone,
        [Alert("c1", ("x0", "x1", "x2", "x3"), 250, 0.002)],
        {"rate limit": np.zeros(len(everyone))},
        live,
        {f"x{i}": "zh" for i in range(4)},
    )
    ours, baseline = result.systems
    assert (ours.attacking, ours.at_001.value, ours.auroc) == (4, 1.0, 1.0)
    assert baseline.auroc == 0.5
    assert result.before_alert == pytest.approx(4 / 6)
    assert result.traffic == 1.0
    assert {k.kind for k in result.kinds} == {"bulk", "relay"}
    assert result.languages == {"zh": (1.0, 4)}
    promised = {(p.kind, p.name, p.measure, p.promised): p.observed for p in result.promises}
    assert promised["class", "person", "own p-value", 0.01] == 0
    assert promised["everyone", "", "flagged", 0.002] == 0
    results = Results("command", "report", (), [result])
    assert "flagged, 0.2 promised" in as_markdown(results)
    assert "main, seed 1" in as_markdown(results)
    assert as_csv(results).count("\n") > 20
    assert set(pictures(results)) == {"roc-main.svg", "calibration-main.svg"}


@pytest.mark.slow
def test_a_tiny_cell_runs_from_corpora_to_figures(
    corpora: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path))
    cell = Cell(
        "tiny", "main", campaigns=("hydra-random:m=6,rate=40,links=1",), accounts=130, events=6_000
    )
    result = protocol.run_cell(corpora, None, cell)
    names = [s.system for s in result.systems]
    assert names[0] == "distilwatch"
    assert {"rate limit", "ECOD on volume", "MMD", "PRADA", "CAP"} < set(names)
    assert result.systems[0].attacking == 6
    assert all(0 <= s.auroc <= 1 for s in result.systems)
