from __future__ import annotations

import numpy as np
import pytest

from transforms.ingest.dedupe import _ascending, _opened, first_seen


@pytest.mark.parametrize("seed", range(5))
def test_what_was_seen_before_or_comes_twice_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen: list[np.ndarray] = []
    known: set[int] = set()
    for _ in range(40):
        batch = rng.integers(0, 400, int(rng.integers(1, 30))).astype(np.uint64) << np.uint64(50)
        expected = []
        for i, value in enumerate(batch.tolist()):
            if value not in known:
                expected.append(i)
                known.add(value)
        rows = first_seen(batch, seen)
        assert rows.tolist() == expected
        seen.append(np.sort(batch[rows]))


def test_nothing_was_seen_of_an_empty_array() -> None:
    hashes = np.array([3, 1, 3], np.uint64)
    assert first_seen(hashes, [np.empty(0, np.uint64)]).tolist() == [0, 1]


def test_state_in_order_of_arrival_is_put_in_order_of_hash() -> None:
    block = np.array([[9, 100], [2, 300], [5, 200], [2, 50]], np.uint64)
    expected = [[2, 300], [2, 50], [5, 200], [9, 100]]
    assert _opened(block.astype("<u8").tobytes()).tolist() == expected
    assert _opened(_ascending(block).astype("<u8").tobytes()).tolist() == expected
    assert _opened(b"").tolist() == []
