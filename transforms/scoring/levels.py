"""How items of each level become feature rows, and rows of the table session_scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transforms.coverage.layout import Sum
from transforms.coverage.sketch import CoverageSketch
from transforms.scoring.bundle import Bundle
from transforms.scoring.handler import Scored
from transforms.scoring.model import FeatureRows
from transforms.scoring.rows import PeerGroups, account_rows, sketch_rows


def rows_of_sketches(items: Sequence[Any], bundle: Bundle, peers: PeerGroups) -> FeatureRows:
    """Feature rows of items that have a `sketch`."""
    sketches = [item.sketch for item in items]
    return sketch_rows(sketches, [peers.of(s) for s in sketches], bundle.references)


def rows_of_profiles(items: Sequence[Any], bundle: Bundle, peers: PeerGroups) -> FeatureRows:
    """Feature rows of items that have a `sketch` and the `account` that it is of."""
    sketches = [item.sketch for item in items]
    groups = [peers.of(s) for s in sketches]
    accounts = [item.account for item in items]
    return account_rows(accounts, sketches, groups, bundle.references, bundle.past)


def score_row(
    scored: Scored[Any],
    sketch: CoverageSketch,
    session_id: str,
    level: str,
    kind: str,
    key: str,
    pane: str,
    run_id: str,
) -> dict[str, Any]:
    """A row of session_scores."""
    known = np.isfinite(scored.features) if len(scored.columns) else np.empty(0, bool)
    return {
        "session_id": session_id,
        "revision": sketch.events,
        "level": level,
        "key_kind": kind,
        "key": key,
        "session_start": sketch.first_ms,
        "session_end": sketch.last_ms,
        "pane": pane,
        "peer_group": scored.peer_group,
        "request_count": sketch.events,
        "input_tokens": int(sketch.sums[Sum.INPUT_TOKENS]),
        "output_tokens": int(sketch.sums[Sum.OUTPUT_TOKENS]),
        "features": [
            {
                "name": scored.columns[i],
                "value": float(scored.features[i]),
                "normal_low": float(scored.low[i]),
                "normal_high": float(scored.high[i]),
                "z": float(scored.z[i]),
            }
            for i in np.flatnonzero(known)
        ],
        "score": scored.score,
        "p_value": scored.p_value,
        "bundle_version": scored.bundle_version,
        "run_id": run_id,
    }
