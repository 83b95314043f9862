"""The attacker's accounts, and the requests that they make with a method.

Accounts outlive a round unless they are taken away, and every one has a network, client, wording
and pace of its own, made once; the method says which of these are used. The simulator's makers of
accounts, schedules and prompts are used throughout, so a campaign differs from benign accounts in
what it does and in nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from pipelines.protocol.adaptive.method import Method
from pipelines.simulate.accounts import Account, Builder
from pipelines.simulate.behaviour import ALWAYS_MS, Behaviour
from pipelines.simulate.benign import person_behaviour
from pipelines.simulate.compose import Population, Record, Simulation
from pipelines.simulate.prompts import BroadPool, Ids, Pool, PromptSource, TopicPool, zipf_weights
from pipelines.simulate.scenario import Scenario
from pipelines.simulate.styles import habits
from pipelines.simulate.timing import DAY_MS, PROFILES, Human, Runs, Schedule, Steady
from pipelines.simulate.world import created_ms

KIND = "adaptive"
CAMPAIGN = "campaign-adaptive"
_POOLS = 3  # ranges of a data centre that all accounts leave by
_START_WITHIN = 0.1  # of the period, in which all accounts have begun
_TRIES = 4  # draws after which a question that was asked before is asked again
_PLAIN = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])  # style of a program that rewords nothing


@dataclass(slots=True, eq=False)
class Member:
    """One account, with what is its own.

    Attributes:
      account: as the simulator has it.
      aged: whether it was bought as an old one.
      card: its payment instrument.
      home: its residential network.
      client: a popular client.
      wording: its own scaffold.
      pace: standard normal, its place among the paces.
    """

    account: Account
    aged: bool
    card: str
    home: int
    client: int
    wording: int
    pace: float


@dataclass(slots=True)
class OncePool:
    """A pool that hands out, as far as it can, only what the campaign has not asked yet."""

    pool: Pool
    asked: list[Ids]

    def draw(self, count: int, rng: np.random.Generator) -> Ids:
        drawn = self.pool.draw(count, rng)
        for _ in range(_TRIES):
            again = np.ones(count, bool)
            again[np.unique(drawn, return_index=True)[1]] = False
            again |= np.isin(drawn, self.asked[0])
            if not again.any():
                break
            drawn[again] = self.pool.draw(int(again.sum()), rng)
        self.asked[0] = np.union1d(self.asked[0], drawn)
        return drawn

    def corpora(self) -> frozenset[str]:
        return self.pool.corpora()


@dataclass(slots=True)
class EitherPool:
    """Prompts of one of two pools: of the second with probability `share`."""

    first: Pool
    second: Pool
    share: float

    def draw(self, count: int, rng: np.random.Generator) -> Ids:
        other = rng.random(count) < self.share
        out = np.empty(count, np.int64)
        for pool, mine in ((self.first, ~other), (self.second, other)):
            if mine.any():
                out[mine] = pool.draw(int(mine.sum()), rng)
        return out

    def corpora(self) -> frozenset[str]:
        return self.first.corpora() | self.second.corpora()


@dataclass(slots=True)
class Crew:
    """The attacker's accounts.

    Args:
      scenario: of the benign traffic; the attacker works from its live period's start to its end.
      population: of the same scenario, for the world, prompts and scaffolds it shares.
      seed: of everything that the attacker draws.
    """

    scenario: Scenario
    population: Population
    seed: int
    members: list[Member] = field(default_factory=list)
    _build: Builder = field(init=False)
    _wanted: Ids = field(init=False)
    _public: Ids = field(init=False)
    _pools: list[int] = field(init=False)
    _client: int = field(init=False)
    _wording: int = field(init=False)

    def __post_init__(self) -> None:
        made, rng = self.population, np.random.default_rng((self.seed, 0))
        made.world.rng = rng
        self._build = Builder(
            self.scenario, made.source, made.scaffolds, made.world, made.traces, rng,
            made.release_ms,
        )  # fmt: skip
        source = made.source
        self._wanted = rng.permutation(source.attack_topics)
        self._public = rng.permutation(_asked_by_people(source))
        self._pools = [made.world.own_network("US") for _ in range(_POOLS)]
        self._client = made.world.new_client()
        self._wording = made.scaffolds.own("campaign", rng)

    @property
    def days(self) -> float:
        """Length of the attacker's period."""
        return (self.scenario.end_ms - self.scenario.live_ms) / DAY_MS

    def staff(self, method: Method, number: int, step: int) -> list[Member]:
        """Buys accounts until there are `number`, sees to their cards, and gives those in use.

        Args:
          method: how the attacker works.
          number: of accounts wanted.
          step: number of the round; it seeds what is drawn.
        """
        rng = np.random.default_rng((self.seed, 1, step))
        self._build.rng = self._build.world.rng = rng
        while len(self.members) < number:
            self.members.append(self._bought(method))
        used = self.members[:number]
        self._deal_cards(used, method)
        return used

    def lose(self, flagged: Collection[str]) -> list[Member]:
        """Takes away flagged accounts and all that pay with the same cards; gives these."""
        cards = {m.card for m in self.members if m.account.id in flagged}
        gone = [m for m in self.members if m.account.id in flagged or m.card in cards]
        self.members = [m for m in self.members if m not in gone]
        return gone

    def requests(self, method: Method, used: list[Member], step: int) -> Iterator[Record]:
        """The requests of a period, in the order of time.

        Args:
          method: how the attacker works.
          used: accounts at work, as `staff` gave them.
          step: number of the round; it seeds what is drawn.
        """
        build = self._build
        build.rng = build.world.rng = np.random.default_rng((self.seed, 2, step))
        asked = [np.empty(0, np.int64)]
        for place, member in enumerate(used):
            self._work(method, member, place, asked)
        scenario = replace(self.scenario, seed=_mixed(self.seed, step), campaigns=())
        made = replace(self.population, accounts=[member.account for member in used])
        return Simulation(scenario, population=made).records()

    def _bought(self, method: Method) -> Member:
        build, live_ms = self._build, self.scenario.live_ms
        rng, world = build.rng, build.world
        account = build.account(KIND, "api", campaign=CAMPAIGN, newcomer=False)
        account.lapse_ms = ALWAYS_MS
        aged = bool(rng.random() < method.aged)
        account.fields["account_created_at"] = (
            created_ms(live_ms, rng)
            if aged
            else live_ms - int(rng.lognormal(math.log(3), 1.0) * DAY_MS)
        )
        return Member(
            account,
            aged,
            "",
            world.own_network(account.country),
            world.client("api"),
            build.scaffolds.own("campaign", rng),
            float(rng.normal()),
        )

    def _deal_cards(self, used: list[Member], method: Method) -> None:
        """Gives accounts without a card, and those too many on one, a card with room or a new."""
        having: dict[str, int] = {}
        for member in used:
            if member.card and having.get(member.card, 0) < method.card:
                having[member.card] = having.get(member.card, 0) + 1
            else:
                member.card = ""
        room = [card for card, count in having.items() for _ in range(method.card - count)]
        for member in used:
            if not member.card:
                if not room:
                    card = f"pm_{self._build.rng.bytes(12).hex()}"
                    room = [card] * method.card
                member.card = room.pop()
            member.account.fields["payment_fingerprint"] = member.card

    def _work(self, method: Method, member: Member, place: int, asked: list[Ids]) -> None:
        """Sets what an account does in the period."""
        build, account, scenario = self._build, member.account, self.scenario
        rng = build.rng
        account.networks = [member.home]
        if method.network == "pool":
            account.networks = [self._pools[(place + i) % _POOLS] for i in range(_POOLS)]
        account.clients = [self._client if method.client == "one" else member.client]
        account.output_median, account.max_output = method.answers, int(4 * method.answers)
        account.models, account.adopts_ms = ((2, 2) if method.thinking else (0, 1)), ALWAYS_MS
        begins = scenario.live_ms + int(
            rng.random() * _START_WITHIN * (scenario.end_ms - scenario.live_ms)
        )
        pace = method.pace * math.exp(method.unlike * member.pace - method.unlike**2 / 2)
        free = method.wording == "free"
        wording = self._wording if method.wording == "one" else member.wording
        useful = Behaviour(
            build.source,
            self._schedule(method, account, pace * (1 - method.cover)),
            OncePool(self._questions(method, place), asked),
            scaffolds=np.array([wording]),
            scaffolded=0.0 if free else 0.95,
            styles=habits(rng) if free else _PLAIN,
            turns=method.turns,
            attack=True,
            from_ms=begins,
        )
        account.behaviours = [useful]
        if method.cover > 0:
            cover = person_behaviour(build, account, pace * method.cover, int(rng.integers(3, 9)))
            account.behaviours.append(replace(cover, from_ms=begins))

    def _schedule(self, method: Method, account: Account, rate: float) -> Schedule | Human:
        build = self._build
        flat = PROFILES[2]
        if method.hours == "together":
            gap_s = min(8.0, 60_000 / rate)
            return Runs(rate, 1.0, gap_s, flat, 0.0, common_seed=self.seed)
        if method.hours == "clock":
            return Steady(rate, flat, 0.0)
        if method.hours == "day":
            return build.program(rate, account.zone_h, 0.0)
        human = build.human(rate, account.zone_h, active=0.95)
        return replace(human, turns=max(method.turns, 1.01))

    def _questions(self, method: Method, place: int) -> Pool:
        """What the account at a place asks: all that is wanted, or its own part of it."""
        wanted = self._pool(self._wanted, method, place)
        if not method.public:
            return wanted
        return EitherPool(wanted, self._pool(self._public, method, place), method.public)

    def _pool(self, topics: Ids, method: Method, place: int) -> Pool:
        source = self._build.source
        reach = topics[: max(1, math.ceil(method.span * len(topics)))]
        if not method.topics or method.topics >= len(reach):
            return BroadPool(source, reach)
        own = reach[(place * method.topics + np.arange(method.topics)) % len(reach)]
        return TopicPool(source, own, zipf_weights(len(own), 0.8))


def _asked_by_people(source: PromptSource) -> Ids:
    """Benign topics but those of one business's customers, if that leaves any."""
    topics = source.benign_topics
    kept: Ids = topics[[source.roles[area] == "general" for area in source.area_of[topics]]]
    return kept if len(kept) else topics


def _mixed(seed: int, step: int) -> int:
    """A seed for a round's events, so that their ids are not those of the benign ones."""
    return int(np.random.SeedSequence((seed, 3, step)).generate_state(1, np.uint64)[0] >> 1)
