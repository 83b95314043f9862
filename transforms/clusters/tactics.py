"""Names for what a cluster does, from what stands out in it.

Labels help people to start looking; they decide nothing. Several may hold at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from transforms.coverage.layout import DAY_MS, Sum
from transforms.coverage.sketch import CoverageSketch

_CLEAR = 2.0  # robust standard deviations that make a feature stand out
_DRIP_A_DAY = 60.0


def name_tactics(z: Mapping[str, float], pool: CoverageSketch, accounts: int) -> list[str]:
    """Tactics of one account or cluster.

    Args:
      z: robust standard score of each feature, as measured and not turned.
      pool: sketch of all its requests.
      accounts: how many there are.
    """
    days = max((pool.last_ms - pool.first_ms) / DAY_MS, 1.0)
    pace = int(pool.sums[Sum.EVENTS]) / accounts / days

    def clear(*names: str) -> bool:
        return any(z.get(name, 0.0) > _CLEAR for name in names)

    broad = clear(
        "hill_cells", "own_rank", "unseen_share", "pooled_hill_cells", "pooled_own_rank",
        "pooled_unseen_share", "complementarity",
    )  # fmt: skip
    found = []
    if broad:
        found.append("drip" if pace < _DRIP_A_DAY else "bulk_sweep")
    if accounts > 1 and clear("complementarity", "pooled_unseen_share", "pooled_chao_cells"):
        found.append("divided_labour")
    if clear("reasoning_share", "pooled_reasoning_share"):
        found.append("reasoning_elicitation")
    if clear("top_scaffold_share", "pooled_top_scaffold_share"):
        found.append("fixed_template")
    if clear("repeated_prompts", "pooled_repeated_prompts"):
        found.append("repeated_sampling")
    if clear("blocked_share"):
        found.append("hand_over")
    return found
