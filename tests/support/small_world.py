"""Contract-1 records for the small bundle of `tests.support.sketches`, and settings that fit it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pipelines.config import load_config
from pipelines.settings import Config
from tests.support.events import START_MS

SETTINGS = """
embedding: {kind: event, dim: 16, model: made-up}
alerts: {max_p: 0.05, pages_per_day: 1000, false_discovery_rate: 0.9}
ingest: {idle_after: 1 s, allowed_lateness: 1 d, batch_records: 100, watermark_lag: 1 s}
sessions: {early_firing: 1 s}
profiles: {window: 1 d}
run: {commit_every: 1 s}
"""


def settings_file(folder: Path, more: str = "") -> Path:
    """A file of settings for the small bundle, with more lines at its end."""
    path = folder / f"settings-{abs(hash(more))}.yaml"
    path.write_text(SETTINGS + more)
    return path


def small_config(**overrides: Any) -> Config:
    """Settings for the small bundle; a__b=1 sets a.b."""
    import yaml

    raw = {
        f"{section}.{name}": value
        for section, values in yaml.safe_load(SETTINGS).items()
        for name, value in values.items()
    }
    return load_config(None, raw | {k.replace("__", "."): v for k, v in overrides.items()})


def record(account: str, number: int, time_ms: int, rng: np.random.Generator) -> dict[str, Any]:
    """One request with a vector."""
    vector = rng.standard_normal(16).astype("<f2")
    return {
        "event_id": f"{account}-{number}",
        "event_time": time_ms,
        "account_id": account,
        "payment_fingerprint": f"pay-{account}",
        "embedding": base64.b64encode(vector.tobytes()).decode(),
        "embedding_model": "made-up",
        "account_tier": "consumer",
        "input_tokens": int(rng.integers(5, 900)),
        "output_tokens": int(rng.integers(5, 900)),
        "prompt_text": f"secret prompt {number}",
    }


def requests(
    accounts: int,
    each: int,
    span_ms: int,
    start_ms: int = START_MS,
    seed: int = 0,
    prefix: str = "acct",
) -> list[dict[str, Any]]:
    """Requests of some accounts in the order of time; pairs of accounts share a payment."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(accounts):
        times = start_ms + np.sort(rng.integers(0, span_ms, each))
        for n, at in enumerate(times.tolist()):
            one = record(f"{prefix}-{i:03d}", n, at, rng)
            made.append(one | {"payment_fingerprint": f"pay-{i // 2}"})
    return sorted(made, key=lambda one: (one["event_time"], one["event_id"]))


def as_lines(events: list[dict[str, Any]]) -> list[bytes]:
    """One JSON record each."""
    return [orjson.dumps(one) for one in events]
