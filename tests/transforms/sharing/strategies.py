"""Indicators of every kind, for hypothesis."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from transforms.sharing.indicators import Indicator, Kind, Marking, indicator_id
from transforms.sharing.payloads import Behaviour, Coverage

MS = st.integers(1_500_000_000_000, 2_500_000_000_000)
NAMES = st.sampled_from(["lab-a", "Lab B", "forum.example/lab_c"])
Z = st.floats(-10, 10, allow_nan=False).map(lambda z: round(z * 2) / 2)


def behaviours() -> st.SearchStrategy[Behaviour]:
    names = st.sampled_from(["complementarity", "overlap", "synchrony", "union_coverage"])
    return st.dictionaries(names, Z, min_size=1).map(Behaviour)


def coverages() -> st.SearchStrategy[Coverage]:
    def make(seed: int, sigma: float) -> Coverage:
        values = np.random.default_rng(seed).integers(-(1 << 31), 1 << 31, 1024)
        return Coverage("ab" * 16, "distilwatch-hashing-v1", values, 1 << 20, sigma, 1.0, 1e-6)

    return st.builds(make, st.integers(0, 1 << 30), st.floats(0.1, 100))


@st.composite
def indicators(draw: st.DrawFn) -> Indicator:
    kind = draw(st.sampled_from(list(Kind)))
    provider, campaign = draw(NAMES), f"campaign-{draw(st.integers(0, 1 << 40)):x}"
    value = f"{draw(st.integers(0, (1 << 56) - 1)):014x}" if not kind.compared else ""
    payload = b""
    if kind.compared:
        payload = draw(behaviours() if kind is Kind.BEHAVIOUR else coverages()).encode()
    created, start = draw(MS), draw(MS)
    revision = draw(st.integers(1, 50))
    return Indicator(
        indicator_id(provider, kind, value or campaign),
        kind,
        value,
        payload,
        provider,
        campaign,
        draw(st.integers(0, 100)),
        draw(st.sampled_from(list(Marking))),
        draw(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=99)
        ),
        start,
        draw(st.none() | st.integers(1, 10**11).map(lambda d: start + d)),
        created,
        created + draw(st.integers(0, 10**9)),
        revision,
        draw(st.booleans()),
        draw(st.sampled_from(["own", "forum"])),
    )
