"""What the attacker does about what it is shown: a table from reasons to countermeasures.

The attacker knows its own accounts, requests and bill, and the findings that hold its accounts; not
the other customers, the thresholds, or the scores of what was not flagged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.protocol.adaptive.method import LADDERS, Method, laxer, stricter
from pipelines.protocol.adaptive.seen import SeenFinding

LINKS: Mapping[str, tuple[str, ...]] = {
    "payment": ("card",),
    "network": ("network",),
    "client": ("client",),
    "prefix_scaffold": ("wording",),
    "suffix_scaffold": ("wording",),
    "opening_sentence": ("wording",),
    "closing_sentence": ("wording",),
    "system_prompt": ("wording",),
    "content": ("public", "span", "cover"),
}
"""Countermeasures to a shared thing, by its kind; the next one when the first is used up."""

REASONS: Mapping[str, tuple[str, ...]] = {
    # How broad an account is: ask each about less, mix with ordinary use, ask less.
    "hill_cells": ("topics", "turns", "cover", "pace"),
    "effective_rank": ("topics", "turns", "cover", "pace"),
    "own_rank": ("topics", "turns", "cover", "pace"),
    "chao_cells": ("topics", "turns", "cover", "pace"),
    "log_volume": ("topics", "turns", "cover", "pace"),
    "unseen_share": ("topics", "turns", "cover"),
    "heaps_slope": ("topics", "turns", "cover"),
    "common_direction": ("topics", "turns"),
    "member_breadth": ("topics", "turns", "cover", "pace"),
    "member_surprise": ("topics", "public", "cover", "pace"),
    # What it asks: ask what others ask.
    "novelty": ("public", "wording", "cover"),
    "member_novelty": ("public", "wording", "cover"),
    "mmd2": ("public", "wording", "cover"),
    "code_share": ("cover", "public"),
    "tool_share": ("cover",),
    "structured_share": ("cover",),
    "size_entropy": ("cover", "wording"),
    # What accounts cover together: want less, do work twice.
    "complementarity": ("span", "cover"),
    "overlap": ("span", "cover"),
    "member_likeness": ("public", "topics", "cover"),
    # How alike accounts are.
    "behaviour_spread": ("unlike", "hours", "cover"),
    "volume_spread": ("unlike",),
    "synchrony": ("hours", "unlike"),
    "linkage": ("card", "network", "client", "wording"),
    # When it asks.
    "idle_gap_hours": ("hours",),
    "hour_entropy": ("hours", "pace"),
    "circadian_amplitude": ("hours",),
    "busy_hours": ("hours", "pace"),
    "burstiness": ("hours",),
    "pace_evenness": ("hours", "unlike"),
    "coherence": ("turns", "topics"),
    "continued_share": ("turns",),
    # How it asks and what comes back.
    "top_scaffold_share": ("wording",),
    "repeated_prompts": ("wording", "cover"),
    "reasoning_share": ("thinking", "cover"),
    "saturated_share": ("answers",),
    "output_tokens": ("answers",),
    "output_ratio": ("answers",),
    # Who asks.
    "networks": ("network",),
    "clients": ("client",),
    "account_age": ("aged",),
    "blocked_share": ("pace",),
}
"""Countermeasures to a reason; `pooled_` before a name asks for the same, wanting less first."""

TACTICS: Mapping[str, tuple[str, ...]] = {
    "bulk_sweep": ("topics", "pace"),
    "drip": ("topics", "cover"),
    "divided_labour": ("span", "cover"),
    "reasoning_elicitation": ("thinking",),
    "fixed_template": ("wording",),
    "repeated_sampling": ("wording",),
    "hand_over": ("pace",),
}
"""Countermeasures to a tactic that was named."""

OTHERWISE = ("cover", "pace", "public", "topics", "aged")
"""Tried in turn where a reason has no countermeasure (left)."""

SAVINGS = ("cover", "aged", "thinking", "answers", "card", "network", "pace", "span", "turns")
"""What is tried to be taken back, dearest first, when nearly everything gets through."""

GOOD_ENOUGH = 0.9
"""Share of the wanted requests that must get through before the attacker looks at its bill."""

_TACTIC_WEIGHT = 0.2  # a name follows from the reasons; it only decides between them


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the method: the lever, its value before and after, and why."""

    lever: str
    before: object
    after: object
    why: str


