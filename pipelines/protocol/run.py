"""`distilwatch evaluate --protocol`: the protocols over a folder of corpora and traces."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.console import Console
from pipelines.protocol.accounts import part_corpora, run_cells
from pipelines.protocol.adaptive.report import headline
from pipelines.protocol.adaptive.rounds import AdaptiveOptions, AdaptiveResult, play
from pipelines.protocol.delay.measure import DelayResult, measure
from pipelines.protocol.delay.report import headline as delay_headline
from pipelines.protocol.figures import CellResult
from pipelines.protocol.grid import cells
from pipelines.protocol.power import BENIGN, WindowRow, powers
from pipelines.protocol.report import CHOSEN_LEVEL, Results, write
from pipelines.protocol.scorers import OURS
from pipelines.protocol.windows import WindowOptions, run_windows


@dataclass(frozen=True, slots=True)
class ProtocolOptions:
    """What to run.

    Attributes:
      corpora, traces: folders; no traces: the simulator's own timing. Only the adaptive attacker
        does without corpora: prompts are invented then.
      out: folder of the results.
      part: of the corpora.
      seeds: of the draws.
      budget: how many account cells, and how large, see `accounts.cells`.
      only: which protocol; `both` are windows and accounts.
      windows: how many windows; None: by budget.
      max_cells: of the account protocol and of the delays, which take the main ones; 0 for all.
      looks: instants at which delays look at what is flagged.
      adaptive: sizes of the game with an attacker that adapts; its corpora, traces, part and seed
        are those of here.
    """

    corpora: Path | None
    traces: Path | None
    out: Path
    part: str = "report"
    seeds: tuple[int, ...] = (11,)
    budget: str = "small"
    only: str = "both"
    windows: WindowOptions | None = None
    max_cells: int = 0
    looks: int = 24
    adaptive: AdaptiveOptions = field(default_factory=AdaptiveOptions)


@dataclass(frozen=True, slots=True)
class ProtocolSummary:
    """What was measured and written."""

    windows: list[WindowRow]
    cells: list[CellResult]
    wrote: list[str]
    adaptive: AdaptiveResult | None = None
    delays: list[DelayResult] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For machines: the main figures."""
        found: dict[str, Any] = {
            "windows": [
                {
                    "method": p.method,
                    "size": p.size,
                    "level": p.level,
                    "benign": p.benign,
                    "detected": {f"{m:g}": v for m, v in p.detected.items()},
                    "benign_windows": p.windows,
                }
                for p in powers(self.windows)
            ]
        }
        found["accounts"] = [
            {
                "cell": c.cell.name,
                "system": s.system,
                "recall_at_0.001": s.at_001.value,
                "recall_at_0.01": s.at_01.value,
                "auroc": s.auroc,
                "average_precision": s.average_precision,
            }
            for c in self.cells
            for s in c.systems
        ]
        if self.delays:
            found["delays"] = [
                {
                    "cell": r.cell.name,
                    "campaign": d.campaign,
                    "kind": d.kind,
                    "requests": d.requests,
                    "before_alert": d.before if d.alert_ms is not None else None,
                }
                for r in self.delays
                for d in r.delays
            ]
        if self.adaptive is not None:
            found["adaptive"] = [
                {
                    "round": r.number,
                    "accounts": r.accounts,
                    "accounts_flagged": r.flagged_accounts,
                    "useful": r.useful,
                    "useful_through": r.through,
                    "usd": r.bill.total,
                }
                for r in self.adaptive.rounds
            ]
        return found

    def lines(self) -> list[str]:
        """For people."""
        told = []
        for p in powers(self.windows):
            if p.method == OURS and p.level == CHOSEN_LEVEL:
                shares = ", ".join(
                    f"{100 * v:.1f} % at {100 * m:g} %" for m, v in p.detected.items()
                )
                told.append(
                    f"Windows of {p.size:,}: {100 * p.benign:.2f} % of {p.windows:,} {BENIGN} "
                    f"windows flagged; with attack prompts in them: {shares}."
                )
        for c in self.cells:
            own = c.systems[0]
            told.append(
                f"{c.cell.name}: recall {100 * own.at_001.value:.1f} % at 0.1 % and "
                f"{100 * own.at_01.value:.1f} % at 1 % of {own.benign:,} benign accounts, AUROC "
                f"{own.auroc:.3f}."
            )
        told += [delay_headline(r) for r in self.delays]
        if self.adaptive is not None:
            told.append(headline(self.adaptive))
        return told


def run(options: ProtocolOptions, command: str, console: Console) -> ProtocolSummary:
    """Runs what was asked for and writes the results.

    Args:
      options: what to run.
      command: as it is written into the page.
      console: told of the progress.

    Raises:
      DistilwatchError: corpora or traces cannot be used, or the results cannot be written.
    """
    rows: list[WindowRow] = []
    found: list[CellResult] = []
    played = _play(options, console) if options.only == "adaptive" else None
    if options.only in ("both", "windows"):
        assert options.corpora is not None  # the command asks for them
        console.step("Windows")
        size = options.windows
        if size is None:
            size = WindowOptions() if options.budget == "full" else WindowOptions(seeds=(1,))
        rows = run_windows(options.corpora, options.part, size, console)
    late: list[DelayResult] = []
    if options.only in ("both", "accounts", "delay"):
        assert options.corpora is not None
        wanted = cells(
            options.part, options.seeds, options.budget, part_corpora(options.corpora, options.part)
        )
        if options.only == "delay":
            wanted = [cell for cell in wanted if cell.group in ("main", "source swap")]
        if options.max_cells:
            wanted = wanted[: options.max_cells]
        if options.only == "delay":
            late = [
                measure(options.corpora, options.traces, cell, options.looks, console)
                for cell in wanted
            ]
        else:
            found = run_cells(options.corpora, options.traces, wanted, console)
    console.step("Write the results")
    wrote = write(Results(command, options.part, rows, found, late, played), options.out)
    return ProtocolSummary(rows, found, [str(path) for path in wrote], played, late)


def _play(options: ProtocolOptions, console: Console) -> AdaptiveResult:
    game = options.adaptive
    if options.budget == "full":
        game = replace(game, accounts=900, events=200_000, wanted=12_000)
    game = replace(
        game,
        corpora=options.corpora,
        traces=options.traces,
        part=options.part,
        seed=options.seeds[0],
    )
    return play(game, console)
