"""Benign accounts, the easy and the hard ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipelines.simulate import world
from pipelines.simulate.accounts import Account, Builder, share_field
from pipelines.simulate.behaviour import Behaviour
from pipelines.simulate.prompts import (
    BroadPool,
    Ids,
    ListPool,
    Pool,
    SharedPool,
    TopicPool,
    zipf_weights,
)
from pipelines.simulate.styles import STYLE_SHARES, habits
from pipelines.simulate.timing import PROFILES, Runs
from pipelines.simulate.world import Cover


@dataclass(frozen=True, slots=True)
class BenignClass:
    """One class: its share of the benign accounts, and how far its rate follows the wanted volume.

    Attributes:
      kind: name in the labels.
      share: of benign accounts.
      elasticity: its rates are multiplied by factor ** elasticity to reach the wanted events.
      make: gives one account or more (a company, a reseller).
    """

    kind: str
    share: float
    elasticity: float
    make: Callable[[Builder, float], list[Account]]


def personal_topics(build: Builder, count: int, areas: int = 2) -> TopicPool:
    """A few topics that one person comes back to, from few areas and mostly one language."""
    rng, source = build.rng, build.source
    open_areas = [
        area for area in np.unique(source.area_of[source.benign_topics]) if _for_people(build, area)
    ]
    sizes = np.array([np.sum(source.area_of == area) for area in open_areas], float) ** 0.5
    chosen = rng.choice(
        open_areas, min(areas, len(open_areas)), replace=False, p=sizes / sizes.sum()
    )
    near = np.flatnonzero(np.isin(source.area_of, chosen))
    return topics_pool(build, rng.choice(near, min(count, len(near)), replace=False), 0.07)


def topics_pool(build: Builder, topics: Ids, explore: float = 0.0) -> TopicPool:
    """Topics of falling importance, each narrowed to some subjects."""
    rng = build.rng
    focus = []
    for topic in topics:
        units = build.source.units(int(topic))
        focus.append(rng.choice(units, min(units, int(rng.integers(3, 9))), replace=False))
    weights = zipf_weights(len(topics), 0.8)
    return TopicPool(build.source, topics, weights, focus if focus else (), explore)


def _for_people(build: Builder, area: int) -> bool:
    roles = build.source.roles
    benign = np.unique(build.source.area_of[build.source.benign_topics])
    return roles[area] != "service" or all(roles[other] == "service" for other in benign)


def area_topics(build: Builder, service: bool = False) -> Ids:
    """All benign topics of one area; of a service area if wanted and there is one."""
    source = build.source
    areas = np.unique(source.area_of[source.benign_topics])
    fitting = [area for area in areas if (source.roles[area] == "service") == service]
    area = build.rng.choice(fitting if fitting else areas)
    return np.flatnonzero(source.area_of == area)


def cover_of_person(build: Builder) -> Cover:
    return "consumer" if build.rng.random() < 0.75 else "api"


def person_behaviour(
    build: Builder, account: Account, rate: float, topics: int, pool: Pool | None = None
) -> Behaviour:
    """Conversations of one person about a few topics, now and then with a popular persona."""
    rng = build.rng
    popular = np.concatenate([build.scaffolds.personas, build.scaffolds.reasoning])
    return Behaviour(
        build.source,
        build.human(rate, account.zone_h),
        pool or personal_topics(build, topics, 1 + int(rng.random() < 0.6)),
        scaffolds=popular,
        scaffolded=0.3 if rng.random() < 0.15 else 0.02,
        styles=habits(rng),
        every_turn=False,
        from_ms=build.first_ms(account),
    )


def _rate(build: Builder, median: float, sigma: float, factor: float) -> float:
    return float(median * build.rng.lognormal(0.0, sigma) * factor)


def _person(build: Builder, factor: float) -> list[Account]:
    account = build.account("person", cover_of_person(build))
    topics = int(build.rng.integers(2, 6))
    account.behaviours = [person_behaviour(build, account, _rate(build, 3.5, 0.8, factor), topics)]
    if build.rng.random() > 0.04:
        return [account]
    other = _person(build, factor)[0]  # a household: another person, the same card and home
    share_field([account, other], "payment_fingerprint", account.fields["payment_fingerprint"])
    other.networks = [account.networks[0], *other.networks[1:]]
    return [account, other]


def _power_user(build: Builder, factor: float) -> list[Account]:
    account = build.account("power_user", cover_of_person(build))
    topics = int(build.rng.integers(4, 11))
    account.behaviours = [person_behaviour(build, account, _rate(build, 28, 0.6, factor), topics)]
    return [account]


def _program(
    build: Builder,
    account: Account,
    rate: float,
    pool: Pool,
    scaffold: str,
    round_the_clock: float = 0.3,
    scaffolded: float = 0.95,
) -> Behaviour:
    rng = build.rng
    own = np.array(
        [build.scaffolds.own(scaffold, rng) for _ in range(1 + int(rng.geometric(0.6)))], np.int64
    )
    return Behaviour(
        build.source,
        build.program(rate, account.zone_h, round_the_clock),
        pool,
        scaffolds=own,
        scaffolded=scaffolded if rng.random() < 0.8 else 0.0,
        styles=habits(rng) if rng.random() < 0.6 else STYLE_SHARES,
        from_ms=build.first_ms(account),
    )


def _company_cover(build: Builder) -> Cover:
    return "api" if build.rng.random() < 0.6 else "enterprise"


def _business(build: Builder, factor: float) -> list[Account]:
    account = build.account("business", _company_cover(build))
    topics = area_topics(build, service=build.rng.random() < 0.5)
    chosen = build.rng.choice(topics, min(len(topics), int(build.rng.integers(1, 4))), False)
    pool = topics_pool(build, chosen)
    account.behaviours = [_program(build, account, _rate(build, 45, 0.8, factor), pool, "support")]
    return [account]


def _support_bot(build: Builder, factor: float) -> list[Account]:
    account = build.account("support_bot", _company_cover(build))
    topics = area_topics(build, service=True)
    users = int(build.rng.lognormal(np.log(400), 1.0)) + 20
    pool = SharedPool(build.source, topics, users, int(build.rng.integers(1 << 30)), per_user=1)
    behaviour = _program(build, account, _rate(build, 110, 0.7, factor), pool, "support")
    account.behaviours = [replace(behaviour, turns=float(build.rng.uniform(1.0, 3.5)))]
    return [account]


def _evaluator(build: Builder, factor: float) -> list[Account]:
    rng = build.rng
    account = build.account("evaluator", "api" if rng.random() < 0.8 else "enterprise")
    listed = build.source.sweep(int(rng.integers(12)))
    size = min(_rate(build, 280, 0.7, factor), float(len(listed)))
    weekly = rng.random() < 0.6
    start = 0 if rng.random() < 0.5 else int(rng.integers(len(listed)))
    common = np.concatenate([build.scaffolds.harnesses, build.scaffolds.reasoning])
    account.behaviours = [
        Behaviour(
            build.source,
            Runs(
                size,
                0.9 if weekly else 0.12,
                float(rng.lognormal(np.log(3), 0.8)),
                PROFILES[0],
                account.zone_h,
                (int(rng.integers(7)),) if weekly else (),
            ),
            ListPool(build.source, listed, start),
            scaffolds=rng.choice(common, 1),
            scaffolded=1.0 if rng.random() < 0.8 else 0.0,
            from_ms=build.first_ms(account),
        )
    ]
    return [account]


def _reseller(build: Builder, factor: float) -> list[Account]:
    rng = build.rng
    count = 1 if rng.random() < 0.6 else int(rng.integers(3, 13))
    users = int(rng.lognormal(np.log(300), 1.0)) + 30
    salt = int(rng.integers(1 << 30))
    accounts = []
    for _ in range(count):
        account = build.account("reseller", "api" if rng.random() < 0.8 else "enterprise")
        pool = SharedPool(build.source, build.source.benign_topics, users, salt)
        schedule = build.program(_rate(build, 160 / count**0.7, 0.6, factor), 0.0, 0.6)
        behaviour = Behaviour(
            build.source,
            schedule,
            pool,
            scaffolds=np.concatenate([build.scaffolds.personas, build.scaffolds.reasoning]),
            scaffolded=0.03,
            turns=float(rng.uniform(1.0, 4.0)),
            from_ms=build.first_ms(account),
        )
        account.behaviours = [behaviour]
        accounts.append(account)
    first = accounts[0]
    share_field(accounts, "payment_fingerprint", first.fields["payment_fingerprint"])
    share_field(accounts, "organization_id", first.fields["organization_id"])
    for account in accounts[1:]:
        account.networks = first.networks
        account.clients = first.clients
    return accounts


def _translator(build: Builder, factor: float) -> list[Account]:
    account = build.account("translator", _company_cover(build))
    topics = area_topics(build)
    pool = replace(
        topics_pool(build, build.rng.choice(topics, min(len(topics), 4), False)), documents=True
    )
    account.behaviours = [
        _program(build, account, _rate(build, 90, 0.7, factor), pool, "translate")
    ]
    return [account]


def _backfill(build: Builder, factor: float) -> list[Account]:
    rng = build.rng
    account = build.account("backfill", _company_cover(build))
    topics = area_topics(build)
    pool = TopicPool(build.source, topics, np.full(len(topics), 1 / len(topics)), documents=True)
    runs = Runs(
        _rate(build, 700, 0.6, factor),
        float(rng.uniform(0.1, 0.3)),
        float(rng.lognormal(np.log(4), 0.7)),
        PROFILES[2],
        account.zone_h,
    )
    behaviour = _program(build, account, 1.0, pool, "index")
    account.behaviours = [replace(behaviour, schedule=runs)]
    return [account]


def _ci_key(build: Builder, factor: float) -> list[Account]:
    account = build.account("ci", _company_cover(build))
    source = build.source
    topics = area_topics(build)
    code = [a for a, name in enumerate(source.areas) if "code" in name or "bash" in name]
    coded = np.flatnonzero(np.isin(source.area_of, code))
    coded = coded[np.isin(coded, source.benign_topics)]
    chosen = build.rng.choice(coded if len(coded) else topics, 2)
    pool = replace(topics_pool(build, np.unique(chosen)), documents=build.rng.random() < 0.5)
    account.behaviours = [
        _program(build, account, _rate(build, 45, 0.7, factor), pool, "ci", round_the_clock=0.1)
    ]
    return [account]


def _company(build: Builder, factor: float) -> list[Account]:
    rng = build.rng
    place = world.country(rng)
    cover: Cover = "enterprise" if rng.random() < 0.7 else "api"
    seats = int(np.clip(rng.lognormal(np.log(10), 0.7), 5, 50))
    topics = area_topics(build)
    office = [build.world.networks("enterprise", place[0])[0], build.world.carrier(place[0])]
    client = build.world.client(cover)
    accounts = []
    for _ in range(seats):
        account = build.account("company", cover, place=place)
        count = min(len(topics), int(rng.integers(1, 5)))
        pool = topics_pool(build, rng.choice(topics, count, replace=False), 0.04)
        rate = _rate(build, 5, 0.9, factor)
        account.behaviours = [person_behaviour(build, account, rate, count, pool)]
        account.networks = [*office, *account.networks[:1]]
        account.clients = [client, *account.clients] if rng.random() < 0.6 else account.clients
        accounts.append(account)
    share_field(accounts, "payment_fingerprint", accounts[0].fields["payment_fingerprint"])
    share_field(accounts, "organization_id", accounts[0].fields["organization_id"])
    share_field(accounts, "account_tier", accounts[0].fields["account_tier"])
    return accounts


def _synthesis(build: Builder, factor: float) -> list[Account]:
    rng = build.rng
    account = build.account("synthesis", _company_cover(build))
    topics = area_topics(build)
    chosen = rng.choice(topics, min(len(topics), int(rng.integers(1, 5))), replace=False)
    runs = Runs(
        _rate(build, 350, 0.6, factor),
        float(rng.uniform(0.15, 0.5)),
        float(rng.lognormal(np.log(5), 0.7)),
        PROFILES[2],
        account.zone_h,
    )
    meta = np.array([build.scaffolds.own_meta(chosen, rng)], np.int64)
    behaviour = _program(build, account, 1.0, topics_pool(build, chosen), "campaign")
    if rng.random() < 0.6:
        behaviour = replace(behaviour, scaffolds=meta, scaffolded=0.95)
    account.behaviours = [replace(behaviour, schedule=runs)]
    return [account]


def _tryout(build: Builder, factor: float) -> list[Account]:
    rng = build.rng
    account = build.account("tryout", cover_of_person(build))
    pool = BroadPool(build.source, build.source.benign_topics)
    begins = build.release_ms + int(rng.exponential(0.8) * 86_400_000)
    trying = replace(
        person_behaviour(build, account, _rate(build, 25, 0.7, factor), 3, pool),
        from_ms=begins,
        to_ms=begins + int(rng.uniform(0.5, 3) * 86_400_000),
    )
    account.adopts_ms, account.adopts = build.release_ms, 0.95
    usual = person_behaviour(build, account, _rate(build, 2.0, 0.6, factor), 3)
    account.behaviours = [usual, trying]
    return [account]


CLASSES: tuple[BenignClass, ...] = (
    BenignClass("person", 0.50, 0.25, _person),
    BenignClass("power_user", 0.08, 0.5, _power_user),
    BenignClass("business", 0.08, 1.0, _business),
    BenignClass("support_bot", 0.03, 1.0, _support_bot),
    BenignClass("evaluator", 0.04, 0.7, _evaluator),
    BenignClass("reseller", 0.03, 1.0, _reseller),
    BenignClass("translator", 0.03, 1.0, _translator),
    BenignClass("backfill", 0.02, 1.0, _backfill),
    BenignClass("ci", 0.02, 1.0, _ci_key),
    BenignClass("company", 0.12, 0.25, _company),
    BenignClass("synthesis", 0.02, 1.0, _synthesis),
    BenignClass("tryout", 0.03, 0.25, _tryout),
)


def make_benign(build: Builder, factor: Callable[[BenignClass], float]) -> list[Account]:
    """All benign accounts of the scenario.

    Args:
      build: what accounts are made with.
      factor: the multiplier of each class's rates.
    """
    total = build.scenario.accounts
    persons, *others = CLASSES
    accounts: list[Account] = []
    for kind in others:
        wanted = round(kind.share * total)
        if total >= 3 * len(CLASSES):
            wanted = max(wanted, 1)
        made: list[Account] = []
        while len(made) < wanted:
            made += kind.make(build, factor(kind))
        accounts += made[:wanted]
    while len(accounts) < total:
        accounts += persons.make(build, factor(persons))
    return accounts[:total]


def expected_requests(account: Account, start_ms: int, end_ms: int) -> float:
    """Requests that an account is expected to make in a period."""
    total = 0.0
    for behaviour in account.behaviours:
        begins = max(behaviour.from_ms, start_ms)
        ends = min(behaviour.to_ms, end_ms, account.lapse_ms)
        total += behaviour.daily() * max(ends - begins, 0) / 86_400_000
    return total
