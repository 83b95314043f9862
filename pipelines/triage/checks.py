"""What to check next: for each tactic and link, what tells an attack from its innocent twin."""

from __future__ import annotations

from pipelines.report.story import Cluster

_BY_TACTIC = {
    "bulk_sweep": "Ask the account's owner what the volume is for; a batch job or an evaluation "
    "has an owner who knows it.",
    "drip": "Compare with a scheduled job: a real one asks the same kind of thing each day, this "
    "one asks ever new ones.",
    "divided_labour": "Look whether members belong to one company with teams of their own; divided "
    "topics are normal there.",
    "reasoning_elicitation": "Look into the product's own records whether full reasoning was "
    "returned, and to whom.",
    "fixed_template": "Ask whether the wording is that of a public tool or evaluation harness; if "
    "so, add it to known texts.",
    "repeated_sampling": "Look whether temperature and count fit an evaluation (pass@k); its owner "
    "will know the benchmark.",
    "hand_over": "Look up why the first account was refused, and whether the next one was opened "
    "after that.",
    "self_instruct": "Look for a contract that permits generating training data.",
    "evolved_prompts": "Look for a contract that permits generating training data.",
    "reward_modelling": "Look for a contract that permits grading with the model.",
    "capability_targeted": "Compare the date of the first request with the release of that "
    "capability.",
    "replay": "Compare with the case that the replayed prompts came from.",
    "benchmark_evaluation": "Look for the evaluation among the known evaluators before blocking.",
}
_BY_LINK = {
    "payment": "Ask payments who owns the shared payment method, and whether it was charged back.",
    "network": "Look up who runs the shared network; a company's gateway has many customers behind "
    "it.",
    "client": "Look whether the shared client is a public library at a common version.",
    "organization": "Ask the organization's contact; they can say whether all accounts are theirs.",
    "credential": "Look whether the shared credential was leaked; its owner may be a victim.",
}
_ALWAYS = (
    "Compare when the accounts were opened with when they began; a batch opened together tells.",
)
_MOST = 6


def next_checks(cluster: Cluster, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """What to look into, most telling first.

    Args:
      cluster: with its tactics.
      kinds: of what its members share, most shared first.
    """
    found = [_BY_LINK[kind] for kind in kinds if kind in _BY_LINK]
    found[2:2] = [_BY_TACTIC[t] for t in cluster.tactics if t in _BY_TACTIC]
    return tuple(dict.fromkeys([*found, *_ALWAYS]))[:_MOST]
