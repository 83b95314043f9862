"""Writes what the protocol measured: one table (CSV and Markdown), charts, and a page for docs/."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import numpy as np

from pipelines import metrics
from pipelines.evaluate import promised
from pipelines.promises import CLASS, EVERYONE
from pipelines.protocol import charts
from pipelines.protocol.adaptive import report as adaptive
from pipelines.protocol.adaptive.rounds import AdaptiveResult
from pipelines.protocol.charts import Axis, Line
from pipelines.protocol.delay import report as delay
from pipelines.protocol.delay.measure import DelayResult
from pipelines.protocol.figures import PRODUCT, CellResult, SystemResult
from pipelines.protocol.power import Power, WindowRow, powers
from pipelines.protocol.scorers import OURS, OURS_COORDINATES
from schemas.errors import DistilwatchError

HEADER = ("protocol", "group", "cell", "system", "measure", "value", "low", "high", "n")
CHOSEN_LEVEL = 0.001
"""The level our window detector is used at, chosen on the fit and choose parts."""

# Published figures, arXiv 2606.05725: windows of 1,500; benign flagged, then mixtures.
PUBLISHED = {
    "MMD": (0.0029, 0.590, 0.937, 1.0, 1.0, 1.0),
    "Mahalanobis": (0.142, 0.705, 0.832, 0.919, 0.990, 1.0),
    "SEAT": (0.136, 0.317, 0.645, 0.932, 0.979, 1.0),
    "DATE": (0.125, 0.397, 0.567, 0.861, 0.950, 0.993),
    "CAP": (0.168, 0.264, 0.348, 0.619, 0.860, 0.954),
    "PRADA": (0.073, 0.189, 0.254, 0.582, 0.663, 0.778),
}


@dataclass(frozen=True, slots=True)
class Results:
    """All that was measured.

    Attributes:
      command: with which it was measured.
      part: of the corpora.
      windows: rows of the window protocol.
      cells: of the account protocol.
      delays: time to the first alert, a result for each cell looked at.
      adaptive: the game with an attacker that adapts, None when it was not played.
    """

    command: str
    part: str
    windows: Sequence[WindowRow] = field(default=())
    cells: Sequence[CellResult] = field(default=())
    delays: Sequence[DelayResult] = field(default=())
    adaptive: AdaptiveResult | None = None


def write(results: Results, folder: Path) -> list[Path]:
    """Writes `protocol.csv`, `protocol.md` and the charts, and `adaptive.csv` if it was played.

    Args:
      results: what was measured.
      folder: made when it is not there.

    Raises:
      DistilwatchError: when the folder cannot be written.
    """
    files = {"protocol.csv": as_csv(results), "protocol.md": as_markdown(results)}
    if results.adaptive is not None:
        files["adaptive.csv"] = adaptive.as_csv(results.adaptive)
    files |= pictures(results)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DistilwatchError(
            f"the results cannot be written ({error.strerror})", f"--out {folder}", "choose another"
        ) from error
    return [folder / name for name in files]


# --- the one table -------------------------------------------------------------------------------


def as_csv(results: Results) -> str:
    """Every figure as a row of `HEADER`."""
    out = StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(HEADER)
    for r in results.windows:
        table.writerow(
            (
                "windows", f"{r.part}: {r.source}", f"{r.attack}, {r.size} prompts, seed {r.seed}",
                r.method, f"flagged at mixture {r.mixture:g}, level {r.level:g}",
                f"{r.flagged:.6g}", "", "", r.windows,
            )
        )  # fmt: skip
    for result in results.cells:
        table.writerows(_cell_rows(result))
    table.writerows(delay.rows(results.delays))
    return out.getvalue()


def _cell_rows(result: CellResult) -> list[tuple[object, ...]]:
    cell = result.cell
    rows: list[tuple[object, ...]] = []

    def add(
        system: str, measure: str, value: float, n: object = "", low: float = math.nan,
        high: float = math.nan,
    ) -> None:  # fmt: skip
        shown = ["" if math.isnan(v) else f"{v:.6g}" for v in (value, low, high)]
        rows.append(("accounts", cell.group, cell.name, system, measure, *shown, n))

    for s in result.systems:
        for name, share in (("0.1 %", s.at_001), ("1 %", s.at_01)):
            add(s.system, f"recall at {name} of benign", share.value, s.attacking, share.low,
                share.high)  # fmt: skip
        add(s.system, "AUROC", s.auroc, s.attacking + s.benign)
        add(s.system, "average precision", s.average_precision, s.attacking + s.benign)
    quality = result.clusters
    for name, value in (
        ("cluster precision", quality.precision),
        ("cluster recall", quality.recall),
        ("cluster purity", quality.purity),
        ("share of campaign traffic in flagged clusters", result.traffic),
        ("share of campaign traffic before its first alert", result.before_alert),
    ):
        add(PRODUCT, name, value, quality.clusters)
    for kind in result.kinds:
        add(PRODUCT, f"{kind.kind}: recall at 0.1 % of benign", kind.at_001, kind.accounts)
        add(PRODUCT, f"{kind.kind}: recall at 1 % of benign", kind.at_01, kind.accounts)
        flagged = kind.flagged / max(kind.accounts, 1)
        add(PRODUCT, f"{kind.kind}: in flagged clusters", flagged, kind.accounts)
    for p in result.promises:
        measure = f"benign {p.kind} {p.name}".rstrip() + f": {p.measure}, {p.promised:.3g} promised"
        add(PRODUCT, measure, p.share, p.accounts, p.low, p.high)
    for language, (recall, n) in result.languages.items():
        add(PRODUCT, f"prompts {language}: recall at 1 % of benign", recall, n)
    return rows


# --- in words ------------------------------------------------------------------------------------


def as_markdown(results: Results) -> str:
    """The figures as a page."""
    lines = ["# Protocol", ""]
    if results.windows or results.cells or results.delays:
        lines += [f"The {results.part} part of the corpora.", ""]
    lines += ["```sh", results.command, "```", ""]
    if results.windows:
        lines += _window_tables(results.windows)
    if results.cells:
        lines += _account_tables(results.cells)
    if results.delays:
        lines += delay.section(results.delays)
    if results.adaptive is not None:
        lines += adaptive.section(results.adaptive)
    return "\n".join(lines).rstrip() + "\n"


def _percent(value: float, digits: int = 1) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.{digits}f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", "|---|" + "---:|" * (len(header) - 1)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def _window_tables(rows: Sequence[WindowRow]) -> list[str]:
    lines = ["## Windows", ""]
    measured = powers(rows)
    for size in sorted({p.size for p in measured}, reverse=True):
        own = [p for p in measured if p.size == size]
        mixtures = sorted(own[0].detected)
        pairs = sorted({(r.source, r.attack) for r in rows if r.size == size and r.mixture > 0})
        lines += [
            f"### Windows of {size:,} prompts",
            "",
            f"Share of windows flagged in %, mean over {len(pairs)} pairs of corpora and "
            f"{len({r.seed for r in rows})} seeds; {own[0].windows:,} benign windows.",
            "",
        ]
        table = []
        for p in sorted(own, key=lambda p: (-p.level, not p.method.startswith(OURS), p.method)):
            shares = [_percent(p.detected.get(m, math.nan)) for m in mixtures]
            table.append((p.method, f"{p.level:g}", _percent(p.benign, 2), *shares))
        if size == 1_500:
            table += [
                (f"{name}, as published", "", *(_percent(v, 2 if not i else 1)
                 for i, v in enumerate(values)))
                for name, values in PUBLISHED.items()
                if len(values) == len(mixtures) + 1
            ]  # fmt: skip
        header = ("method", "level", "benign", *(f"{_percent(m, 0)} % attack" for m in mixtures))
        lines += _table(header, table)
        lines += _pair_table([r for r in rows if r.size == size], pairs)
    return lines


def _pair_table(rows: Sequence[WindowRow], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """The chosen rule pair by pair, at the mixtures that are hard."""
    hard = sorted({r.mixture for r in rows if 0 < r.mixture <= 0.25})

    def mean(method: str, source: str, attack: str, mixture: float) -> str:
        found = [
            r.flagged
            for r in rows
            if (r.method, r.source, r.attack) == (method, source, attack)
            and r.level == CHOSEN_LEVEL
            and r.mixture == mixture
        ]
        return _percent(float(np.mean(found))) if found else "–"

    header = ["pair", "benign"]
    header += [f"{_percent(m, 0)} %{x}" for m in hard for x in ("", ", embedding only")]
    table = [
        [
            f"{attack} in {source}",
            mean(OURS, source, "benign", 0.0),
            *(mean(method, source, attack, m) for m in hard for method in (OURS, OURS_COORDINATES)),
        ]
        for source, attack in pairs
    ]
    return [f"Our detector at level {CHOSEN_LEVEL:g}, pair by pair:", "", *_table(header, table)]


def _account_tables(cells: Sequence[CellResult]) -> list[str]:
    lines = ["## Accounts", "", "Relay is left out of all but its own row.", ""]

    def estimate(value: metrics.Estimate) -> str:
        if math.isnan(value.value):
            return "–"
        return f"{_percent(value.value)} ({_percent(value.low)} to {_percent(value.high)})"

    header = (
        "cell", "accounts", "recall at 0.1 %", "recall at 1 %", "AUROC", "AP", "clusters right",
        "campaigns found", "purity", "traffic flagged", "before alert",
    )  # fmt: skip
    rows = []
    for c in cells:
        own, q = c.systems[0], c.clusters
        rows.append(
            (
                c.cell.name, f"{own.attacking} / {own.benign}", estimate(own.at_001),
                estimate(own.at_01), f"{own.auroc:.3f}", f"{own.average_precision:.3f}",
                f"{_percent(q.precision)} of {q.clusters}", _percent(q.recall), _percent(q.purity),
                _percent(c.traffic), _percent(c.before_alert),
            )
        )  # fmt: skip
    lines += _table(header, rows)
    for c in _main(cells):
        lines += [f"### {c.cell.name}: beside the baselines", ""]
        lines += _table(
            ("system", "recall at 0.1 %", "recall at 1 %", "AUROC", "AP"),
            [
                (s.system, estimate(s.at_001), estimate(s.at_01), f"{s.auroc:.3f}",
                 f"{s.average_precision:.3f}")
                for s in c.systems
            ],
        )  # fmt: skip
        lines += [f"### {c.cell.name}: by attack", ""]
        lines += _table(
            ("attack", "accounts", "recall at 0.1 %", "recall at 1 %", "in flagged clusters"),
            [
                (k.kind, str(k.accounts), _percent(k.at_001), _percent(k.at_01),
                 _percent(k.flagged / max(k.accounts, 1)))
                for k in c.kinds
            ],
        )  # fmt: skip
        languages = [(k, str(n), _percent(v)) for k, (v, n) in c.languages.items()]
        lines += _table(("language of its prompts", "accounts", "recall at 1 %"), languages)
        lines += [f"### {c.cell.name}: false positives", ""]
        section = promised(c.promises)
        lines += [f"{section.title}:", "", *_table(section.header, section.rows)]
    return lines


def _main(cells: Sequence[CellResult]) -> list[CellResult]:
    """The first main cell, and the first with the source swap."""
    out = []
    for group in ("main", "source swap"):
        out += [c for c in cells if c.cell.group == group][:1]
    return out


# --- charts --------------------------------------------------------------------------------------


def pictures(results: Results) -> dict[str, str]:
    """Charts by file name."""
    found: dict[str, str] = {}
    if results.windows:
        measured = powers(results.windows)
        for size in sorted({p.size for p in measured}):
            found[f"power-{size}.svg"] = _power_chart(measured, size)
    for c in _main(results.cells):
        name = c.cell.group.replace(" ", "-")
        found[f"roc-{name}.svg"] = _roc_chart(c)
        found[f"calibration-{name}.svg"] = _calibration_chart(c)
    sizes = [c for c in results.cells if c.cell.group == "cluster size"]
    if sizes:
        found["cluster-size.svg"] = _size_chart(sizes)
    if results.delays:
        found |= delay.pictures(results.delays)
    if results.adaptive is not None:
        found |= adaptive.pictures(results.adaptive)
    return found


def _power_chart(measured: Sequence[Power], size: int) -> str:
    """Ours at its level, the others at the published one, and what each costs in benign windows."""
    lines = []
    for p in measured:
        ours = p.method.startswith(OURS)
        if p.size == size and p.level == (CHOSEN_LEVEL if ours else 0.05):
            name = f"{p.method} ({_percent(p.benign, 2)} % benign)"
            lines.append(Line(name, tuple(sorted(p.detected.items()))))
    lines.sort(key=lambda line: not line.name.startswith(OURS))
    mixtures = sorted({m for line in lines for m, _ in line.points})
    low = mixtures[0] if len(mixtures) > 1 else mixtures[0] / 2
    ticks = tuple((m, f"{_percent(m, 0)} %") for m in mixtures)
    x = Axis("share of attack prompts in a window", low, mixtures[-1], ticks, log=True)
    return charts.chart(f"Windows of {size:,} prompts: share flagged", x, charts.PERCENT, lines)


def _roc_chart(result: CellResult) -> str:
    floor = 1e-3
    lines = []
    for system, (false, true) in result.roc.items():
        points = [(floor, float(true[false <= floor].max(initial=0.0)))]
        for x, y in zip(false, true, strict=True):
            if x > floor:
                points += [(float(x), points[-1][1]), (float(x), float(y))]
        lines.append(Line(system, tuple(points)))
    x_axis = charts.log_percent("benign accounts flagged", floor)
    title = f"Attacking accounts found, {result.cell.name}"
    return charts.chart(title, x_axis, charts.PERCENT, lines, dots=False)


def _calibration_chart(result: CellResult) -> str:
    lines = []
    for c in sorted(result.curves, key=lambda c: -c.accounts):
        if c.accounts >= 20 and c.kind in (EVERYONE, CLASS):
            # A share of nought has no place on this axis; it is drawn at the bottom.
            points = tuple(zip(c.promised, c.observed, strict=True))
            lines.append(Line(f"{c.name or c.kind} ({c.accounts})", points))
    x = charts.log_percent("p-value, which is the share promised at most", 1e-4)
    y = charts.log_percent("", 1e-4)
    title = f"Benign accounts observed, against what was promised, {result.cell.name}"
    return charts.chart(title, x, y, lines, diagonal=True, dots=False)


def _size_chart(cells: Sequence[CellResult]) -> str:
    def members(c: CellResult) -> int:
        return int(c.cell.name.removeprefix("m=").partition(",")[0])

    def points(read: str, system: int) -> tuple[tuple[float, float], ...]:
        by_size: dict[int, list[float]] = {}
        for c in cells:
            chosen: SystemResult = c.systems[system]
            by_size.setdefault(members(c), []).append(getattr(chosen, read).value)
        return tuple((float(m), float(np.nanmean(v))) for m, v in sorted(by_size.items()))

    lines = [
        Line(f"{PRODUCT}, 1 % of benign", points("at_01", 0)),
        Line(f"{PRODUCT}, 0.1 % of benign", points("at_001", 0)),
    ]
    for number, system in enumerate(cells[0].systems[1:], 1):
        lines.append(Line(f"{system.system}, 1 %", points("at_01", number)))
    sizes = sorted({members(c) for c in cells})
    ticks = tuple((float(m), f"{m:,}") for m in sizes)
    high = float(max(sizes[-1], sizes[0] + 1))
    x = Axis("accounts of a campaign", float(sizes[0]), high, ticks, log=True)
    return charts.chart(
        "Attacking accounts found, by size of the campaign", x, charts.PERCENT, lines
    )
