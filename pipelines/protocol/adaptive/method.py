"""How the attacker works: its levers, and the steps that each can take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Method:
    """One way of working; the defaults are those of a campaign that hides nothing.

    Attributes:
      card: accounts that pay with one payment instrument.
      network: `pool` (all leave by the same three ranges) or `home` (a residential one for each).
      client: `one` (the same program everywhere) or `common` (a popular one, drawn for each).
      wording: `one` fixed text around all prompts, `own` for each account, or `free`: every prompt
        reworded, no fixed text.
      topics: that an account asks about; 0 means all.
      span: share of all topics that the campaign is after at all.
      public: share of the wanted questions that are taken from what ordinary users ask.
      turns: mean requests of a conversation, 1 for single calls.
      hours: `together` (all accounts run at once), `clock` (each by itself, day and night), `day`
        (by day) or `person` (conversations with pauses, days off).
      unlike: sigma of the log-normal pace from account to account.
      cover: share of requests that are not wanted and only look ordinary.
      pace: requests of an account a day, cover included.
      aged: share of the accounts bought that were opened long ago.
      answers: median length of the answers, tokens.
      thinking: whether a reasoning model is asked.
    """

    card: int = 10
    network: str = "pool"
    client: str = "one"
    wording: str = "one"
    topics: int = 0
    span: float = 1.0
    public: float = 0.0
    turns: float = 1.0
    hours: str = "together"
    unlike: float = 0.0
    cover: float = 0.0
    pace: float = 60.0
    aged: float = 0.0
    answers: float = 800.0
    thinking: bool = True


START = Method()

LADDERS: Mapping[str, tuple[Any, ...]] = {
    "card": (10, 3, 1),
    "network": ("pool", "home"),
    "client": ("one", "common"),
    "wording": ("one", "own", "free"),
    "topics": (0, 12, 4, 2),
    "span": (1.0, 0.5, 0.25),
    "public": (0.0, 0.5, 1.0),
    "turns": (1.0, 2.0, 3.5),
    "hours": ("together", "clock", "day", "person"),
    "unlike": (0.0, 0.5, 1.0),
    "cover": (0.0, 0.3, 0.6),
    "pace": (60.0, 30.0, 15.0, 8.0),
    "aged": (0.0, 0.5, 1.0),
    "answers": (800.0, 400.0, 200.0),
    "thinking": (True, False),
}
"""Steps of each lever, from careless to careful."""

WORDS: Mapping[str, str] = {
    "card": "accounts on one card",
    "network": "networks",
    "client": "client",
    "wording": "fixed wording",
    "topics": "topics of an account",
    "span": "share of topics wanted",
    "public": "share of questions that users ask",
    "turns": "turns of a conversation",
    "hours": "hours",
    "unlike": "spread of the pace",
    "cover": "share of cover traffic",
    "pace": "requests an account a day",
    "aged": "share of aged accounts",
    "answers": "length of answers",
    "thinking": "reasoning model",
}
assert set(WORDS) == set(LADDERS) == {field.name for field in fields(Method)}


def stricter(method: Method, lever: str) -> Method | None:
    """The method with one lever a step more careful; None at the end of its ladder."""
    return _moved(method, lever, 1)


def laxer(method: Method, lever: str) -> Method | None:
    """The method with one lever a step less careful; None at its start."""
    return _moved(method, lever, -1)


def reset(method: Method, lever: str) -> Method:
    """The method with one lever as it was at the start."""
    return replace(method, **{lever: LADDERS[lever][0]})


def moved(method: Method) -> tuple[str, ...]:
    """Levers that are not where they were at the start."""
    return tuple(lever for lever in LADDERS if getattr(method, lever) != LADDERS[lever][0])


def shown(lever: str, value: object) -> str:
    """A lever's value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if lever in ("span", "public", "cover", "aged") and isinstance(value, float):
        return f"{100 * value:.0f} %"
    if lever == "topics" and not value:
        return "all"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _moved(method: Method, lever: str, by: int) -> Method | None:
    steps = LADDERS[lever]
    at = steps.index(getattr(method, lever)) + by
    return replace(method, **{lever: steps[at]}) if 0 <= at < len(steps) else None
