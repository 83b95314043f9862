"""Events that bring a vector, over Zipf-distributed accounts: the traffic of a gateway.

The simulator's accounts are made to be told apart; these are made to be many, or few and busy, at
the size that events have in production: 1–2 KB with 384 float16 values, or about half a kilobyte of
text.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

_START_MS = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp() * 1000)
_CHUNK = 10_000
_TOPIC_SEED = 0x70_91C5
_MODEL = "bench-vectors"


@dataclass(frozen=True)
class Traffic:
    """What is made.

    Attributes:
      events: how many.
      keys: accounts, at most; a busy account is the busier the smaller its number; every twentieth
        shares its payment fingerprint.
      exponent: of the Zipf distribution, above 0.
      hours: over which events are spread evenly.
      dim: length of the vectors; 0: a text of about half a kilobyte instead.
      topics: centres that vectors lie around.
      seed: of all draws.
      start_ms: time of the first event.
    """

    events: int
    keys: int
    exponent: float = 1.05
    hours: float = 24.0
    dim: int = 384
    topics: int = 300
    seed: int = 7
    start_ms: int = _START_MS


def settings(traffic: Traffic) -> dict[str, Any]:
    """Settings that these events need, by dotted path."""
    if not traffic.dim:
        return {}
    return {"embedding.kind": "event", "embedding.model": _MODEL, "embedding.dim": traffic.dim}


def records(traffic: Traffic) -> Iterator[bytes]:
    """JSON events in order of time, one a record."""
    rng = np.random.default_rng(traffic.seed)
    weights = np.arange(1, traffic.keys + 1, dtype=np.float64) ** -traffic.exponent
    ends = np.cumsum(weights / weights.sum())
    # The same for every seed: history and live traffic are about the same things.
    places = np.random.default_rng(_TOPIC_SEED)
    centres = places.standard_normal((traffic.topics, max(traffic.dim, 1))).astype(np.float32)
    words = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in ("lan", "mor", "tis", "rek")]
    step = traffic.hours * 3_600_000 / traffic.events
    for start in range(0, traffic.events, _CHUNK):
        n = min(_CHUNK, traffic.events - start)
        accounts = np.searchsorted(ends, rng.random(n)).clip(max=traffic.keys - 1)
        times = (traffic.start_ms + (start + np.arange(n)) * step).astype(np.int64)
        topics = (accounts * 7 + rng.integers(0, 12, n)) % traffic.topics
        tokens = rng.integers(20, 2_000, (n, 2))
        bodies = _vectors(rng, centres[topics]) if traffic.dim else _texts(rng, words, topics, n)
        for i in range(n):
            account = int(accounts[i])
            yield orjson.dumps(
                {
                    "event_id": f"e{start + i}",
                    "event_time": int(times[i]),
                    "account_id": f"acct-{account:07d}",
                    "payment_fingerprint": f"card-{account - (account % 20 == 1):07d}",
                    "account_tier": "api",
                    "account_segment": "api",
                    "ip_prefix": f"{account % 223}.{account // 223 % 256}.{account // 57088}.0/24",
                    "client_fingerprint": f"c{account % 7}",
                    "model": "m1",
                    "input_tokens": int(tokens[i, 0]),
                    "output_tokens": int(tokens[i, 1]),
                    "cost_usd": 0.004,
                    **bodies[i],
                }
            )


def _vectors(rng: np.random.Generator, centres: NDArray[np.float32]) -> list[dict[str, str]]:
    vectors = centres + 0.6 * rng.standard_normal(centres.shape, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        {
            "embedding": base64.b64encode(row.tobytes()).decode(),
            "embedding_model": _MODEL,
            "embedding_dtype": "float16",
        }
        for row in vectors.astype("<f2")
    ]


def _texts(
    rng: np.random.Generator, words: list[str], topics: NDArray[np.int64], n: int
) -> list[dict[str, str]]:
    chosen = (topics[:, None] * 11 + rng.integers(0, 40, (n, 75))) % len(words)
    return [{"prompt_text": " ".join(words[j] for j in row)} for row in chosen.tolist()]
