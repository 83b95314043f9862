"""Writes what came out of the game: a table of rounds (CSV), a section of the page, and charts."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from io import StringIO
from itertools import groupby

import numpy as np

from pipelines.protocol import charts
from pipelines.protocol.adaptive.costs import PRICES, SOURCES, Bill, per_thousand
from pipelines.protocol.adaptive.method import LADDERS, WORDS, shown
from pipelines.protocol.adaptive.policy import Change
from pipelines.protocol.adaptive.rounds import AdaptiveResult, Round
from pipelines.protocol.charts import Axis, Line

_LAST = 5  # rounds at the end over which is averaged
_MATTERS = 0.05  # of the questions, from which a lever is worth a defence
_BILL = tuple(field.name for field in fields(Bill))

DEFENCES: Mapping[str, str] = {
    "card": "link by what is dearer to multiply than cards: owner, issuer and day of sign-up",
    "network": "mark exits known as proxies; compare the network's country with the card's",
    "client": "fingerprint more of the connection than the program's name",
    "wording": "compare the order and kind of demands, not the words around a prompt",
    "topics": "compare what accounts ask together with what each asks alone",
    "span": "compare what one group of accounts asks with public lists of questions",
    "public": "know the public lists of questions (a filter of known texts)",
    "turns": "compare follow-ups with the answer that they follow",
    "hours": "compare with the hours of the account's own country and past",
    "unlike": "judge likeness without volume",
    "cover": "judge the part of an account that stands out, not its mean",
    "pace": "remember longer: a slow account needs weeks to show",
    "aged": "compare with the account's own past: a bought one changes its owner",
    "answers": "count answers, not their tokens",
    "thinking": "count what is asked for, not the model that answers",
}
"""What defenders could do about each lever."""
assert set(DEFENCES) == set(LADDERS)


def as_csv(result: AdaptiveResult) -> str:
    """One row for each round: the method, what changed and why, what came of it, the bill."""
    out = StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(
        (
            "round", "accounts", "accounts_flagged", "accounts_lost", "requests", "useful",
            "useful_through", "share_through", "usd_per_1000_through", "days_for_wanted",
            *(f"usd_{name}" for name in _BILL), "benign_flagged", *LADDERS, "changes", "seen",
        )
    )  # fmt: skip
    for r in result.rounds:
        table.writerow(
            (
                r.number, r.accounts, r.flagged_accounts, r.lost, r.asked, r.useful, r.through,
                f"{r.share_through:.4f}", _number(r.cost), _number(r.days),
                *(f"{getattr(r.bill, name):.2f}" for name in _BILL), r.benign_flagged,
                *(shown(lever, getattr(r.method, lever)) for lever in LADDERS),
                "; ".join(map(_told, r.changes)),
                "; ".join(f"{name} {weight:.1f}" for name, weight in r.signals),
            )
        )  # fmt: skip
    return out.getvalue()


def section(result: AdaptiveResult) -> list[str]:
    """The section of the page, in Markdown."""
    options, rounds = result.options, result.rounds
    part = f"prompts of the {options.part} part of the corpora"
    source = part if options.corpora else "invented prompts"
    lines = [
        "## An attacker that adapts",
        "",
        f"{len(rounds)} rounds, seed {options.seed}, {source}"
        f"{', timing of benign programs from traces' if options.traces else ''}: {result.benign:,} "
        f"benign accounts with {result.live_events:,} requests in "
        f"{options.days - options.history_days} live days; the attacker wants {options.wanted:,} "
        "different questions answered in each round.",
        "",
        *_summary(result),
        *_rounds(rounds),
        *_changes(rounds),
    ]
    if result.ablations:
        lines += _ablations(result)
    return [*lines, *_prices()]


def headline(result: AdaptiveResult) -> str:
    """One line for people."""
    first, settled, late = result.rounds[0], result.settled, result.rounds[-_LAST:]
    return (
        f"Adaptive attacker: {_share(first.share_through)} of its wanted questions got through in "
        f"round 1, {_share(_mean_through(late))} in the last {len(late)}; "
        f"{_share(_mean_through(settled))} with the method it settled on "
        f"({_usd(_cost(settled))} a thousand)."
    )


def pictures(result: AdaptiveResult) -> dict[str, str]:
    """Charts by file name: shares and costs over the rounds."""
    rounds = result.rounds
    last = max(len(rounds), 2)
    ticks = tuple((float(n), str(n)) for n in range(1, last + 1) if n == 1 or n % 5 == 0)
    x = Axis("round", 1.0, float(last), ticks)
    shares = [
        Line("wanted questions through", tuple((r.number, r.share_through) for r in rounds)),
        Line(
            "accounts flagged",
            tuple((r.number, r.flagged_accounts / max(r.accounts, 1)) for r in rounds),
        ),
        Line("accounts lost", tuple((r.number, r.lost / max(r.accounts, 1)) for r in rounds)),
    ]
    title = "An attacker that adapts: what gets through"
    found = {"adaptive-through.svg": charts.chart(title, x, charts.PERCENT, shares)}
    costs = [
        Line("all costs", _points((r.number, r.cost) for r in rounds)),
        Line(
            "of which for hiding",
            _points((r.number, per_thousand(r.bill.hiding, r.through)) for r in rounds),
        ),
    ]
    values = [value for line in costs for _, value in line.points]
    if values:
        y = _money(min(values), max(values))
        if len(costs[0].points) < len(rounds):
            x = replace(x, title="round (left out where nothing got through)")
        title = "An attacker that adapts: USD for 1,000 questions that got through"
        found["adaptive-cost.svg"] = charts.chart(title, x, y, costs)
    return found


# --- parts of the section ------------------------------------------------------------------------


def _summary(result: AdaptiveResult) -> list[str]:
    first, settled, late = result.rounds[0], result.settled, result.rounds[-_LAST:]
    cost = _cost(late)
    ratio = f"{cost / first.cost:.2f}" if math.isfinite(cost) and first.through else "no ratio"
    plain = per_thousand(first.bill.requests, first.useful)
    since = f"{len(settled)} rounds from {settled[0].number} on"
    rows = [
        (
            name, _share(_mean_through(some)), _usd(_cost(some)), _usd(_hiding(some)),
            _few(float(np.median([r.days for r in some]))),
        )
        for name, some in (
            ("round 1", (first,)),
            (f"method settled on ({since})", settled),
            (f"last {len(late)} rounds", late),
        )
    ]  # fmt: skip
    header = (
        "", "questions through", "USD for 1,000 through", "of which for hiding",
        "days for all wanted",
    )  # fmt: skip
    dearer = f"{cost / plain:.1f}" if math.isfinite(cost) and plain > 0 else "–"
    return [
        *_table(header, rows),
        f"Cost of the last rounds against round 1: {ratio}; against the list price of 1,000 wanted "
        f"requests in round 1 ({_usd(plain)}): {dearer}.",
        "",
    ]


def _rounds(rounds: Sequence[Round]) -> list[str]:
    header = (
        "round", "accounts", "flagged", "lost", "useful", "through", "USD for 1,000", "hiding",
        "days", "benign flagged", "seen most",
    )  # fmt: skip
    rows = [
        (
            str(r.number), str(r.accounts), _share(r.flagged_accounts / max(r.accounts, 1)),
            str(r.lost), f"{r.useful:,}", _share(r.share_through), _usd(r.cost),
            _usd(_hiding((r,))), _few(r.days), str(r.benign_flagged),
            ", ".join(f"`{name}`" for name, _ in r.signals[:3]) or "nothing",
        )
        for r in rounds
    ]  # fmt: skip
    return ["### Rounds", "", *_table(header, rows)]


def _changes(rounds: Sequence[Round]) -> list[str]:
    lines = ["### What changed, and why", ""]
    for told, same in groupby(rounds[1:], lambda r: "; ".join(map(_told, r.changes))):
        numbers = [r.number for r in same]
        last = f" to {numbers[-1]}" if len(numbers) > 1 else ""
        lines.append(f"- Round {numbers[0]}{last}: {told or 'nothing'}.")
    return [*lines, ""]


def _ablations(result: AdaptiveResult) -> list[str]:
    whole, *others = result.ablations
    ranked = sorted(others, key=lambda a: (a.share_through, -a.cost))
    rows = [
        (
            WORDS[a.lever], shown(a.lever, a.value), shown(a.lever, LADDERS[a.lever][0]),
            _share(a.share_through), f"{100 * (a.share_through - whole.share_through):+.0f}",
            _usd(a.cost),
            DEFENCES[a.lever] if whole.share_through - a.share_through > _MATTERS else "",
        )
        for a in ranked
    ]  # fmt: skip
    header = (
        "lever", "settled on", "put back to", "through without it", "points", "USD for 1,000",
        "what could be done about it",
    )  # fmt: skip
    return [
        "### What each evasion was worth",
        "",
        f"The method settled on, with all accounts new: {_share(whole.share_through)} "
        f"through, {_usd(whole.cost)} for 1,000. One lever at a time put back to its start, one "
        "draw each: with a dozen accounts, twenty points to either side can be chance.",
        "",
        *_table(header, rows),
    ]


def _prices() -> list[str]:
    rows = []
    for name, (what, source) in SOURCES.items():
        value = getattr(PRICES, name)
        rows.append((what, f"{value:g}" if name == "life_days" else f"${value:.2f}", source))
    return [
        "### Prices",
        "",
        "Requests, wanted and cover, cost the list price that their events carry. What is lost is "
        "paid in full, what is kept is written off day by day.",
        "",
        *_table(("", "price", "source"), rows),
    ]


# --- words and numbers ---------------------------------------------------------------------------


def _told(change: Change) -> str:
    before, after = shown(change.lever, change.before), shown(change.lever, change.after)
    return f"{WORDS[change.lever]} {before} → {after} ({change.why})"


def _mean_through(rounds: Sequence[Round]) -> float:
    useful = sum(r.useful for r in rounds)
    return sum(r.through for r in rounds) / useful if useful else 0.0


def _cost(rounds: Sequence[Round]) -> float:
    return per_thousand(sum(r.bill.total for r in rounds), sum(r.through for r in rounds))


def _hiding(rounds: Sequence[Round]) -> float:
    return per_thousand(sum(r.bill.hiding for r in rounds), sum(r.through for r in rounds))


def _few(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "never"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def _usd(value: float) -> str:
    return f"${value:,.2f}" if math.isfinite(value) else "–"


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else ""


def _points(pairs: Iterable[tuple[int, float]]) -> tuple[tuple[float, float], ...]:
    return tuple((x, y) for x, y in pairs if math.isfinite(y) and y > 0)


def _money(low: float, high: float) -> Axis:
    """A logarithmic axis with a tick at 1, 2 and 5 of each power of ten in reach."""
    steps = [m * 10.0**e for e in range(-3, 8) for m in (1, 2, 5)]
    below = max((s for s in steps if s <= low), default=steps[0])
    above = min((s for s in steps if s >= high and s > below), default=steps[-1])
    ticks = tuple((s, f"${s:g}") for s in steps if below <= s <= above)
    return Axis("", below, above, ticks, log=True)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]
