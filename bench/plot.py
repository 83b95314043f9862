"""A plot of a comparison: events a second and core of each job, and the memory it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_OURS, _OTHERS, _LIMIT = "#1f6f8b", "#b9b3a9", "#c9883a"


@dataclass(frozen=True)
class Bar:
    """One job of a panel.

    Attributes:
      job: its name.
      low, median, high: events a second and core.
      peak_mb: the most memory.
    """

    job: str
    low: float
    median: float
    high: float
    peak_mb: float

    @property
    def colour(self) -> str:
        """Ours, the limit, or another's."""
        if self.job == "limit":
            return _LIMIT
        return _OURS if self.job.startswith(("batched", "detect")) else _OTHERS


def draw(panels: Sequence[tuple[str, Sequence[Bar]]], note: str, files: Sequence[Path]) -> None:
    """Draws one row of two plots a panel: rates with the spread of the runs, and memory.

    Args:
      panels: title and jobs of each.
      note: what it was measured on.
      files: to write, in the format that their names end in.

    Raises:
      ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    # The same file for the same figures: no random ids, no date.
    mpl.rcParams.update({"svg.hashsalt": "bench", "font.size": 9})
    from matplotlib import pyplot

    height = 1.2 + sum(0.3 * len(bars) + 0.9 for _, bars in panels)
    figure, axes = pyplot.subplots(
        len(panels), 2, squeeze=False, figsize=(10, height),
        gridspec_kw={"width_ratios": (3, 1), "height_ratios": [len(b) + 2 for _, b in panels]},
    )  # fmt: skip
    for (title, bars), (rate, memory) in zip(panels, axes, strict=True):
        at, colours = range(len(bars)), [bar.colour for bar in bars]
        spread = [[b.median - b.low for b in bars], [b.high - b.median for b in bars]]
        rate.barh(at, [b.median for b in bars], color=colours, xerr=spread, ecolor="#444444")
        rate.set_title(title, loc="left", fontsize=10)
        rate.set_xlabel("events a second and core")
        for i, bar in enumerate(bars):
            rate.text(bar.high, i, f"  {bar.median:,.0f}", va="center", fontsize=8)
        rate.set_xlim(0, 1.15 * max(bar.high for bar in bars))
        memory.barh(at, [b.peak_mb for b in bars], color=colours)
        memory.set_xlabel("peak memory, MiB")
        rate.set_yticks(at, [bar.job for bar in bars])
        memory.set_yticks(at, [])
        for one in (rate, memory):
            one.invert_yaxis()
            one.spines[["top", "right"]].set_visible(False)
    figure.text(0.01, 0.005, note, fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    for file in files:
        figure.savefig(file, dpi=110, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)
