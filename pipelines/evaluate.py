"""Compares the tables of a run with labels, and shows the figures.

The figures themselves are computed in `pipelines.judge`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.judge import Account, Evaluation, judge, ranking
from pipelines.metrics import Estimate
from pipelines.promises import EVERYONE, Promise
from pipelines.tables import read_accounts
from schemas.errors import DistilwatchError

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "as_markdown",
    "evaluate",
    "judge",
    "read_accounts",
    "sections",
    "tables",
    "write_plots",
]


def evaluate(duckdb_path: Path, labels: Path, draws: int = 1000) -> Evaluation:
    """Compares what `detect` wrote with labels.

    Args:
      duckdb_path: tables.
      labels: JSON lines as `schemas.labels` has them.
      draws: bootstrap samples for the intervals.

    Raises:
      DistilwatchError: when tables or labels cannot be read.
    """
    accounts, alerts, first_ms = read_accounts(duckdb_path, labels)
    return judge(accounts, alerts, first_ms, draws)


@dataclass(frozen=True, slots=True)
class Section:
    """A table in words: the first column is text, the others are figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.2f} %"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def _interval(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "–"
    return f"{_percent(estimate.value)} ({_percent(estimate.low)} to {_percent(estimate.high)})"


def _hours(hours: float | None) -> str:
    if hours is None:
        return "not known"
    return "never" if math.isinf(hours) else f"{hours:.1f} h"


def sections(result: Evaluation) -> list[Section]:
    """All figures, in words."""
    quality = result.clusters
    summary = (
        ("attacking accounts", f"{result.attacking:,}"),
        ("benign accounts", f"{result.benign:,}"),
        ("recall at 0.1 % of benign accounts", _interval(result.recall["0.001"])),
        ("recall at 1 % of benign accounts", _interval(result.recall["0.01"])),
        ("AUROC", _number(result.auroc)),
        ("average precision", _number(result.average_precision)),
        ("flagged accounts: precision", _percent(result.by_account.precision)),
        ("flagged accounts: recall", _percent(result.by_account.recall)),
        ("flagged requests: precision", _percent(result.by_traffic.precision)),
        ("flagged requests: recall", _percent(result.by_traffic.recall)),
        ("flagged clusters", f"{quality.clusters:,}"),
        ("clusters that are attacks (precision)", _percent(quality.precision)),
        ("campaigns found (recall)", _percent(quality.recall)),
        ("members of their cluster's campaign (purity)", _percent(quality.purity)),
        ("campaign in its best cluster (completeness)", _percent(quality.completeness)),
    )
    kinds = tuple(
        (
            k.kind,
            f"{k.campaigns:,}",
            f"{k.accounts:,}",
            f"{k.flagged:,}",
            _percent(k.at_001),
            _percent(k.at_01),
        )
        for k in result.kinds
    )
    campaigns = tuple(
        (
            c.campaign,
            c.kind,
            f"{c.accounts:,}",
            f"{c.requests:,}",
            f"{c.flagged:,}",
            f"{c.clusters:,}",
            _hours(c.hours_to_alert),
        )
        for c in result.campaigns
    )
    benign = tuple(
        (
            b.kind,
            f"{b.accounts:,}",
            f"{b.flagged:,}",
            _percent(b.flagged / b.accounts),
        )
        for b in result.benign_classes
    )
    out = [Section("Summary", ("measure", "value"), summary)]
    if kinds:
        header = ("attack", "campaigns", "accounts", "flagged", "recall at 0.1 %", "recall at 1 %")
        out.append(Section("By attack", header, kinds))
        names = ("campaign", "attack", "accounts", "requests", "flagged", "clusters", "to alert")
        out.append(Section("By campaign", names, campaigns))
    if benign:
        heads = ("benign class", "accounts", "flagged", "share flagged")
        out.append(Section("False positives", heads, benign))
    if result.promises:
        out.append(promised(result.promises))
    return out


def promised(made: Sequence[Promise]) -> Section:
    """Observed shares of benign accounts, each column under the share that was promised."""
    columns = list(dict.fromkeys((p.measure, p.promised) for p in made))
    rows: dict[tuple[str, str], dict[tuple[str, float], Promise]] = {}
    for p in made:
        rows.setdefault((p.kind, p.name), {})[p.measure, p.promised] = p
    return Section(
        f"Promised and observed, % of benign accounts ({BROKEN}: more than promised)",
        ("accounts of", "accounts", *(f"{m}, {100 * v:.3g} promised" for m, v in columns)),
        tuple(
            (
                "everyone" if kind == EVERYONE else f"{kind} {name or '(none)'}",
                f"{max(p.accounts for p in cells.values()):,}",
                *(_observed(cells[column]) for column in columns),
            )
            for (kind, name), cells in rows.items()
        ),
    )


BROKEN = "!"


def _observed(promise: Promise) -> str:
    if math.isnan(promise.share):
        return "–"
    share, low, high = (f"{100 * v:.2f}" for v in (promise.share, promise.low, promise.high))
    return f"{share} ({low} to {high})" + (f" {BROKEN}" if promise.broken else "")


