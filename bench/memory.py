"""Memory of one key as its session grows: the coverage sketch beside a list of event vectors.

`python -m bench.memory` folds and merges the events of one key in batches, as a job does, and
prints the sizes after 10², 10³, … events.
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from bench.usage import own_peak_mb
from transforms.coverage import layout
from transforms.coverage.combine import MergeSketches
from transforms.coverage.fold import fold
from transforms.coverage.sketch import CoverageSketch, encode
from transforms.embedding.space import AXES, UNIT
from transforms.ingest.batch import Events

_BATCH = 20_000
_START_MS = 1_780_272_000_000
_SLICE_MS = 300_000
_STEP_MS = 2_000  # one request every two seconds
_DIM = 384  # of the vectors that a list would hold, float32


@dataclass(frozen=True)
class Size:
    """A key after some events, in bytes.

    Attributes:
      events: so far.
      memory: of the sketch's arrays.
      encoded: of the sketch as it is stored and sent.
      shuffled: of what crosses a shuffle, the accumulator in its coder.
      pickled: of the sketch in pickle.
      vectors: of a list of the events' vectors, float32.
      peak_mb: resident memory of this process, highest so far.
      cpu_s: spent on folding and merging so far.
    """

    events: int
    memory: int
    encoded: int
    shuffled: int
    pickled: int
    vectors: int
    peak_mb: float
    cpu_s: float


def key_events(count: int, seed: int = 7) -> Iterator[Events]:
    """Batches of one account's events, as varied as can be: every hash new, all cells in use."""
    for start in range(0, count, _BATCH):
        n = min(_BATCH, count - start)
        rng = np.random.default_rng((seed, start))
        unit = rng.standard_normal((n, AXES))
        unit *= UNIT / np.linalg.norm(unit, axis=1, keepdims=True)
        time_ms = _START_MS + (start + np.arange(n)) * _STEP_MS
        drawn: dict[str, Any] = {
            field.name: rng.integers(1, 1 << 63, n).astype(np.uint64)
            for field in fields(Events)
            if field.name in _HASHES
        }
        drawn |= {name: rng.integers(1, 4_000, n) for name in _COUNTS}
        yield Events(
            time_ms=time_ms,
            account=np.full(n, "account", object),
            payment=np.full(n, "payment", object),
            turn=np.zeros(n, np.int32),
            peer=np.full(n, "api|business", object),
            account_created_ms=np.full(n, _START_MS - 86_400_000),
            tools=np.zeros(n, np.int32),
            structured=np.zeros(n, bool),
            status=np.full(n, 200, np.int32),
            prompt_chars=np.full(n, 400, np.int32),
            code=np.zeros(n, np.int8),
            coordinates=np.clip(np.rint(unit), -127, 127).astype(np.int8),
            cells=rng.integers(0, layout.MAX_CELLS, n).astype(np.uint16),
            nearness=rng.integers(0, 1_000, n).astype(np.int16),
            capability=rng.integers(-1, 16, n).astype(np.int8),
            intent=rng.integers(-1, 8, n).astype(np.int8),
            known=rng.integers(-1, 16, n).astype(np.int8),
            **drawn,
        )


_HASHES = {
    "event_hash", "organization", "credential", "network", "client", "model",
    "conversation", "system_prompt", "prefix_scaffold", "suffix_scaffold", "opening", "closing",
    "prompt",
}  # fmt: skip
_COUNTS = (
    "input_tokens", "output_tokens", "reasoning_tokens", "max_output_tokens", "cost_microusd",
)  # fmt: skip


def sizes(steps: Sequence[int]) -> list[Size]:
    """Sizes of one key's sketch after each number of events, ascending."""
    combine = MergeSketches()
    found = []
    accumulator, done, spent = combine.create_accumulator(), 0, 0.0
    for step in steps:
        for events in _between(done, step):
            began = time.process_time()
            for partial in fold(events, _SLICE_MS):
                accumulator = combine.add_input(accumulator, partial.sketch)
            spent += time.process_time() - began
        done = step
        sketch = combine.extract_output(accumulator)
        found.append(
            Size(
                step,
                array_bytes(sketch),
                len(encode(sketch)),
                len(combine.get_accumulator_coder().encode(accumulator)),
                len(pickle.dumps(sketch)),
                step * _DIM * 4,
                own_peak_mb(),
                spent,
            )
        )
    return found


def _between(done: int, step: int) -> Iterator[Events]:
    """The events of `key_events(step)` after the first `done`."""
    at = 0
    for events in key_events(step):
        if at + len(events) > done:
            yield events.take(np.arange(max(done - at, 0), len(events)))
        at += len(events)


def array_bytes(sketch: CoverageSketch) -> int:
    """Bytes of a sketch's arrays."""
    parts = (getattr(sketch, field.name) for field in fields(sketch))
    return sum(part.nbytes for part in parts if isinstance(part, np.ndarray))


def largest() -> int:
    """Bytes that the arrays of no sketch can pass, from the layout's capacities."""
    bins = int(layout.Bins.END) * (2 + 8)
    items = int(layout.CAPACITY.sum()) * 16
    groups = layout.GROUPS * (8 + 8 + 8 * AXES)
    dense = 8 * (layout.MOMENT + AXES + 256)
    return len(layout.Sum) * 8 + bins + items + groups + dense + layout.MAX_ROWS * AXES


def table(found: Sequence[Size]) -> list[str]:
    """Lines for people."""
    lines = [
        f"{'events':>10}{'in memory':>11}{'encoded':>9}{'shuffled':>10}{'pickled':>9}"
        f"{'vector list':>15}{'peak RSS':>10}{'µs/event':>10}"
    ]
    lines += [
        f"{s.events:>10,}{s.memory:>11,}{s.encoded:>9,}{s.shuffled:>10,}{s.pickled:>9,}"
        f"{s.vectors:>15,}{s.peak_mb:>7,.0f} MB{s.cpu_s / s.events * 1e6:>10.1f}"
        for s in found
    ]
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    made = argparse.ArgumentParser("python -m bench.memory", description=__doc__)
    made.add_argument("--most", type=int, default=1_000_000, help="events in the end (1000000)")
    most = made.parse_args(argv).most
    steps = [10**n for n in range(2, 10) if 10**n < most] + [most]
    print("One key, every hash new, all cells in use; bytes:")
    print("\n".join(table(sizes(steps))))
    print(f"No sketch's arrays can pass {largest():,} bytes.")


if __name__ == "__main__":
    main()
