"""The grid of the account protocol: what each cell of it runs with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DROPS: Mapping[str, tuple[str, ...]] = {
    "": (),
    # What is left is who, when, from where and how much; and what was asked, in the other.
    "content": ("prompt_text", "embedding", "embedding_model", "embedding_dtype",
                "system_prompt_hash", "tool_names", "response_format"),
    "metadata": ("payment_fingerprint", "organization_id", "credential_id", "account_created_at",
                 "ip_prefix", "asn", "country", "client_fingerprint", "conversation_id",
                 "turn_index", "cost_usd", "temperature", "max_output_tokens", "input_tokens",
                 "output_tokens", "reasoning_tokens", "status_code", "model", "endpoint"),
}  # fmt: skip
"""Fields taken out of the events before they are trained on and detected, by ablation."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run.

    Attributes:
      name: of the cell, and `group`: what it is compared with.
      part, seed, source_swap: of the corpora and draws.
      campaigns: as `--attack` has them; none: the composed scenario's own.
      drop: key of `DROPS`.
      contaminate: share of the attacking accounts that attack in the history already.
      exclude: patterns of corpora left out.
      accounts, events: benign accounts, and events in all.
    """

    name: str
    group: str
    part: str = "report"
    seed: int = 11
    source_swap: bool = False
    campaigns: tuple[str, ...] = ()
    drop: str = ""
    contaminate: float = 0.0
    exclude: tuple[str, ...] = ()
    accounts: int = 900
    events: int = 200_000


def cells(part: str, seeds: Sequence[int], budget: str, corpora: Sequence[str]) -> list[Cell]:
    """The grid for a budget, most telling cells first.

    Args:
      part: of the corpora.
      seeds: of the main cells; the others take the first.
      budget: `small` (about a dozen runs of 40,000 events) or `full`.
      corpora: names of the part's corpora, for leave-one-out.
    """
    small = budget == "small"
    size = {"accounts": 500, "events": 40_000} if small else {}
    first = seeds[0]

    def cell(name: str, group: str, **changes: Any) -> Cell:
        return Cell(name, group, part=part, **({"seed": first} | size | changes))

    found = []
    for seed in seeds:
        found.append(cell(f"main, seed {seed}", "main", seed=seed))
        found.append(cell(f"source swap, seed {seed}", "source swap", seed=seed, source_swap=True))
    found.append(cell("content only", "ablation", drop="metadata"))
    found.append(cell("metadata only", "ablation", drop="content"))
    for members in (1, 10, 50) if small else (1, 10, 50, 200, 1_000):
        for links in (0.5,) if small else (0.0, 0.25, 0.5, 1.0):
            # About as much of every size: few accounts ask faster, as those of real campaigns do.
            rate = {1: 900, 10: 120, 50: 46, 200: 26, 1_000: 13}[members]
            kinds = ("hydra-disjoint", "hydra-random", "mixture") if members > 1 else ("bulk",)
            attacks = tuple(f"{k}:m={members},rate={rate},links={links:g}" for k in kinds)
            found.append(cell(f"m={members}, links {links:.0%}", "cluster size", campaigns=attacks))
    if small:
        for links in (0.0, 1.0):
            attacks = tuple(
                f"{k}:m=50,rate=46,links={links:g}"
                for k in ("hydra-disjoint", "hydra-random", "mixture")
            )
            found.append(cell(f"m=50, links {links:.0%}", "visible links", campaigns=attacks))
    for share in (0.01, 0.05, 0.1):
        found.append(cell(f"history spoilt {share:.0%}", "contaminated", contaminate=share))
    if not small:
        for background in (300, 3_000, 9_000):
            found.append(
                cell(f"{background} benign accounts", "background", accounts=background, events=0)
            )
        found += [
            cell(f"without {name}", "leave one corpus out", exclude=(name,))
            for name in corpora
            if not name.startswith("seed_") and "meta_prompts" not in name
        ]
    return found
