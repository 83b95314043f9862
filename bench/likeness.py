"""How often benign groups are like what another lab reports, against what is promised.

Two labs in one embedding space. One finds campaigns and tells their coverage sketches and
behavioural signatures; the other one, which has none of them, looks for both in its own stream. Of
its benign groups so many should be alike with a p-value of at most x as x says. Run as
`python -m bench.likeness --folder DIR`; docs/matching.md has the figures.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.gathered import compared, gathered
from pipelines.sharing_drill.drill import LAB
from pipelines.sharing_drill.exchange import HUNT
from pipelines.sharing_drill.labs import Lab, campaign_events, query, together
from transforms.sharing.coverage import noisy_coverage
from transforms.sharing.watch.listing import Watched, write_watch_list

KINDS = (
    "hydra-disjoint", "hydra-random", "reasoning", "drip", "evol", "self-instruct", "mixture",
    "capability",
)  # fmt: skip
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
_LAXEST = 0.2  # that the setting takes
SOURCE, EPSILON, DELTA = "lab-a", 2.0, 1e-6


def told(lab: Lab) -> list[Watched]:
    """A signature and a sketch of each cluster that a hunt finds and that has no customer in it."""
    found = []
    for group in gathered(lab.detect("hunt", HUNT)):
        if len(group.accounts) < 2 or not group.accounts <= lab.members:
            continue
        own = group.coverage
        sketch = noisy_coverage(own.values, own.space, own.embedding_model, EPSILON, DELTA)
        found += [compared(p, group.name, SOURCE, 0.6) for p in (group.behaviour, sketch)]
    return found


def measure(
    folder: Path,
    accounts: int = 400,
    events: int = 32_000,
    kinds: Sequence[str] = KINDS,
    settings: Mapping[str, Any] | None = None,
    seed: int = 11,
) -> dict[str, Any]:
    """Benign groups of one lab beside the campaigns of another.

    Returns:
      For each kind of indicator: how many there are, comparisons, and for each p-value of `SHARES`
      the share of the comparisons that have at most that.
    """
    own = together(LAB, settings or {})
    campaign: dict[str, Sequence[str]] = {}
    for i, kind in enumerate(kinds):
        [part] = campaign_events(folder / kind, f"{kind}:m=24,rate=30,links=1", seed + i, 1)
        campaign |= part
    here = Lab("lab-a", folder / "lab-a", own, campaign=campaign)
    here.build(accounts, events, seed + 100)
    there = Lab("lab-b", folder / "lab-b", own, space_of=here.bundle)
    (there.home / "trusted").mkdir(parents=True, exist_ok=True)
    shutil.copy(here.home / "trusted" / "own.pem", there.home / "trusted" / "lab-a.pem")
    there.build(accounts, events, seed + 200)
    listed = told(here)
    write_watch_list(there.watch_list, listed)
    sources = [{"name": SOURCE, "trust": 1.0, "tried_first": False}]
    watch = {"list": str(there.watch_list), "sources": sources, "likeness_max_p": _LAXEST}
    after = there.detect("after", {"watch": watch})
    [(groups,)] = query(
        after,
        "SELECT count(*) FROM (SELECT cluster_id FROM session_scores WHERE level = 'profile' "
        "AND cluster_id IS NOT NULL GROUP BY ALL HAVING count(DISTINCT key) > 1)",
    )
    result: dict[str, Any] = {"benign_groups": groups}
    for kind in ("behaviour", "coverage"):
        count = sum(one.kind == kind for one in listed)
        rows = query(
            after,
            "SELECT 1 - max(similarity) FROM sightings WHERE indicator_id LIKE ? "
            "AND cluster_id IS NOT NULL GROUP BY indicator_id, cluster_id",
            f"indicator--{kind}-%",
        )
        p_values = np.array([p_value for (p_value,) in rows])
        comparisons = count * groups
        result[kind] = {
            "indicators": count, "comparisons": comparisons,
            "at_most": {
                f"{share:g}": float((p_values <= share + 1e-9).sum()) / max(comparisons, 1)
                for share in SHARES
            },
        }  # fmt: skip
    return result


def main() -> None:
    """Prints what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--accounts", type=int, default=400)
    parser.add_argument("--events", type=int, default=32_000)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    found = measure(options.folder, options.accounts, options.events, seed=options.seed)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
