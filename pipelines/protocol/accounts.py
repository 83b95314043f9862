"""The account protocol: simulate, train, detect and judge, with the product's own functions.

A cell is one choice of everything: part of the corpora, seed, source swap, campaigns, what is left
out of the events, how much of the history is spoilt. Each cell is a whole run in a folder of its
own, with the baselines computed from the same events. Relay (A12) is judged apart: its text is that
of organic users.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson

from pipelines.config import load_config
from pipelines.console import Console
from pipelines.detect import DetectOptions, detect
from pipelines.protocol.baselines.accounts import Traffic, read_traffic, scores
from pipelines.protocol.figures import CellResult, result_of
from pipelines.protocol.grid import DROPS, Cell
from pipelines.protocol.prompts import read_texts
from pipelines.simulate.corpora import corpus_files, part_of
from pipelines.simulate.run import SimulateOptions
from pipelines.simulate.run import run as run_simulation
from pipelines.simulate.scenario import Campaign, CorpusChoice, composed_scenario, parse_attack
from pipelines.tables import read_accounts
from pipelines.train import TrainOptions, train
from schemas.errors import DistilwatchError
from transforms.scoring.bundle import load_bundle

_NO_CONTENT = "request"  # history without any text is refused


def run_cells(
    folder: Path, traces: Path | None, wanted: Sequence[Cell], console: Console
) -> list[CellResult]:
    """Runs cells one after the other; one that cannot be run is told of and left out.

    Raises:
      DistilwatchError: when the first cell cannot be run.
    """
    chinese = _chinese(folder)
    done: list[CellResult] = []
    for number, cell in enumerate(wanted):
        console.step(f"{cell.name} ({number + 1} of {len(wanted)})")
        try:
            done.append(run_cell(folder, traces, cell, chinese))
        except DistilwatchError as error:
            if not number:
                raise
            console.warn(f"{cell.name} was left out: {error}")
    return done


@dataclass(frozen=True, slots=True)
class Home:
    """What a cell's run is made of, in a folder of its own.

    Attributes:
      history, live: events; `labels`: the truth about them.
      bundle: trained on the history.
      past, now: what the baselines look at in both, before any field was dropped.
    """

    history: Path
    live: Path
    labels: Path
    bundle: Path
    past: Traffic
    now: Traffic


def prepare(folder: Path, traces: Path | None, cell: Cell, home: Path) -> Home:
    """Simulates a cell's traffic and trains on its history.

    Args:
      folder: of the corpora.
      traces: of the traces, or None.
      cell: what to run.
      home: where everything is put.
    """
    history, live, labels = home / "history.jsonl", home / "live.jsonl", home / "labels.jsonl"
    quiet = Console(as_json=True)
    base = composed_scenario(folder, traces, cell.events, cell.seed, cell.part)
    campaigns = tuple(map(parse_attack, cell.campaigns)) or base.campaigns
    scenario = replace(
        base,
        accounts=cell.accounts,
        campaigns=_sized(campaigns, base.events, cell),
        contaminate=cell.contaminate,
        corpus=CorpusChoice(folder, cell.part, (), cell.exclude, cell.source_swap),
    )
    run_simulation(SimulateOptions(str(live), str(history), labels, scenario), quiet)
    past, now = read_traffic(history), read_traffic(live)
    for path in (history, live):
        drop_fields(path, DROPS[cell.drop])
    bundle = home / "bundle"
    train(TrainOptions([str(history)], bundle, load_config(None), "direct", []), quiet)
    return Home(history, live, labels, bundle, past, now)


def detect_into(database: Path, live: Path, bundle: Path) -> None:
    """Runs the main job on a file of events, with default settings."""
    options = DetectOptions(
        [str(live)], bundle, [f"duckdb:///{database}"], load_config(None), "direct", None, []
    )
    detect(options, Console(as_json=True))


def run_cell(
    folder: Path, traces: Path | None, cell: Cell, chinese: frozenset[str] = frozenset()
) -> CellResult:
    """One run: simulate, train, detect, judge.

    Args:
      folder: of the corpora.
      traces: of the traces, or None.
      cell: what to run.
      chinese: names of corpora in Chinese.
    """
    with tempfile.TemporaryDirectory(prefix="distilwatch-protocol-") as name:
        home = prepare(folder, traces, cell, Path(name))
        database = Path(name) / "out.duckdb"
        detect_into(database, home.live, home.bundle)
        accounts, alerts, _ = read_accounts(database, home.labels)
        space = load_bundle(home.bundle).space
        base_scores = scores(home.now, home.past, space, [a.account for a in accounts])
        truth = [json.loads(row) for row in home.labels.read_text(encoding="utf-8").splitlines()]
        languages = {
            row["account_id"]: _language(row.get("corpora") or (), chinese) for row in truth
        }
    return result_of(cell, accounts, alerts, base_scores, home.now, languages)


def _sized(campaigns: Sequence[Campaign], events: int, cell: Cell) -> tuple[Campaign, ...]:
    """Campaigns as asked for; those of the scenario are made smaller where they would not fit."""
    if cell.campaigns or not events or events >= 200_000:
        return tuple(campaigns)
    share = max(0.25, events / 200_000)
    return tuple(
        replace(c, members=max(1, round(c.members * max(share, 0.4))), rate=c.rate * 0.6)
        if c.members > 1
        else replace(c, rate=max(200.0, c.rate * share))
        for c in campaigns
    )


def drop_fields(path: Path, names: Sequence[str]) -> None:
    """Rewrites a file of events without some fields; a prompt becomes the same for everybody."""
    if not names:
        return
    kept = path.with_suffix(".kept")
    with path.open("rb") as lines, kept.open("wb") as out:
        for line in lines:
            event = orjson.loads(line)
            for name in names:
                event.pop(name, None)
            if "prompt_text" in names:
                event["prompt_text"] = _NO_CONTENT
            out.write(orjson.dumps(event) + b"\n")
    kept.replace(path)


def _chinese(folder: Path) -> frozenset[str]:
    found = set()
    for name, path in corpus_files(folder).items():
        texts = read_texts(path, 300)
        if np.mean([any("\u4e00" <= c <= "\u9fff" for c in t[:200]) for t in texts]) > 0.5:
            found.add(name)
    return frozenset(found)


def _language(corpora: Sequence[str], chinese: frozenset[str]) -> str:
    """zh or en when all corpora of an account are, else mixed."""
    known = {name in chinese for name in corpora}
    if len(known) != 1:
        return "mixed or unknown"
    return "zh" if known.pop() else "en"


def part_corpora(folder: Path, part: str) -> list[str]:
    """Names of the corpora of a part."""
    return [name for name in corpus_files(folder) if part_of(name) == part]
