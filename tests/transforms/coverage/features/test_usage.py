"""Templates, repetition and what is asked for, against brute force over the events."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.support.events import START_MS
from tests.support.features import (
    SEEDS,
    VALUES,
    one_account,
    value_of,
)
from tests.support.sketches import (
    events_of,
    sketch_of,
    token,
)
from transforms.coverage import features as f
from transforms.coverage.layout import DAY_MS, HOUR_MS
from transforms.embedding.space import (
    AXES,
)


def test_top_scaffold_share_takes_the_commoner_of_beginnings_and_ends() -> None:
    n = 20
    prefix = np.array([token("p0")] * 7 + [token(f"p{i}") for i in range(1, 14)])
    suffix = np.array([token("s0")] * 12 + [token(f"s{i}") for i in range(1, 9)])
    events = events_of("a", START_MS + np.arange(n) * HOUR_MS, np.zeros((n, AXES), np.int8))
    sketch = sketch_of(replace(events, prefix_scaffold=prefix, suffix_scaffold=suffix))
    assert value_of(f.top_scaffold_share, sketch) == pytest.approx(12 / 20)
    sketch = sketch_of(replace(events, prefix_scaffold=prefix))
    assert value_of(f.top_scaffold_share, sketch) == pytest.approx(7 / 20)


def test_repeated_prompts_counts_all_but_the_first_of_each() -> None:
    words = ["a"] * 5 + ["b"] * 3 + ["c", "d"]
    events = events_of("a", START_MS + np.arange(10), np.zeros((10, AXES), np.int8))
    sketch = sketch_of(replace(events, prompt=np.array([token(w) for w in words])))
    assert value_of(f.repeated_prompts, sketch) == pytest.approx(6 / 10)


@pytest.mark.parametrize("seed", SEEDS)
def test_shares_and_sizes_are_those_of_the_events(seed: int) -> None:
    events = one_account(120, seed)
    row = dict(
        zip(VALUES, (compute(sketch_of(events)) for compute in VALUES.values()), strict=True)
    )
    limit, named = events.max_output_tokens, events.conversation > 0
    expected = {
        "continued_share": (events.turn[named] > 0).mean(),
        "code_share": (events.code > 0).mean(),
        "tool_share": (events.tools > 0).mean(),
        "reasoning_share": events.reasoning_tokens.sum() / events.output_tokens.sum(),
        "structured_share": events.structured.mean(),
        "saturated_share": ((limit > 0) & (events.output_tokens >= limit)).mean(),
        "output_tokens": math.log(events.output_tokens[events.output_tokens > 0].mean() + 1),
        "output_ratio": math.log(events.output_tokens.sum() / events.input_tokens.sum()),
        "blocked_share": np.isin(events.status, [403, 429]).mean(),
        "clients": math.log(len(set(events.client.tolist()) - {0})),
        "account_age": math.log1p((events.time_ms.max() - (START_MS - DAY_MS)) / DAY_MS),
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    sizes = Counter(int(math.log2(t)) for t in events.input_tokens if t > 0)
    total = sum(sizes.values())
    entropy = -sum(c / total * math.log(c / total) for c in sizes.values())
    assert row["size_entropy"] == pytest.approx(entropy, rel=1e-9)


def test_follow_up_turns_of_no_named_conversation_do_not_count() -> None:
    n = 8
    events = events_of(
        "a", START_MS + np.arange(n), np.zeros((n, AXES), np.int8), turn=2,
        conversation=np.array([token("c")] * 4 + [np.uint64(0)] * 4),
    )  # fmt: skip
    assert VALUES["continued_share"](sketch_of(events)) == 1


def test_networks_are_counted_exactly_when_few_and_closely_when_many() -> None:
    n = 600
    network = np.array([token(f"n{i}") for i in range(n)])
    zeros = np.zeros((n, AXES), np.int8)
    few = sketch_of(
        events_of("a", START_MS + np.arange(n), zeros, network=network[np.arange(n) % 9])
    )
    many = sketch_of(events_of("a", START_MS + np.arange(n), zeros, network=network))
    assert value_of(f.log_networks, few) == pytest.approx(math.log(9))
    assert value_of(f.log_networks, many) == pytest.approx(
        math.log(n), abs=0.5
    )  # k = 32: 18 % a deviation
