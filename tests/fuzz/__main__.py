"""`make fuzz`: every parser in turn, with new inputs, for as long as is said.

`python -m tests.fuzz --minutes 60 --seed 7`; ends with 1 when anything was found.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.targets import TARGETS, Target

_ROUND = 400


def fuzz(target: Target, number: int, examples: int) -> str:
    """One round; the traceback of the smallest input that breaks it, or ""."""

    @seed(number)
    @settings(
        max_examples=examples, deadline=None, database=None, print_blob=True,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(target.inputs)
    def run(value: object) -> None:
        target.run(value)

    try:
        run()
    except Exception:
        return traceback.format_exc(limit=-6)
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES", 60)))
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", choices=[t.name for t in TARGETS])
    asked = parser.parse_args()
    targets = [t for t in TARGETS if asked.only in (None, t.name)]
    done = {t.name: 0 for t in targets}
    found: dict[str, str] = {}
    until, number = time.monotonic() + 60 * asked.minutes, asked.seed
    while time.monotonic() < until and len(found) < len(targets):
        number += 1
        for target in targets:
            if target.name in found or time.monotonic() > until:
                continue
            problem = fuzz(target, number, _ROUND)
            done[target.name] += _ROUND
            if problem:
                found[target.name] = problem
                print(f"--- {target.name}, seed {number}\n{problem}", flush=True)
    for name, count in done.items():
        print(f"{name:<24} {count:>10,} inputs  {'FOUND' if name in found else 'nothing found'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
