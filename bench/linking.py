"""How the time of linking grows with its edges, one for each account and thing that it has.

`python -m bench.linking` makes accounts that own things by themselves, things in groups of ten, and
things that very many share; links them as the job does; and prints the time an edge takes. If that
stays as it is, linking is linear. Each size runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bench.usage import own_peak_mb
from transforms.clusters.activity import NO_ACTIVITY, Activity
from transforms.clusters.links import Linkable, LinkOptions, find_components
from transforms.coverage import layout
from transforms.coverage.fold import minute_items
from transforms.coverage.layout import Items

_THINGS = 5  # that each account has
_GROUP = 10  # accounts that share a card
_START_MS = 1_780_272_000_000
_DAYS = 7
_POPULAR = 20_000  # accounts on one card, as in the largest case that is known
_SHAPES = ("groups", "popular", "timed", "tangled")


@dataclass(frozen=True)
class Run:
    """One measurement.

    Attributes:
      shape: `groups`: tens of accounts that share a card, and nothing else in common; `popular`:
        a card of 20,000 accounts (a fifth of all, where there are fewer), and a network and a
        client that each a half of all accounts have; `timed`: as groups, and accounts have times
        of work; `tangled`: as groups, and half of all accounts share their network with another
        at random, so that nearly all are one loose component, which is cut into its groups again.
      edges, accounts: of the input.
      components: that were found.
      cpu_s: of linking.
      peak_mb: of the process.
    """

    shape: str
    edges: int
    accounts: int
    components: int
    cpu_s: float
    peak_mb: float

    @property
    def edge_us(self) -> float:
        """Microseconds an edge."""
        return self.cpu_s / self.edges * 1e6


def accounts_of(shape: str, edges: int, seed: int = 7) -> list[Linkable]:
    """Accounts with so many edges in all."""
    rng = np.random.default_rng(seed)
    n = edges // _THINGS
    own = np.arange(n, dtype=np.uint64)
    columns = [
        _things(Items.PAYMENT, own // np.uint64(_GROUP)),
        *(
            _things(kind, own)
            for kind in (Items.NETWORK, Items.CLIENT, Items.SYSTEM_PROMPT, Items.PREFIX_SCAFFOLD)
        ),
    ]
    if shape == "tangled":
        ends = rng.permutation(n)[: n // 4 * 2].reshape(2, -1)
        columns[1][ends[0]] = columns[1][ends[1]]
    if shape == "popular":
        columns[0][: min(_POPULAR, n // 5)] = _things(Items.PAYMENT, np.full(1, 3 * n))
        columns[1][rng.random(n) < 0.5] = _things(Items.NETWORK, np.full(1, 3 * n))
        columns[2][rng.random(n) < 0.5] = _things(Items.CLIENT, np.full(1, 3 * n))
    table = np.sort(np.stack(columns, axis=1), axis=1)
    since = _START_MS - rng.integers(0, 90 * layout.DAY_MS, n)
    return [
        Linkable(
            f"a{i:08d}", int(since[i]), 100, table[i],
            activity=_activity(rng) if shape == "timed" else NO_ACTIVITY,
        )
        for i in range(n)
    ]  # fmt: skip


def _things(kind: Items, number: np.ndarray) -> np.ndarray:
    # Spread as hashes are: an odd factor is a bijection of 56 bits.
    hashed = number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) & layout.HASH_MASK
    return hashed | np.uint64(int(kind) << int(layout.HASH_BITS))


def _activity(rng: np.random.Generator) -> Activity:
    first = _START_MS // layout.MINUTE_MS
    minutes = np.unique(first + rng.integers(0, _DAYS * 1_440, 40))
    items = np.sort(minute_items(minutes))[: layout.CAPACITY[Items.MINUTE]]
    times = int(minutes[0]) * layout.MINUTE_MS, int(minutes[-1]) * layout.MINUTE_MS
    return Activity(items, *times, 0)


def measure(shape: str, edges: int) -> Run:
    """Links once, in this process."""
    accounts = accounts_of(shape, edges)
    began = time.process_time()
    found = find_components(accounts, LinkOptions())
    spent = time.process_time() - began
    return Run(shape, edges, len(accounts), len(found), spent, own_peak_mb())


def measure_apart(shape: str, edges: int, limit_s: float) -> Run | None:
    """Links in a process of its own; None when it took longer than the limit."""
    command = [sys.executable, "-m", "bench.linking", "--one", shape, "--edges", str(edges)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return None
    return Run(**json.loads(done.stdout))


def table(runs: Sequence[Run]) -> list[str]:
    """A table in Markdown."""
    lines = [
        "| shape | edges | accounts | components | CPU s | µs/edge | grows as edges to the | MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    before: dict[str, Run] = {}
    for run in runs:
        known, power = before.get(run.shape), "–"
        if known is not None:
            steps = math.log(run.edges / known.edges)
            power = f"{math.log(max(run.cpu_s, 1e-3) / max(known.cpu_s, 1e-3)) / steps:.2f}"
        before[run.shape] = run
        lines.append(
            f"| {run.shape} | {run.edges:,} | {run.accounts:,} | {run.components:,} "
            f"| {run.cpu_s:.1f} | {run.edge_us:.1f} | {power} | {run.peak_mb:,.0f} |"
        )
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser("python -m bench.linking", description=__doc__)
    parser.add_argument("--edges", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--shapes", nargs="+", choices=_SHAPES, default=list(_SHAPES))
    parser.add_argument("--limit", type=float, default=3_600, help="seconds for a run (3600)")
    parser.add_argument("--one", choices=_SHAPES, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        print(json.dumps(asdict(measure(args.one, args.edges[0]))))
        return
    runs, given_up = [], []
    for shape in args.shapes:
        for edges in args.edges:
            run = measure_apart(shape, edges, args.limit)
            if run is None:
                given_up.append(f"{shape}, {edges:,} edges: more than {args.limit:,.0f} s")
                break
            runs.append(run)
            print(f"  {run}", file=sys.stderr)
    print("\n".join([*table(runs), *(f"\nGiven up: {line}" for line in given_up)]))


if __name__ == "__main__":
    main()
