"""The guard of the speed: our share of the limit's, against the figure that is kept.

`python -m bench.guard` measures it, and with `--keep` writes it to `bench/guard.json`; a test fails
when it has fallen by more than a third. Both jobs run in turn in one process, by processor time, so
that a slow or busy machine slows them alike.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from threadpoolctl import threadpool_limits

from bench.case import Case, prepare
from bench.jobs import run
from bench.throughput import LIMIT, OURS, machine
from pipelines.config import load_config
from pipelines.simulate.scenario import Scenario

KEPT = Path(__file__).with_name("guard.json")
MOST_LOSS = 1 / 3
_EVENTS, _COPIES, _PAIRS, _MORE = 300, 30, 3, 4
FAST = """
coverage: {cells: 64}
clusters: {null_groups: 50}
scoring:
  detectors: [{name: KNN}, {name: HBOS}]
"""
"""Settings of a bundle that takes little to learn."""


@dataclass(frozen=True)
class Kept:
    """The figure that is kept.

    Attributes:
      share: of the limit's speed that `batched` had, a median.
      machine: it was measured on.
    """

    share: float
    machine: str

    @property
    def least(self) -> float:
        """The least share that passes."""
        return (1 - MOST_LOSS) * self.share


def kept() -> Kept:
    """The figure that is kept."""
    return Kept(**json.loads(KEPT.read_text()))


def small_case(folder: Path) -> Case:
    """Traffic of 300 events, a small bundle, and the settings for both."""
    settings = folder / "distilwatch.yaml"
    settings.write_text(FAST)
    scenario = Scenario(accounts=150, days=6, history_days=4, events=2_400)
    return prepare(folder, scenario, _EVENTS, load_config(settings))


def guard_case(small: Case, path: Path) -> Case:
    """The same traffic many times over, each time with other accounts.

    Args:
      small: as of `small_case`.
      path: file to write the events to.
    """
    records = small.events.read_bytes().splitlines()
    with path.open("wb") as out:
        for copy in range(_COPIES):
            for record in records:
                out.write(record.replace(b'_id":"', b'_id":"%d-' % copy) + b"\n")
    return replace(small, events=path, count=len(records) * _COPIES)


def shares(case: Case, pairs: int) -> list[float]:
    """Our share of the limit's speed, pair by pair.

    Raises:
      AssertionError: when the two find different sessions.
    """
    found = []
    for turn in range(pairs):
        names = (LIMIT, OURS) if turn % 2 == 0 else (OURS, LIMIT)
        timed = {name: run(name, case) for name in names}
        assert timed[OURS].digest == timed[LIMIT].digest
        found.append(timed[LIMIT].cpu_s / timed[OURS].cpu_s)
    return found


def measured_share(case: Case, least: float) -> float:
    """The median share of a few pairs; of more where the first ones are below `least`."""
    # Both would have the numerical threads of all cores, which wait by spinning.
    with threadpool_limits(1):
        run(LIMIT, case)  # loads and compiles what both need
        run(OURS, case)
        found = shares(case, _PAIRS)
        if median(found) < least:
            found += shares(case, _MORE)
    return median(found)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures the share, and keeps it when told to."""
    parser = argparse.ArgumentParser("python -m bench.guard", description=__doc__)
    parser.add_argument("--keep", action="store_true", help=f"write it to {KEPT.name}")
    keep = parser.parse_args(argv).keep
    with tempfile.TemporaryDirectory(prefix="distilwatch-guard-") as folder:
        small = small_case(Path(folder))
        case = guard_case(small, Path(folder) / "many.jsonl")
        # Above any share, so that all pairs count.
        share = measured_share(case, 2.0)
    print(f"{OURS} has {share:.2f} of the speed of {LIMIT}; kept: {kept().share:.2f}")
    if keep:
        KEPT.write_text(json.dumps({"share": round(share, 3), "machine": machine()}) + "\n")


if __name__ == "__main__":
    main()
