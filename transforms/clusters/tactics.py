"""Names for what a cluster does, from what stands out in it.

Labels help people to start looking; they decide nothing. Several may hold at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transforms.clusters.capabilities import TakenCapability
from transforms.coverage.layout import DAY_MS, Bins, Sum
from transforms.coverage.sketch import CoverageSketch
from transforms.ingest.intents import Intent

_CLEAR = 2.0  # robust standard deviations that make a feature stand out
_DRIP_A_DAY = 60.0
_OFTEN = 0.2  # share of the requests from which a wording says what they are for
_DOMINANT = 0.5  # share of the labelled requests that one capability has to have


def name_tactics(
    z: Mapping[str, float],
    pool: CoverageSketch,
    accounts: int,
    capabilities: Sequence[TakenCapability] = (),
) -> list[str]:
    """Tactics of one account or cluster.

    Args:
      z: robust standard score of each feature, as measured and not turned.
      pool: sketch of all its requests.
      accounts: how many there are.
      capabilities: what it asked for, against the history.
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
    often = _frequent(pool)
    if Intent.REASONING_ELICITATION in often or clear("reasoning_share", "pooled_reasoning_share"):
        found.append("reasoning_elicitation")
    if clear("top_scaffold_share", "pooled_top_scaffold_share"):
        found.append("fixed_template")
    if clear("repeated_prompts", "pooled_repeated_prompts"):
        found.append("repeated_sampling")
    if clear("blocked_share"):
        found.append("hand_over")
    if Intent.TASK_GENERATION in often or Intent.DATA_SYNTHESIS in often:
        found.append("self_instruct")
    if Intent.EVOLVING in often:
        found.append("evolved_prompts")
    if Intent.GRADING in often:
        found.append("reward_modelling")
    if any(one.taken and one.share >= _DOMINANT for one in capabilities):
        found.append("capability_targeted")
    return found


def _frequent(pool: CoverageSketch) -> set[Intent]:
    """Wordings of a fifth of the requests and more."""
    counts = pool.histogram(Bins.INTENT, Bins.KNOWN)
    return {intent for intent in Intent if counts[intent] >= max(_OFTEN * pool.events, 2)}
