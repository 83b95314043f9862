"""What is feared of whom, how sure we are, and what it costs: in the same words in a message, on
the page of a case, and in its file."""

from __future__ import annotations

import math
from collections.abc import Sequence

_SHARED = {
    "payment": "a payment method",
    "credential": "a credential",
    "organization": "an organization",
    "network": "a network",
    "client": "a client program",
    "system_prompt": "a system prompt",
    "prefix_scaffold": "the wording of their prompts",
    "suffix_scaffold": "the wording of their prompts",
    "opening_sentence": "the wording of their prompts",
    "closing_sentence": "the wording of their prompts",
    "content": "questions that nobody else asks",
    "synchrony": "the minutes in which they work",
    "hand_over": "work that one took over from another",
}
_DOING = {
    "replay": "ask the prompts of a known extraction again",
    "benchmark_evaluation": "ask the questions of public benchmarks",
}
IN_HAND = (
    "If you need time, watch it: it is in hand then, and told again only if it gets graver. "
    "Nothing is blocked by itself."
)
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000


def suspicion(
    accounts: int, shared: Sequence[str] = (), tactics: Sequence[str] = (), over: bool = False
) -> str:
    """What is feared of whom, in a few words.

    Args:
      accounts: how many.
      shared: kinds of links between them, the most telling first.
      tactics: of the cluster.
      over: whether it is to be looked at no more.
    """
    who = "1 account" if accounts == 1 else f"{accounts:,} accounts"
    kinds = (_SHARED.get(name, name.replace("_", " ")) for name in shared)
    things = listed(list(dict.fromkeys(kinds))) if accounts > 1 else ""
    if over:
        return f"the alert about {who}" + (f" that share {things}" if things else "")
    doing = next((_DOING[t] for t in tactics if t in _DOING), "")
    if doing and accounts == 1:  # one account asks
        doing = doing.replace("ask", "asks", 1)
    text = f"{who} {doing or 'may be copying the model'}"
    return text + (f"; they share {things}" if things else "")


def how_sure(p_value: float | None, q_value: float | None, accounts: int) -> str:
    """What the numbers say of chance; "" without any.

    Args:
      p_value: of the cluster.
      q_value: share of false ones among alerts like it.
      accounts: that the cluster has.
    """
    parts = []
    if p_value is not None:
        kind = "accounts" if accounts == 1 else "groups of accounts"
        odds = _rounded(1 / max(p_value, 1e-9))
        parts.append(
            f"among {odds:,} harmless {kind} about 1 looks this unusual by chance"
            if odds > 1
            else f"most harmless {kind} look this unusual by chance"
        )
    if q_value is not None:
        false = round(100 * q_value)
        parts.append(
            f"of 100 alerts like this {f'up to {false}' if false else 'fewer than 1'} may be false"
        )
    return f"{'; '.join(parts)}." if parts else ""


def costs(usd: float | None, first_ms: int | None, last_ms: int | None, over: bool = False) -> str:
    """What it has cost, and, where it is not over, what waiting costs.

    Args:
      usd: list price of the answers; None or 0 where requests came without prices.
      first_ms, last_ms: of its first and last request, milliseconds UTC.
      over: whether it is to be looked at no more.
    """
    if not usd:
        return "not known, since the requests came without prices."
    text = f"answers worth {dollars(usd)} at list price"
    if over:
        return f"{text}."
    text += " so far"
    if first_ms is not None and last_ms is not None and last_ms - first_ms >= _HOUR_MS:
        a_day = usd * _DAY_MS / (last_ms - first_ms)
        text += f", about {dollars(a_day)} for each day that it goes on"
    return f"{text}."


def dollars(usd: float) -> str:
    """An amount; cents only where they matter."""
    return f"${usd:,.2f}" if usd < 10 else f"${usd:,.0f}"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them, with "and" before the last."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _rounded(odds: float) -> int:
    """To two digits: more would look surer than it is."""
    step = int(10 ** max(math.floor(math.log10(odds)) - 1, 0))
    return round(odds / step) * step