@dataclass(frozen=True, slots=True)
class Mind:
    """What the attacker keeps in mind from round to round.

    Attributes:
      saving: lever that was taken back a step for this round, "" for none.
      cost_before: cost of a thousand requests before that.
      settled: levers that are not to be taken back any more.
    """

    saving: str = ""
    cost_before: float = 0.0
    settled: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a round came to, as the attacker knows it.

    Attributes:
      through: share of the wanted requests that got through.
      cost: USD for a thousand of them.
      findings: as shown.
    """

    through: float
    cost: float
    findings: Sequence[SeenFinding]


def decide(
    mind: Mind, method: Method, outcome: Outcome, most: int = 3
) -> tuple[Mind, Method, tuple[Change, ...]]:
    """The method of the next round.

    While too little gets through, up to `most` levers move a step, those against the strongest
    reasons first. Once nearly all gets through, one countermeasure at a time is taken back a step,
    and put in place again if the bill does not fall.
    """
    good = outcome.through >= GOOD_ENOUGH
    if mind.saving and not (good and outcome.cost < mind.cost_before):
        back = stricter(method, mind.saving)
        why = "more was flagged without it" if not good else "it did not make it cheaper"
        calm = replace(mind, saving="", settled=mind.settled | {mind.saving})
        if back is not None:
            return calm, back, (_change(mind.saving, method, back, why),)
    if good:
        return _save(mind, method, outcome)
    wanted = method
    changes: list[Change] = []
    for signal, levers in _signals(outcome.findings):
        moved = {change.lever for change in changes}
        if moved & set(levers) or len(changes) >= most:
            continue
        for lever in levers:
            next_ = stricter(wanted, lever)
            if next_ is not None:
                changes.append(_change(lever, wanted, next_, signal))
                wanted = next_
                break
    if not changes:
        for lever in OTHERWISE:
            next_ = stricter(wanted, lever)
            if next_ is not None:
                changes.append(_change(lever, wanted, next_, "nothing else is left"))
                wanted = next_
                break
    return replace(mind, saving=""), wanted, tuple(changes)


def signals(findings: Sequence[SeenFinding]) -> list[tuple[str, float]]:
    """Reasons, links and tactics by their weight over the attacker's flagged accounts.

    In each finding the reasons share its accounts by their contributions; a link counts the
    accounts that share something of its kind.
    """
    votes: dict[str, float] = {}
    for finding in findings:
        own = len(finding.accounts)
        total = sum(max(reason.contribution, 0.0) for reason in finding.reasons) or 1.0
        for reason in finding.reasons:
            side = "high" if reason.high else "low"
            name = f"{reason.feature} {side}"
            votes[name] = votes.get(name, 0.0) + own * max(reason.contribution, 0.0) / total
        for kind, accounts in finding.links:
            votes[f"link {kind}"] = votes.get(f"link {kind}", 0.0) + accounts
        for tactic in finding.tactics:
            name = f"tactic {tactic}"
            votes[name] = votes.get(name, 0.0) + _TACTIC_WEIGHT * own
    return sorted(((n, v) for n, v in votes.items() if v > 0), key=lambda item: (-item[1], item[0]))


def counters(signal: str) -> tuple[str, ...]:
    """Levers against a signal, as `signals` names them; `OTHERWISE` for one that is not known."""
    if signal.startswith("link "):
        return LINKS.get(signal.removeprefix("link "), OTHERWISE)
    if signal.startswith("tactic "):
        return TACTICS.get(signal.removeprefix("tactic "), OTHERWISE)
    feature = signal.rpartition(" ")[0]
    plain = feature.removeprefix("pooled_")
    levers = REASONS.get(plain, OTHERWISE)
    return ("span", *levers) if plain != feature and levers[0] == "topics" else levers


def _signals(findings: Sequence[SeenFinding]) -> list[tuple[str, tuple[str, ...]]]:
    return [(name, counters(name)) for name, _ in signals(findings)]


def _save(mind: Mind, method: Method, outcome: Outcome) -> tuple[Mind, Method, tuple[Change, ...]]:
    for lever in (mind.saving, *SAVINGS):
        cheaper = laxer(method, lever) if lever and lever not in mind.settled else None
        if cheaper is not None:
            kept = Mind(lever, outcome.cost, mind.settled)
            why = f"{100 * outcome.through:.0f} % got through; saves money"
            return kept, cheaper, (_change(lever, method, cheaper, why),)
    return replace(mind, saving=""), method, ()


def _change(lever: str, before: Method, after: Method, why: str) -> Change:
    return Change(lever, getattr(before, lever), getattr(after, lever), why)


for _levers in (*LINKS.values(), *REASONS.values(), *TACTICS.values(), OTHERWISE, SAVINGS):
    assert set(_levers) <= set(LADDERS)
