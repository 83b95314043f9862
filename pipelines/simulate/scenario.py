"""What is to be simulated: a frozen description, and how it is written on a command line."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from schemas.errors import DistilwatchError

CHANNELS = ("payment", "network", "client", "scaffold")
"""What members of a campaign can fail to hide."""
DEFAULT_START_MS = 1_780_272_000_000
"""2026-06-01T00:00:00Z, a Monday."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """One extraction campaign.

    Attributes:
      kind: a name of `ATTACKS`.
      members: number of accounts (`m`).
      rate: requests an account makes a day, cover traffic included.
      links: share of members (0 to 1) that share something rare with another member: a payment
        method, a network, a client, a scaffold or their hours. The rest share nothing.
      alpha: share of a member's requests that are extraction; the rest is ordinary use.
      days: length; 0 means from its start (chosen at random) to the end of the live period.
      turns: requests of a conversation on average; 1 means that nothing is followed up, 0 that the
        campaign chooses.
      by: what linked members share, names of `CHANNELS` with a plus between them, such as
        "client+scaffold"; empty: two or more of them, drawn at random.
    """

    kind: str
    members: int
    rate: float
    links: float = 0.5
    alpha: float = 1.0
    days: float = 0.0
    turns: float = 0.0
    by: str = ""

    def __post_init__(self) -> None:
        _known(self.kind)
        where = f"attack {self.kind}"
        if self.members < 1:
            raise DistilwatchError(f"m is {self.members}", where, "give at least 1 account")
        if not (0 < self.rate <= 200_000):
            raise DistilwatchError(
                f"rate is {self.rate:g}", where, "give requests an account a day, up to 200000"
            )
        if not 0 <= self.links <= 1:
            raise DistilwatchError(f"links is {self.links:g}", where, "give a share from 0 to 1")
        if not 0 < self.alpha <= 1:
            raise DistilwatchError(
                f"alpha is {self.alpha:g}", where, "give a share above 0, up to 1"
            )
        if not (0 <= self.days < math.inf and 0 <= self.turns < 100):
            raise DistilwatchError(
                "days or turns is out of range", where, "give small numbers from 0"
            )
        if unknown := set(self.channels) - set(CHANNELS):
            raise DistilwatchError(
                f"by names {', '.join(sorted(unknown))}",
                where,
                f"use {', '.join(CHANNELS)}, with +",
            )

    @property
    def channels(self) -> tuple[str, ...]:
        """What linked members share; empty where that is drawn at random."""
        return tuple(filter(None, self.by.split("+")))


ATTACKS: dict[str, Campaign] = {}
"""Every attack by its name on the command line, with its defaults."""


def _known(name: str) -> None:
    if ATTACKS and name not in ATTACKS:
        near = difflib.get_close_matches(name, ATTACKS, n=1)
        raise DistilwatchError(
            f"unknown attack {name!r}",
            "--attack",
            f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(ATTACKS)}",
        )


ATTACKS.update(
    {
        campaign.kind: campaign
        for campaign in [
            Campaign("bulk", 1, 1500, links=0.0),
            Campaign("drip", 60, 26),
            Campaign("hydra-disjoint", 40, 46),
            Campaign("hydra-random", 25, 46),
            Campaign("mixture", 30, 46, alpha=0.25),
            Campaign("self-instruct", 10, 80),
            Campaign("evol", 10, 60),
            Campaign("reasoning", 12, 60),
            Campaign("capability", 12, 60),
            Campaign("replay", 8, 120),
            Campaign("replacement", 16, 400),
            Campaign("relay", 10, 150),
        ]
    }
)
_SHORT = {"m": "members"}


def parse_attack(text: str) -> Campaign:
    """Reads `name` or `name:m=50,alpha=0.25,links=0.5,rate=46` (also `days`, `turns` and `by`).

    Raises:
      DistilwatchError: an unknown name or setting, or a value out of range.
    """
    name, _, settings = text.strip().partition(":")
    name = name.strip().lower().replace("_", "-")
    _known(name)
    changes: dict[str, float] = {}
    by = ATTACKS[name].by
    allowed = [field.name for field in fields(Campaign) if field.name != "kind"]
    for setting in filter(None, (part.strip() for part in settings.split(","))):
        key, equals, value = (part.strip() for part in setting.partition("="))
        key = _SHORT.get(key, key)
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            raise DistilwatchError(
                f"unknown setting {key!r}",
                f"--attack {text}",
                f"did you mean {near[0]!r}?"
                if near
                else "use m, rate, links, alpha, days, turns or by",
            )
        if key == "by":
            by = value
            continue
        try:
            number = float(value) if equals else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or (key == "members" and not number.is_integer()):
            raise DistilwatchError(
                f"{key} is not a {'whole ' if key == 'members' else ''}number: {value!r}",
                f"--attack {text}",
                f"write {key}=NUMBER",
            )
        changes[key] = number
    return _with(replace(ATTACKS[name], by=by), changes)


def _with(campaign: Campaign, changes: Mapping[str, float]) -> Campaign:
    return replace(
        campaign,
        members=int(changes.get("members", campaign.members)),
        rate=changes.get("rate", campaign.rate),
        links=changes.get("links", campaign.links),
        alpha=changes.get("alpha", campaign.alpha),
        days=changes.get("days", campaign.days),
        turns=changes.get("turns", campaign.turns),
    )


@dataclass(frozen=True, slots=True)
class CorpusChoice:
    """Which corpora prompts come from.

    Attributes:
      folder: folder with `*.jsonl` and `*.jsonl.gz`.
      part: fit, choose, report or all; the three never share a corpus.
      only, exclude: shell patterns of corpus names.
      source_swap: attackers draw broadly from the corpora that benign people's topics come from.
    """

    folder: Path
    part: str = "all"
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    source_swap: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that decides what is simulated.

    Attributes:
      seed: the same scenario always gives the same events.
      start_ms: first moment, milliseconds UTC; a midnight keeps days whole.
      days: length of the whole period.
      history_days: benign days at its start; campaigns are in the days after.
      accounts: number of benign accounts.
      events: about how many events there shall be in all; 0 leaves the rates as they are. Benign
        accounts, above all the programs among them, are made busier or quieter for it.
      campaigns: the attacks.
      corpus: prompts from corpora; None means the built-in prompts.
      traces: folder of real traffic to take the timing from; None means the own model.
      contaminate: share of the attacking accounts (0 to 1) that attack in the history already.
    """

    seed: int = 7
    start_ms: int = DEFAULT_START_MS
    days: int = 14
    history_days: int = 8
    accounts: int = 700
    events: int = 0
    campaigns: tuple[Campaign, ...] = ()
    corpus: CorpusChoice | None = None
    traces: Path | None = None
    contaminate: float = 0.0

    def __post_init__(self) -> None:
        problems = [
            (not 1 <= self.days <= 3_660, f"days is {self.days}", "give 1 to 3660"),
            (
                not 0 <= self.history_days < self.days,
                f"history_days is {self.history_days} of {self.days} days",
                "leave at least one live day",
            ),
            (
                not 0 <= self.accounts <= 10_000_000,
                f"accounts is {self.accounts}",
                "give 0 or more",
            ),
            (self.events < 0, f"events is {self.events}", "give 0 or more"),
            (not 0 <= self.contaminate <= 1, "contaminate is no share", "give 0 to 1"),
            (self.seed < 0, f"seed is {self.seed}", "give 0 or more"),
            (not 0 <= self.start_ms < 1 << 43, "start is out of range", "give a date after 1970"),
            (
                not self.accounts and not self.campaigns,
                "there is nobody",
                "give accounts or attacks",
            ),
        ]
        for wrong, what, mend in problems:
            if wrong:
                raise DistilwatchError(what, "scenario", mend)

    @property
    def live_ms(self) -> int:
        """Start of the live period."""
        return self.start_ms + self.history_days * 86_400_000

    @property
    def end_ms(self) -> int:
        """End of the whole period."""
        return self.start_ms + self.days * 86_400_000


