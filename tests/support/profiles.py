"""What accounts did in aligned windows, the plain way."""

from __future__ import annotations

from transforms.coverage.fold import fold
from transforms.coverage.sketch import CoverageSketch, encode, merge
from transforms.ingest.batch import Events


def profiles_of(events: Events, window_ms: int, slice_ms: int) -> dict[tuple[str, int], bytes]:
    """The encoded sketch of each account and window, which is counted from 1970."""
    parts: dict[tuple[str, int], list[CoverageSketch]] = {}
    for account, _, sketch in fold(events, slice_ms):
        parts.setdefault((account, sketch.first_ms // window_ms), []).append(sketch)
    return {key: encode(merge(own)) for key, own in parts.items()}
