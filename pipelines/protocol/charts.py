"""Line charts as SVG, written by hand: no plotting library is needed to evaluate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#1f5fbf", "#c2571a", "#2f8f4e", "#8a4fbf", "#b3273a", "#6b7785", "#b08a00", "#0f8a8f")
_LEFT, _TOP, _WIDTH, _HEIGHT = 64, 44, 430, 330
_DASHES = ("", "7 3", "2 3", "9 3 2 3")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its name and its points (x, y), in data units."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Attributes:
      title: below it, or above the chart.
      low, high: ends, in data units; both above 0 on a logarithmic axis.
      ticks: values that are labelled, with their labels.
      log: whether it is logarithmic.
    """

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, 0 to 1; what is beyond an end lies on it."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


PERCENT = Axis("", 0.0, 1.0, tuple((v / 4, f"{25 * v} %") for v in range(5)))


def log_percent(title: str, low: float, high: float = 1.0) -> Axis:
    """A logarithmic axis of shares, a tick for each power of ten."""
    first = round(math.log10(low))
    ticks = tuple((10.0**e, f"{100 * 10.0**e:g} %") for e in range(first, 1) if 10.0**e <= high)
    return Axis(title, low, high, ticks, log=True)


def chart(
    title: str, x: Axis, y: Axis, lines: Sequence[Line], diagonal: bool = False, dots: bool = True
) -> str:
    """Draws lines with a legend at the right.

    Args:
      title: of the chart.
      x, y: axes.
      lines: to draw; the first one is drawn last and strongest.
      diagonal: whether to draw y = x.
      dots: whether to mark the points.
    """

    def at(point: tuple[float, float]) -> str:
        across = _LEFT + _WIDTH * x.place(point[0])
        return f"{across:.1f},{_TOP + _HEIGHT * (1 - y.place(point[1])):.1f}"

    right, bottom = _LEFT + _WIDTH, _TOP + _HEIGHT
    longest = max((len(line.name) for line in lines), default=0)
    width = right + 60 + 7 * longest
    height = max(bottom + 56, _TOP + 20 * len(lines) + 20)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" role="img" font-family="system-ui, sans-serif" font-size="12">',
        f'<title>{escape(title)}</title><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="12" y="22" font-size="14" font-weight="600">{escape(title)}</text>',
    ]
    for value, label in y.ticks:
        high = _TOP + _HEIGHT * (1 - y.place(value))
        parts.append(f'<path d="M{_LEFT} {high:.1f}H{right}" stroke="#dde3ea"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{high + 4:.1f}" text-anchor="end">{label}</text>')
    for value, label in x.ticks:
        across = _LEFT + _WIDTH * x.place(value)
        parts.append(f'<path d="M{across:.1f} {_TOP}V{bottom}" stroke="#dde3ea"/>')
        parts.append(
            f'<text x="{across:.1f}" y="{bottom + 18}" text-anchor="middle">{label}</text>'
        )
    parts.append(
        f'<text x="{_LEFT + _WIDTH / 2}" y="{bottom + 42}" text-anchor="middle">'
        f"{escape(x.title)}</text>"
    )
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(
            f'<polyline points="{at((low, low))} {at((high, high))}" fill="none" '
            'stroke="#8a97a5" stroke-dasharray="4 4"/>'
        )
    for number in reversed(range(len(lines))):
        parts += _drawn(lines[number], number, at, dots)
        parts += _legend(lines[number].name, number, right + 18, _TOP + 10 + 20 * number)
    return "\n".join([*parts, "</svg>", ""])


def _style(number: int) -> tuple[str, str, float]:
    dash = _DASHES[number // len(COLOURS) % len(_DASHES)]
    return COLOURS[number % len(COLOURS)], dash, 2.8 if number == 0 else 1.5


def _drawn(
    line: Line, number: int, at: Callable[[tuple[float, float]], str], dots: bool
) -> list[str]:
    colour, dash, width = _style(number)
    places = [at(point) for point in line.points]
    more = f' stroke-dasharray="{dash}"' if dash else ""
    out = [
        f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}" '
        f'stroke-width="{width}"{more}/>'
    ]
    if dots:
        for place in places:
            across, high = place.split(",")
            out.append(f'<circle cx="{across}" cy="{high}" r="{width + 0.7}" fill="{colour}"/>')
    return out


def _legend(name: str, number: int, left: float, top: float) -> list[str]:
    colour, dash, width = _style(number)
    more = f' stroke-dasharray="{dash}"' if dash else ""
    return [
        f'<path d="M{left} {top}h22" stroke="{colour}" stroke-width="{width}"{more}/>',
        f'<text x="{left + 28}" y="{top + 4}">{escape(name)}</text>',
    ]