def tables(result: Evaluation) -> list[Table | str]:
    """The figures for a terminal."""
    from rich.table import Table
    from rich.text import Text

    out: list[Table | str] = []
    for section in sections(result):
        table = Table(
            title=section.title,
            title_justify="left",
            title_style="bold",
            box=None,
            pad_edge=False,
            header_style="dim",
        )
        for i, name in enumerate(section.header):
            table.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
        for row in section.rows:
            table.add_row(*(Text(cell) for cell in row))
        out += [table, ""]
    out += [f"Note: {note}." for note in result.notes]
    return out


def as_markdown(result: Evaluation) -> str:
    """The figures as Markdown."""
    lines = ["# Evaluation", ""]
    for section in sections(result):
        lines += [f"## {section.title}", ""]
        lines.append(f"| {' | '.join(section.header)} |")
        lines.append("|---|" + "---:|" * (len(section.header) - 1))
        for row in section.rows:
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |")
        lines.append("")
    lines += [f"Note: {note}." for note in result.notes]
    return "\n".join(lines).strip() + "\n"


def write_markdown(result: Evaluation, path: Path) -> Path:
    """Writes the figures as Markdown; the folder is made when it is not there.

    Raises:
      DistilwatchError: when the file cannot be written.
    """
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_markdown(result), encoding="utf-8")
    except OSError as error:
        raise DistilwatchError(
            f"the figures cannot be written ({error.strerror})", str(path), "choose another place"
        ) from error
    return path


# --- pictures ------------------------------------------------------------------------------------

_LEFT, _TOP, _SIDE = 64, 40, 400
_FLOOR = 1e-4


def write_plots(accounts: Sequence[Account], folder: Path) -> list[Path]:
    """Writes the ROC curve and the calibration as SVG files.

    Args:
      accounts: as `read_accounts` has them.
      folder: made when it is not there.

    Raises:
      DistilwatchError: when the folder cannot be written.
    """
    attack = np.array([a.attack for a in accounts], bool)
    pictures = {}
    if attack.any() and not attack.all():
        pictures["roc.svg"] = _roc(ranking(accounts), attack)
    own = np.array([a.own_p for a in accounts if not a.attack and not math.isnan(a.own_p)])
    if len(own):
        pictures["calibration.svg"] = _calibration(own)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            (folder / name).write_text(picture, encoding="utf-8")
    except OSError as error:
        raise DistilwatchError(
            f"the pictures cannot be written ({error.strerror})",
            str(folder),
            "choose another place",
        ) from error
    return [folder / name for name in pictures]


def _roc(scores: np.ndarray, attack: np.ndarray) -> str:
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    x = np.cumsum(~attack[order])[ends] / (~attack).sum()
    y = np.cumsum(attack[order])[ends] / attack.sum()
    points = [(_FLOOR, 0.0)]
    for share, recall in zip(x, y, strict=True):
        points += [(max(float(share), _FLOOR), points[-1][1]), (max(float(share), _FLOOR), recall)]
    line = [(_log_x(px), _TOP + _SIDE * (1 - py)) for px, py in points]
    labels = [(f"{100 * v:g} %", _TOP + _SIDE * (1 - v)) for v in (0, 0.25, 0.5, 0.75, 1)]
    title = "Attacking accounts found, by share of benign accounts flagged"
    return _picture(title, "benign accounts flagged", line, labels)


def _calibration(own: np.ndarray) -> str:
    grid = np.geomspace(_FLOOR, 1, 80)
    seen = np.array([(own <= p).mean() for p in grid])
    line = [(_log_x(float(p)), _log_y(float(s))) for p, s in zip(grid, seen, strict=True) if s > 0]
    labels = [(f"{100 * v:g} %", _log_y(v)) for v in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)]
    diagonal = [(_log_x(_FLOOR), _log_y(_FLOOR)), (_log_x(1.0), _log_y(1.0))]
    title = "Benign accounts with at most a p-value, against what it promises"
    return _picture(title, "p-value", line, labels, diagonal)


def _log_x(value: float) -> float:
    return _LEFT + _SIDE * (1 - math.log(max(value, _FLOOR)) / math.log(_FLOOR))


def _log_y(value: float) -> float:
    return _TOP + _SIDE * math.log(max(value, _FLOOR)) / math.log(_FLOOR)


def _picture(
    title: str,
    axis: str,
    line: Sequence[tuple[float, float]],
    y_labels: Sequence[tuple[str, float]],
    diagonal: Sequence[tuple[float, float]] = (),
) -> str:
    right, bottom = _LEFT + _SIDE, _TOP + _SIDE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right + 24} {bottom + 56}" '
        f'width="{right + 24}" role="img" font-family="system-ui, sans-serif" font-size="12">',
        f'<title>{title}</title><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{_LEFT}" y="22" font-size="14" font-weight="600">{title}</text>',
    ]
    for text, y in y_labels:
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#dde3ea"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for value in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        x = _log_x(value)
        parts.append(f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="#dde3ea"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{100 * value:g} %</text>'
        )
    parts.append(
        f'<text x="{_LEFT + _SIDE / 2}" y="{bottom + 42}" text-anchor="middle">{axis}</text>'
    )
    if diagonal:
        parts.append(_path(diagonal, "#8a97a5", ' stroke-dasharray="4 4"'))
    parts.append(_path(line, "#1f5fbf", ' stroke-width="2.2"'))
    return "\n".join([*parts, "</svg>", ""])


def _path(points: Sequence[tuple[float, float]], colour: str, more: str) -> str:
    steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{steps}" fill="none" stroke="{colour}"{more}/>'
