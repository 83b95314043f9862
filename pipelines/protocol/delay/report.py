"""What a delay is shown as: a table by campaign and by attack, rows of the one table, a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipelines.protocol import charts
from pipelines.protocol.charts import Line
from pipelines.protocol.delay.measure import Delay, DelayResult

_FLOOR = 1e-3


def headline(result: DelayResult) -> str:
    """One sentence."""
    found = [d for d in result.delays if d.alert_ms is not None]
    share = float(np.median([d.share for d in result.delays])) if result.delays else math.nan
    return (
        f"{result.cell.name}: {len(found)} of {len(result.delays)} campaigns flagged; half of them "
        f"by the time they had made {100 * share:.1f} % of their requests, looking every "
        f"{result.step_hours:.1f} h."
    )


def rows(results: Sequence[DelayResult]) -> list[tuple[object, ...]]:
    """Rows of the protocol's one table."""
    return [
        ("delay", r.cell.group, r.cell.name, f"{d.kind} {d.campaign}", measure, f"{value:.6g}", "",
         "", d.requests)
        for r in results
        for d in r.delays
        for measure, value in (
            ("requests before the first alert", d.before),
            ("share of requests before the first alert", d.share),
            ("hours to the first alert", d.hours),
        )
    ]  # fmt: skip


def section(results: Sequence[DelayResult]) -> list[str]:
    """The figures in Markdown."""
    lines = ["## Time to the first alert", ""]
    for result in results:
        lines += [headline(result), ""]
        lines += [
            "| attack | campaign | accounts | requests | before the alert | share, % | hours |",
            "|---|---|---:|---:|---:|---:|---:|",
        ]
        lines += [_row(d) for d in result.delays] + [""]
    return lines


def _row(d: Delay) -> str:
    never = d.alert_ms is None
    return (
        f"| {d.kind} | {d.campaign} | {d.accounts:,} | {d.requests:,} | "
        f"{'never' if never else f'{d.before:,}'} | {'–' if never else f'{100 * d.share:.1f}'} | "
        f"{'–' if never else f'{d.hours:.1f}'} |"
    )


def pictures(results: Sequence[DelayResult]) -> dict[str, str]:
    """The chart: share of campaigns flagged against what they had got by then."""
    lines = []
    for r in results:
        shares = np.sort([d.share if d.alert_ms is not None else math.inf for d in r.delays])
        points = [(_FLOOR, 0.0)]
        for i, x in enumerate(shares[np.isfinite(shares)].tolist(), 1):
            x = max(x, _FLOOR)
            points += [(x, points[-1][1]), (x, i / len(shares))]
        points.append((1.0, points[-1][1]))
        lines.append(Line(r.cell.name, tuple(points)))
    x = charts.log_percent("share of its requests a campaign had made", _FLOOR)
    title = "Campaigns flagged, by what they had got"
    return {"delay.svg": charts.chart(title, x, charts.PERCENT, lines, dots=False)}
