"""The account protocol: simulate, train, detect and judge, with the product's own functions.

A cell is one choice of everything: part of the corpora, seed, source swap, campaigns, what is left
out of the events, how much of the history is spoilt. Each cell is a whole run in a folder of its
own, with the baselines computed from the same events. Relay (A12) is judged apart: its text is that
of organic users.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pipelines import metrics
from pipelines.config import load_config
from pipelines.console import Console
from pipelines.detect import DetectOptions, detect
from pipelines.judge import Account, Alert, BenignResult, KindResult, judge, ranking
from pipelines.promises import Curve, Promise
from pipelines.protocol.baselines.accounts import Traffic, read_traffic, scores
from pipelines.protocol.prompts import read_texts
from pipelines.simulate.corpora import corpus_files, part_of
from pipelines.simulate.run import SimulateOptions
from pipelines.simulate.run import run as run_simulation
from pipelines.simulate.scenario import Campaign, CorpusChoice, composed_scenario, parse_attack
from pipelines.tables import read_accounts
from pipelines.train import TrainOptions, train
from schemas.errors import DistilwatchError
from transforms.scoring.bundle import load_bundle

RELAY = "relay"
PRODUCT = "distilwatch"
DROPS: Mapping[str, tuple[str, ...]] = {
    "": (),
    # What is left is who, when, from where and how much; and what was asked, in the other.
    "content": ("prompt_text", "embedding", "embedding_model", "embedding_dtype",
                "system_prompt_hash", "tool_names", "response_format"),
    "metadata": ("payment_fingerprint", "organization_id", "credential_id", "account_created_at",
                 "ip_prefix", "asn", "country", "client_fingerprint", "conversation_id",
                 "turn_index", "cost_usd", "temperature", "max_output_tokens", "input_tokens",
                 "output_tokens", "reasoning_tokens", "status_code", "model", "endpoint"),
}  # fmt: skip
"""Fields taken out of the events before they are trained on and detected, by ablation."""
_NO_CONTENT = "request"  # history without any text is refused


@dataclass(frozen=True, slots=True)
class Cell:
    """One run.

    Attributes:
      name: of the cell, and `group`: what it is compared with.
      part, seed, source_swap: of the corpora and draws.
      campaigns: as `--attack` has them; none: the composed scenario's own.
      drop: key of `DROPS`.
      contaminate: share of the attacking accounts that attack in the history already.
      exclude: patterns of corpora left out.
      accounts, events: benign accounts, and events in all.
    """

    name: str
    group: str
    part: str = "report"
    seed: int = 11
    source_swap: bool = False
    campaigns: tuple[str, ...] = ()
    drop: str = ""
    contaminate: float = 0.0
    exclude: tuple[str, ...] = ()
    accounts: int = 900
    events: int = 200_000


@dataclass(frozen=True, slots=True)
class SystemResult:
    """Figures of the product or of a baseline in one cell, relay left out.

    Attributes:
      cell, group, system: which.
      attacking, benign: accounts.
      at_001, at_01: recall at 0.1 % and at 1 % of benign accounts.
      auroc, average_precision: of the ranking.
    """

    cell: str
    group: str
    system: str
    attacking: int
    benign: int
    at_001: metrics.Estimate
    at_01: metrics.Estimate
    auroc: float
    average_precision: float


@dataclass(frozen=True, slots=True)
class CellResult:
    """What came out of a cell.

    Attributes:
      cell: as it was asked for.
      systems: the product first, then the baselines.
      clusters: of the product, against all campaigns but relay.
      traffic: share of the campaigns' requests that are in flagged clusters.
      before_alert: share of the campaigns' requests before the first alert; 1 if there was none.
      kinds: recall by attack, the product's, relay among them.
      benign: promised and observed false positives by class.
      languages: recall at 1 % of benign accounts by language of the campaign's prompts, with the
        number of accounts.
      roc: share of benign and of attacking accounts at each threshold, by system.
      promises, curves: what p-values promise of benign accounts, against what was observed.
    """

    cell: Cell
    systems: tuple[SystemResult, ...]
    clusters: metrics.ClusterQuality
    traffic: float
    before_alert: float
    kinds: tuple[KindResult, ...]
    benign: tuple[BenignResult, ...]
    languages: dict[str, tuple[float, int]] = field(default_factory=dict)
    roc: dict[str, tuple[metrics.Float, metrics.Float]] = field(default_factory=dict)
    promises: tuple[Promise, ...] = field(default=())
    curves: tuple[Curve, ...] = field(default=())


def cells(part: str, seeds: Sequence[int], budget: str, corpora: Sequence[str]) -> list[Cell]:
    """The grid for a budget, most telling cells first.

    Args:
      part: of the corpora.
      seeds: of the main cells; the others take the first.
      budget: `small` (about a dozen runs of 40,000 events) or `full`.
      corpora: names of the part's corpora, for leave-one-out.
    """
    small = budget == "small"
    size = {"accounts": 500, "events": 40_000} if small else {}
    first = seeds[0]

    def cell(name: str, group: str, **changes: Any) -> Cell:
        return Cell(name, group, part=part, **({"seed": first} | size | changes))

    found = []
    for seed in seeds:
        found.append(cell(f"main, seed {seed}", "main", seed=seed))
        found.append(cell(f"source swap, seed {seed}", "source swap", seed=seed, source_swap=True))
    found.append(cell("content only", "ablation", drop="metadata"))
    found.append(cell("metadata only", "ablation", drop="content"))
    for members in (1, 10, 50) if small else (1, 10, 50, 200, 1_000):
        for links in (0.5,) if small else (0.0, 0.25, 0.5, 1.0):
            # About as much of every size: few accounts ask faster, as those of real campaigns do.
            rate = {1: 900, 10: 120, 50: 46, 200: 26, 1_000: 13}[members]
            kinds = ("hydra-disjoint", "hydra-random", "mixture") if members > 1 else ("bulk",)
            attacks = tuple(f"{k}:m={members},rate={rate},links={links:g}" for k in kinds)
            found.append(cell(f"m={members}, links {links:.0%}", "cluster size", campaigns=attacks))
    if small:
        for links in (0.0, 1.0):
            attacks = tuple(
                f"{k}:m=50,rate=46,links={links:g}"
                for k in ("hydra-disjoint", "hydra-random", "mixture")
            )
            found.append(cell(f"m=50, links {links:.0%}", "visible links", campaigns=attacks))
    for share in (0.01, 0.05, 0.1):
        found.append(cell(f"history spoilt {share:.0%}", "contaminated", contaminate=share))
    if not small:
        for background in (300, 3_000, 9_000):
            found.append(
                cell(f"{background} benign accounts", "background", accounts=background, events=0)
            )
        found += [
            cell(f"without {name}", "leave one corpus out", exclude=(name,))
            for name in corpora
            if not name.startswith("seed_") and "meta_prompts" not in name
        ]
    return found


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
    return _result(cell, accounts, alerts, base_scores, home.now, languages)


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


def _result(
    cell: Cell,
    accounts: Sequence[Account],
    alerts: Sequence[Alert],
    baselines: Mapping[str, metrics.Float],
    live: Traffic,
    languages: Mapping[str, str],
) -> CellResult:
    everyone = judge(accounts, alerts, draws=200)
    kept = [i for i, a in enumerate(accounts) if a.kind != RELAY]
    chosen = [accounts[i] for i in kept]
    attack = np.array([a.attack for a in chosen], bool)
    campaigns = [a.campaign or None for a in chosen]
    ranked: dict[str, metrics.Float] = {PRODUCT: ranking(chosen)}
    ranked |= {name: values[kept] for name, values in baselines.items()}
    systems = tuple(
        SystemResult(
            cell.name,
            cell.group,
            name,
            int(attack.sum()),
            int((~attack).sum()),
            metrics.recall_at(values, attack, 0.001, campaigns),
            metrics.recall_at(values, attack, 0.01, campaigns),
            metrics.auroc(values, attack),
            metrics.average_precision(values, attack),
        )
        for name, values in ranked.items()
    )
    without_relay = judge(chosen, alerts, draws=2)
    limit = metrics.threshold_at(ranked[PRODUCT][~attack], 0.01)
    by_language: dict[str, list[bool]] = {}
    for account, score in zip(chosen, ranked[PRODUCT], strict=True):
        if account.attack:
            known = languages.get(account.account, "mixed or unknown")
            by_language.setdefault(known, []).append(bool(score > limit))
    return CellResult(
        cell,
        systems,
        without_relay.clusters,
        without_relay.by_traffic.recall,
        _before_alert(chosen, alerts, live),
        everyone.kinds,
        everyone.benign_classes,
        {k: (float(np.mean(v)), len(v)) for k, v in sorted(by_language.items())},
        {name: _roc(values, attack) for name, values in ranked.items()},
        everyone.promises,
        everyone.curves,
    )


def _before_alert(accounts: Sequence[Account], alerts: Sequence[Alert], live: Traffic) -> float:
    """Share of the campaigns' requests made before the campaign's first alert."""
    members: dict[str, list[str]] = {}
    for account in accounts:
        if account.attack:
            members.setdefault(account.campaign or account.account, []).append(account.account)
    before = total = 0
    for own in members.values():
        times = np.array([t for a in own for t in live.times.get(a, ())])
        alerted = [
            alert.first_alert_ms
            for alert in alerts
            if alert.first_alert_ms and set(own).intersection(alert.accounts)
        ]
        total += len(times)
        before += int((times < min(alerted, default=math.inf)).sum())
    return before / total if total else math.nan


def _roc(values: metrics.Float, attack: metrics.Bool) -> tuple[metrics.Float, metrics.Float]:
    """Benign and attacking accounts flagged at each threshold, as shares, from none to all."""
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))
    false = np.cumsum(~attack[order])[ends] / max(1, int((~attack).sum()))
    true = np.cumsum(attack[order])[ends] / max(1, int(attack.sum()))
    return np.concatenate([[0.0], false]), np.concatenate([[0.0], true])


def part_corpora(folder: Path, part: str) -> list[str]:
    """Names of the corpora of a part."""
    return [name for name in corpus_files(folder) if part_of(name) == part]
