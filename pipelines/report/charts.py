"""Small inline SVG charts that stretch with the page; their words are HTML beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from markupsafe import Markup, escape

from pipelines.report.story import Session

_WIDTH = 1000
_BINS = 96


def time_text(ms: int) -> str:
    """A time in UTC, to the minute."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def ticks(start_ms: int, end_ms: int, count: int = 5) -> list[str]:
    """Words for equally spaced points of a time axis, the first and the last included."""
    span = max(end_ms - start_ms, 1)
    pattern = "%d %b" if span > 4 * 86_400_000 else "%d %b %H:%M"
    return [
        datetime.fromtimestamp((start_ms + span * i / (count - 1)) / 1000, UTC)
        .strftime(pattern)
        .lstrip("0")
        for i in range(count)
    ]


def _svg(height: int, title: str, body: str, kind: str) -> Markup:
    return Markup(
        '<svg class="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" '
        'aria-label="{}"><title>{}</title>{}</svg>'
    ).format(kind, _WIDTH, height, title, title, Markup(body))


def lane(sessions: Sequence[Session], start_ms: int, end_ms: int, busiest: float) -> Markup:
    """One account's sessions along time; the faster it asked, the stronger the colour.

    Args:
      sessions: of the account.
      start_ms, end_ms: of the axis.
      busiest: requests per minute of the fastest session of the cluster.
    """
    span = max(end_ms - start_ms, 1)
    bars = []
    for session in sessions:
        left = (session.start_ms - start_ms) / span * _WIDTH
        width = max((session.end_ms - session.start_ms) / span * _WIDTH, 3.0)
        strength = math.log1p(pace(session)) / max(math.log1p(busiest), 1e-9)
        left = min(left, _WIDTH - width)
        bars.append(
            f'<rect x="{left:.1f}" y="2" width="{width:.1f}" height="16" rx="1" '
            f'fill-opacity="{0.35 + 0.65 * min(strength, 1.0):.2f}"/>'
        )
    requests = sum(s.requests for s in sessions)
    title = f"{len(sessions)} sessions with {requests:,} requests"
    return _svg(20, title, "".join(bars), "lane")


def marks(times_ms: Sequence[int], start_ms: int, end_ms: int, title: str) -> Markup:
    """Arrowheads along time.

    Args:
      times_ms: of the marks.
      start_ms, end_ms: of the axis.
      title: what they are.
    """
    span = max(end_ms - start_ms, 1)
    heads = []
    for at_ms in times_ms:
        x = min(max((at_ms - start_ms) / span * _WIDTH, 6.0), _WIDTH - 6.0)
        heads.append(f'<path d="M{x - 6:.1f} 2h12l-6 12z"/>')
    return _svg(16, title, "".join(heads), "marks")


def pace(session: Session) -> float:
    """Requests per minute; a session shorter than a minute counts as one."""
    return session.requests / max((session.end_ms - session.start_ms) / 60_000, 1.0)


def activity(sessions: Iterable[Session], start_ms: int, end_ms: int) -> Markup:
    """Requests along time of all accounts together, spread evenly over each session."""
    span = max(end_ms - start_ms, 1)
    bins = [0.0] * _BINS
    for session in sessions:
        first = (session.start_ms - start_ms) / span * _BINS
        last = max((session.end_ms - start_ms) / span * _BINS, first + 1e-6)
        for i in range(max(int(first), 0), min(int(last), _BINS - 1) + 1):
            inside = min(last, i + 1) - max(first, i)
            bins[i] += session.requests * max(inside, 0.0) / (last - first)
    highest = max(bins) or 1.0
    width = _WIDTH / _BINS
    bars = "".join(
        f'<rect x="{i * width:.1f}" y="{60 - 58 * value / highest:.1f}" width="{width * 0.86:.1f}" '
        f'height="{58 * value / highest:.1f}"/>'
        for i, value in enumerate(bins)
        if value > 0
    )
    busiest = time_text(round(start_ms + (bins.index(max(bins)) + 0.5) / _BINS * span))
    return _svg(60, f"Requests over time, most around {busiest} UTC", bars, "activity")


_REACH = 8.0


def deviation(z: float) -> Markup:
    """How far a value is from normal: a band for the middle two thirds of peers, a dot for it.

    Args:
      z: robust standard deviations from the median, shown up to ±8.
    """
    place = (min(max(z, -_REACH), _REACH) / _REACH + 1) / 2 * 92 + 4
    low, high = ((v / _REACH + 1) / 2 * 92 + 4 for v in (-1.0, 1.0))
    way = "above" if z >= 0 else "below"
    title = f"{abs(z):.1f} robust standard deviations {way} the peers' median"
    return Markup(
        '<svg class="deviation" viewBox="0 0 100 12" role="img" aria-label="{0}"><title>{0}</title>'
        '<line x1="2" x2="98" y1="6" y2="6"/><rect x="{1}" y="2" width="{2}" height="8" rx="2"/>'
        '<circle cx="{3}" cy="6" r="3.6"/></svg>'
    ).format(escape(title), f"{low:.1f}", f"{high - low:.1f}", f"{place:.1f}")


def shares(parts: Sequence[tuple[str, float]]) -> Markup:
    """One bar cut into parts by size; the words stand beside it, in the same order."""
    total = sum(value for _, value in parts) or 1.0
    left, bars = 0.0, []
    for i, (_, value) in enumerate(parts):
        width = value / total * _WIDTH
        bars.append(
            f'<rect class="part{i}" x="{left:.1f}" y="0" width="{max(width, 0.0):.1f}" '
            'height="16"/>'
        )
        left += width
    words = ", ".join(f"{name} {value:,.0f}" for name, value in parts)
    return _svg(16, words, "".join(bars), "shares")
