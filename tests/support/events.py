"""Made-up columnar events, and contract-1 records."""

from __future__ import annotations

import numpy as np

from transforms.embedding.space import AXES, UNIT
from transforms.ingest.batch import Events

START_MS = 1_780_272_000_000  # 2026-06-01T00:00:00Z


def random_events(
    n: int, seed: int = 0, accounts: int = 5, payments: int = 3, span_ms: int = 3_600_000
) -> Events:
    """n events over a few accounts, payments, conversations and networks, some parts missing."""
    rng = np.random.default_rng(seed)

    def hashes(distinct: int, missing: float = 0.2) -> np.ndarray:
        values = rng.integers(1, 2**64 - 1, distinct, np.uint64)[rng.integers(0, distinct, n)]
        return np.where(rng.random(n) < missing, np.uint64(0), values)

    unit = rng.standard_normal((n, AXES))
    unit *= UNIT / np.linalg.norm(unit, axis=1, keepdims=True)
    cells = rng.integers(0, 200, n).astype(np.uint16)
    no_vector = rng.random(n) < 0.1
    cells[no_vector] = 65535
    coordinates = np.clip(np.rint(unit), -127, 127).astype(np.int8)
    coordinates[no_vector] = 0
    payment = np.array(
        [f"pay{i}" if i else "" for i in rng.integers(0, payments + 1, n)], dtype=object
    )
    return Events(
        event_hash=rng.integers(1, 2**64 - 1, n, np.uint64),
        time_ms=START_MS + rng.integers(0, span_ms, n),
        account=np.array([f"acct{i}" for i in rng.integers(0, accounts, n)], dtype=object),
        payment=payment,
        organization=hashes(2),
        credential=hashes(4),
        network=hashes(60),
        client=hashes(5),
        model=hashes(2),
        conversation=hashes(20, 0.5),
        turn=rng.integers(-1, 4, n).astype(np.int32),
        system_prompt=hashes(3),
        prefix_scaffold=hashes(40),
        suffix_scaffold=hashes(40),
        opening=hashes(40),
        closing=hashes(40),
        prompt=hashes(max(n // 2, 1)),
        peer=np.array([("api|business", "consumer|")[i] for i in rng.integers(0, 2, n)], object),
        account_created_ms=np.where(rng.random(n) < 0.5, 0, START_MS - 86_400_000),
        input_tokens=rng.integers(0, 900, n),
        output_tokens=rng.integers(0, 900, n),
        reasoning_tokens=rng.integers(0, 90, n),
        max_output_tokens=rng.integers(0, 2, n) * 512,
        tools=rng.integers(0, 3, n).astype(np.int32),
        structured=rng.random(n) < 0.1,
        status=rng.choice([200, 200, 200, 429, 500], n).astype(np.int32),
        cost_microusd=rng.integers(0, 9000, n),
        prompt_chars=rng.integers(0, 400, n).astype(np.int32),
        code=(rng.random(n) < 0.2).astype(np.int8),
        coordinates=coordinates,
        cells=cells,
        nearness=np.where(no_vector, 0, rng.integers(-50, 1_000, n)).astype(np.int16),
        capability=rng.integers(-1, 16, n).astype(np.int8),
        intent=rng.integers(-1, 8, n).astype(np.int8),
        known=rng.integers(-1, 16, n).astype(np.int8),
    )
