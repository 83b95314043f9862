"""The map of what a cluster covered against what as many usual requests cover, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from pipelines.report.evidence import CoveredCell

_TILE = 10
_LEVELS = 4  # strengths of colour
# How far from the expected requests a tile counts as more or less, in Poisson deviations.
_APART = 2.0


@dataclass(frozen=True, slots=True)
class CoverageMap:
    """A picture, and what it shows in words.

    Attributes:
      svg: of the map.
      sentence: the same for those who do not look at it.
      known: whether it is known what is usual.
    """

    svg: Markup
    sentence: str
    known: bool


def coverage_map(cells: Sequence[CoveredCell]) -> CoverageMap | None:
    """Draws the map; None where the tables hold no cells.

    A tile is a cell of the codebook; alike cells are near one another. A tile is blue where the
    cluster asked about as much as usual, orange where it asked clearly more (by two deviations of a
    Poisson count), and an empty frame where it did not ask though that was to be expected. The
    stronger the colour, the more requests, on a logarithmic scale.
    """
    if not cells:
        return None
    side = max(max(c.x, c.y) for c in cells) + 1
    most = max(c.requests for c in cells)
    known = any(c.expected is not None for c in cells)
    tiles, more, missing, visited, reached = [], 0, 0, 0, 0
    for c in cells:
        expected = c.expected or 0.0
        left, top = c.x * _TILE, c.y * _TILE
        if c.requests:
            visited += 1
            reached += expected >= 0.5
            above = known and c.requests > expected + _APART * math.sqrt(max(expected, 1.0))
            more += above
            level = 1 + int((_LEVELS - 1) * math.log1p(c.requests) / math.log1p(most) + 1e-9)
            kind = "more" if above else "asked"
            tiles.append(
                f'<rect class="{kind} level{level}" x="{left}" y="{top}" width="9" height="9"/>'
            )
        else:
            missing += 1
            tiles.append(
                f'<rect class="missing" x="{left + 0.75}" y="{top + 0.75}" width="7.5" '
                'height="7.5"/>'
            )
    sentence = f"It asked in {visited:,} regions of what can be asked"
    if known:
        usual = missing + reached
        sentence += (
            f". As many usual requests would reach {usual:,}, of which it left out {missing:,}; in "
            f"{more:,} it asked clearly more than usual"
        )
    size = side * _TILE
    title = escape(f"Map of coverage. {sentence}.")
    svg = Markup(
        f'<svg class="map" viewBox="-2 -2 {size + 3} {size + 3}" role="img" aria-label="{title}">'
        f'<title>{title}</title><rect class="ground" x="-1.5" y="-1.5" width="{size + 2}" '
        f'height="{size + 2}" rx="3"/>{"".join(tiles)}</svg>'
    )
    return CoverageMap(svg, f"{sentence}.", known)