def parse_start(text: str) -> int:
    """Reads an ISO 8601 date or time (UTC unless it says otherwise) into milliseconds.

    Raises:
      DistilwatchError: it is not one.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DistilwatchError(
            f"not a date: {text!r}", "--start", "write it as 2026-06-01 or 2026-06-01T00:00:00Z"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def demo_scenario(seed: int = 7) -> Scenario:
    """What `distilwatch demo` shows: 700 benign accounts, nine campaigns, about 150,000 events."""
    names = (
        "hydra-disjoint:m=40,rate=46,links=0.5",
        "hydra-random:m=25,rate=46,links=0.75",
        "drip:m=60,rate=26,links=0.5",
        "bulk:rate=1200",
        "bulk:rate=800",
        "reasoning:m=12,rate=60,links=0.5",
        "mixture:m=30,rate=46,alpha=0.4,links=0.75",
        "self-instruct:m=6,rate=80",
        "replacement:m=10,rate=300",
    )
    return Scenario(seed, events=150_000, campaigns=tuple(parse_attack(name) for name in names))


def composed_scenario(
    corpus: Path, traces: Path | None, events: int = 200_000, seed: int = 7, part: str = "all"
) -> Scenario:
    """Every attack and every benign class, from corpora and (if given) traces."""
    names = (
        "bulk:rate=1500",
        "drip:m=40,rate=13",
        "drip:m=40,rate=26",
        "hydra-disjoint:m=50,rate=46",
        "hydra-random:m=50,rate=46",
        "mixture:m=50,rate=46,alpha=0.25",
        "mixture:m=20,rate=60,alpha=0.1",
        "self-instruct",
        "evol",
        "reasoning",
        "capability",
        "replay",
        "replacement:rate=300",
        "relay",
    )
    return Scenario(
        seed,
        accounts=900,
        events=events,
        campaigns=tuple(parse_attack(name) for name in names),
        corpus=CorpusChoice(corpus, part),
        traces=traces,
    )
