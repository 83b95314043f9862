"""Extraction campaigns A1–A12 (SCIENCE: how to judge it).

An attacker's accounts are made by the same code as benign ones, at the same kind of cover, and
differ in what they ask, how it is divided among them, and in what their makers failed to hide:
`links` of the members share something rare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from pipelines.simulate.accounts import Account, Builder
from pipelines.simulate.behaviour import ALWAYS_MS, Behaviour
from pipelines.simulate.benign import person_behaviour
from pipelines.simulate.prompts import BroadPool, Ids, ListPool, Pool, SharedPool
from pipelines.simulate.scenario import CHANNELS, Campaign
from pipelines.simulate.styles import STYLE_SHARES, habits
from pipelines.simulate.timing import DAY_MS, PROFILES, Human, Runs, Schedule
from pipelines.simulate.world import Cover

_FIELD_OF = {
    "payment": "payment_fingerprint",
    "network": "ip_prefix",
    "client": "client_fingerprint",
}
_AGED = 0.5  # share of members that are bought or taken over, and were used before


@dataclass(slots=True)
class _Plan:
    """What a campaign decided: when, as whom, how, and what its members share."""

    id: str
    campaign: Campaign
    from_ms: int
    to_ms: int
    cover: Cover
    turns: float
    round_the_clock: float
    runs_seed: int | None
    scaffold: int
    pivot: float


def make_campaign(
    build: Builder, campaign: Campaign, number: int, early: Sequence[int]
) -> list[Account]:
    """The accounts of one campaign.

    Args:
      build: what accounts are made with.
      campaign: its description.
      number: its place among the scenario's campaigns, part of its id.
      early: for each account when it starts at the latest, milliseconds UTC: those that spoil the
        history start before the others.
    """
    plan = _plan(build, campaign, number)
    rng = build.rng
    members = [_member(build, plan) for _ in range(campaign.members)]
    channels = _link(build, plan, members)
    pools = _pools(build, plan, len(members))
    slots = _slots(build, plan, len(members))
    for account, shared, pool, (begins, ends), latest in zip(
        members, channels, pools, slots, early, strict=True
    ):
        if latest < begins:
            begins = _start_early(account, begins, latest)
        together = "hours" in shared
        rate = campaign.rate * campaign.alpha
        behaviour = Behaviour(
            build.source,
            _schedule(build, plan, account, rate, together),
            pool,
            styles=habits(rng) if rng.random() < 0.7 else STYLE_SHARES,
            turns=plan.turns,
            attack=True,
            from_ms=begins,
            to_ms=ends,
            blocked=int(rng.integers(4, 16)) if ends < plan.to_ms else 0,
        )
        account.behaviours = [_content(build, plan, behaviour, "scaffold" in shared)]
        if campaign.alpha < 1:
            cover = person_behaviour(
                build, account, campaign.rate * (1 - campaign.alpha), int(rng.integers(3, 9))
            )
            account.behaviours.append(replace(cover, from_ms=begins, to_ms=ends))
        if rng.random() < _AGED and begins > build.scenario.start_ms:
            before = person_behaviour(
                build, account, float(rng.lognormal(np.log(4), 0.8)), int(rng.integers(2, 6))
            )
            opened = account.fields["account_created_at"]
            assert isinstance(opened, int)
            since = max(build.scenario.start_ms, opened)
            account.behaviours.append(replace(before, from_ms=since, to_ms=begins))
    return members


def _start_early(account: Account, begins: int, latest: int) -> int:
    """The moment `latest`, with the account as old by then as it would have been."""
    opened = account.fields["account_created_at"]
    assert isinstance(opened, int)
    account.fields["account_created_at"] = opened - (begins - latest)
    return latest


def _plan(build: Builder, campaign: Campaign, number: int) -> _Plan:
    rng, scenario = build.rng, build.scenario
    first, last = scenario.live_ms, scenario.end_ms
    begins = first + int(rng.random() * 0.35 * (last - first))
    ends = min(last, begins + int(campaign.days * DAY_MS)) if campaign.days else last
    covers: tuple[Cover, ...] = ("consumer", "api", "enterprise")
    busy = campaign.rate > 200
    cover = covers[int(rng.choice(3, p=(0.05, 0.75, 0.2) if busy else (0.35, 0.5, 0.15)))]
    turns = campaign.turns or (1.0 if rng.random() < 0.6 else float(rng.uniform(1.2, 2.5)))
    if campaign.kind == "relay":
        turns = campaign.turns or float(rng.uniform(2.0, 4.0))
    return _Plan(
        id=f"campaign-{number:03d}",
        campaign=campaign,
        from_ms=begins,
        to_ms=ends,
        cover=cover,
        turns=turns,
        round_the_clock=0.65,
        runs_seed=int(rng.integers(1 << 31)) if rng.random() < 0.4 else None,
        scaffold=_own_scaffold(build, campaign.kind),
        pivot=float(rng.uniform(0.4, 0.7)) if rng.random() < 0.35 else 0.0,
    )


def _member(build: Builder, plan: _Plan) -> Account:
    rng = build.rng
    newcomer = rng.random() > _AGED
    account = build.account(
        plan.campaign.kind.replace("-", "_"), plan.cover, campaign=plan.id, newcomer=newcomer
    )
    if newcomer:
        account.fields["account_created_at"] = plan.from_ms - int(
            rng.lognormal(np.log(3), 1.2) * DAY_MS
        )
    if plan.pivot:
        account.adopts_ms = build.release_ms + int(rng.uniform(0.05, 0.9) * DAY_MS)
        account.adopts = plan.pivot
    account.lapse_ms = ALWAYS_MS
    if rng.random() < 0.35:  # exits of residential proxies: homes like anybody's, and changing
        count = int(rng.integers(2, 12))
        account.networks = [
            build.world.carrier(account.country)
            if rng.random() < 0.4
            else build.world.own_network(account.country)
            for _ in range(count)
        ]
    return account


def _link(build: Builder, plan: _Plan, members: list[Account]) -> list[frozenset[str]]:
    """Lets the wanted share of members share something; gives each member's channels."""
    rng = build.rng
    count = round(plan.campaign.links * len(members))
    if count < 2:
        return [frozenset()] * len(members)
    chosen = rng.permutation(len(members))[:count].tolist()
    offered = [name for name in rng.permutation(CHANNELS).tolist() if _usable(plan, name)]
    if plan.campaign.channels:
        offered = [name for name in offered if name in plan.campaign.channels]
    else:
        offered = offered[: int(rng.integers(2, len(offered) + 1))]
    shared: list[set[str]] = [set() for _ in members]
    for index in chosen:
        present = [c for c in offered if _present(members[index], c)] or ["scaffold"]
        for channel in rng.permutation(present)[: 1 + int(rng.random() < 0.5)].tolist():
            shared[index].add(channel)
        if rng.random() < 0.6:
            shared[index].add("hours")
    groups = {name: [i for i in chosen if name in shared[i]] for name in CHANNELS}
    lonely = [i for i in chosen if all(len(groups[c]) < 2 for c in shared[i] & set(CHANNELS))]
    if lonely:  # everybody who is linked shares something with somebody
        for index in {*lonely, *chosen[:2]}:
            shared[index].add("scaffold")
    if asked := set(plan.campaign.channels):
        other = sum(bool(shared[i] & set(CHANNELS) - asked) for i in chosen)
        if other:
            build.notes.append(
                f"{plan.id} ({plan.campaign.kind}): {other} of {count} members that were to share "
                f"by={plan.campaign.by} share a wording, having nothing of that kind to share"
            )
    for channel, give in (
        ("payment", _give_payment),
        ("network", _give_network),
        ("client", _give_client),
    ):
        having = [members[i] for i in groups[channel]]
        if len(having) > 1:
            for group in _in_groups(having, build, 40 if channel == "client" else 10):
                give(build, group)
    cohort = plan.from_ms - int(rng.lognormal(np.log(4), 0.8) * DAY_MS)
    for index in chosen:
        if rng.random() < 0.5:
            opened = cohort - int(rng.uniform(0, 3) * DAY_MS)
            members[index].fields["account_created_at"] = opened
    return [frozenset(names) for names in shared]


def _usable(plan: _Plan, channel: str) -> bool:
    return channel != "scaffold" or plan.campaign.kind not in ("relay", "replay")


def _present(account: Account, channel: str) -> bool:
    return channel == "scaffold" or _FIELD_OF[channel] in account.present


def _in_groups(members: list[Account], build: Builder, most: int) -> list[list[Account]]:
    """Cuts members into groups of two to about `most`."""
    groups, rest = [], list(members)
    while rest:
        size = int(build.rng.integers(2, most + 1))
        if len(rest) - size < 2:
            size = len(rest)
        groups.append(rest[:size])
        rest = rest[size:]
    return groups


def _give_payment(build: Builder, group: list[Account]) -> None:
    for account in group:
        account.fields["payment_fingerprint"] = group[0].fields["payment_fingerprint"]


def _give_network(build: Builder, group: list[Account]) -> None:
    exits = [
        build.world.own_network(group[0].country) for _ in range(int(build.rng.integers(1, 4)))
    ]
    for account in group:
        account.networks = [exits[0], *account.networks[:2], *exits[1:]]


def _give_client(build: Builder, group: list[Account]) -> None:
    client = build.world.new_client()
    for account in group:
        account.clients = [client, *account.clients[:1]]


def _own_scaffold(build: Builder, kind: str) -> int:
    if kind == "reasoning":
        return build.scaffolds.own_reasoning(build.rng)
    if kind == "self-instruct":
        return build.scaffolds.own_meta(build.source.attack_topics, build.rng)
    return build.scaffolds.own("campaign", build.rng)


def _content(build: Builder, plan: _Plan, behaviour: Behaviour, shared: bool) -> Behaviour:
    """Scaffold and lineage. A member that hides does without a scaffold or takes a popular one."""
    rng, kind = build.rng, plan.campaign.kind
    if kind in ("relay", "replay"):
        if shared:
            return replace(behaviour, scaffolds=np.array([plan.scaffold]), scaffolded=0.1)
        return replace(behaviour, scaffolds=build.scaffolds.personas, scaffolded=0.02)
    lineage = int(rng.integers(2, 6)) if kind == "evol" else 0
    if kind == "self-instruct" and not shared:
        own = np.array([build.scaffolds.own_meta(build.source.attack_topics, rng)])
        return replace(behaviour, scaffolds=own, scaffolded=0.95)
    if kind == "reasoning" and not shared:
        return replace(behaviour, scaffolds=build.scaffolds.reasoning, scaffolded=0.95)
    if shared:
        only = np.array([plan.scaffold])
        return replace(behaviour, scaffolds=only, scaffolded=0.93, lineage=lineage)
    if rng.random() < 0.3:
        popular = rng.choice(build.scaffolds.harnesses, 1)
        return replace(behaviour, scaffolds=popular, scaffolded=0.8, lineage=lineage)
    return replace(behaviour, lineage=lineage)


def _schedule(
    build: Builder, plan: _Plan, account: Account, rate: float, together: bool
) -> Schedule | Human:
    rng = build.rng
    if plan.cover == "consumer" and plan.campaign.rate <= 200:
        # Through a chat window: steady every day, but at a person's hours.
        return build.human(rate, account.zone_h, active=0.98)
    if together and plan.runs_seed is not None:
        gap = min(float(rng.lognormal(np.log(8), 0.6)), 60_000 / rate)
        return Runs(rate, 1.0, gap, PROFILES[2], 0.0, common_seed=plan.runs_seed)
    return build.program(rate, account.zone_h, plan.round_the_clock)


def _slots(build: Builder, plan: _Plan, count: int) -> list[tuple[int, int]]:
    """When each member is at work. Replaced accounts follow one another within the hour."""
    rng = build.rng
    if plan.campaign.kind != "replacement":
        late = (rng.exponential(0.25, count) * DAY_MS).astype(np.int64)
        late = np.minimum(late, (plan.to_ms - plan.from_ms) // 2)
        return [(plan.from_ms + int(wait), plan.to_ms) for wait in late]
    lanes = max(1, count // 5)
    slots = []
    for lane in range(lanes):
        mine = len(range(lane, count, lanes))
        span = plan.to_ms - plan.from_ms
        lengths = rng.gamma(3.0, 1.0, mine)
        cuts = plan.from_ms + np.concatenate([[0], np.cumsum(lengths / lengths.sum())]) * span
        for begin, end in pairwise(cuts.tolist()):
            handover = int(rng.uniform(60_000, 2_400_000)) if begin > plan.from_ms else 0
            slots.append((int(begin) + handover, int(end)))
    return slots


def _pools(build: Builder, plan: _Plan, count: int) -> list[Pool]:
    """What each member asks."""
    make = _POOLS.get(plan.campaign.kind, _broad)
    return make(build, count)


def _broad(build: Builder, count: int) -> list[Pool]:
    return [BroadPool(build.source, build.source.attack_topics) for _ in range(count)]


def _disjoint(build: Builder, count: int) -> list[Pool]:
    source = build.source
    return source.shards(count, source.attack_topics, build.rng, disjoint=True)


def _random(build: Builder, count: int) -> list[Pool]:
    source = build.source
    return source.shards(count, source.attack_topics, build.rng, disjoint=False)


def capability_topics(build: Builder) -> Ids:
    """The topics of one or two areas (or a tenth of them, where a corpus is one area)."""
    rng, source = build.rng, build.source
    areas = np.unique(source.area_of[source.attack_topics])
    if len(areas) > 4:
        chosen = rng.choice(areas, int(rng.integers(1, 3)), replace=False)
        return np.flatnonzero(np.isin(source.area_of, chosen))
    topics = np.flatnonzero(source.area_of == rng.choice(areas))
    topics = topics[np.isin(topics, source.attack_topics)]
    return rng.choice(topics, max(2, len(topics) // 8)) if len(topics) > 12 else topics


def _capability(build: Builder, count: int) -> list[Pool]:
    topics = capability_topics(build)
    return [BroadPool(build.source, topics) for _ in range(count)]


def _replay(build: Builder, count: int) -> list[Pool]:
    listed = build.source.published(int(build.rng.integers(8)))
    starts = np.linspace(0, len(listed), count, endpoint=False).astype(int).tolist()
    return [ListPool(build.source, listed, start) for start in starts]


def _relayed(build: Builder, count: int) -> list[Pool]:
    rng, source = build.rng, build.source
    users = int(rng.lognormal(np.log(600), 0.6)) + 50
    salt = int(rng.integers(1 << 30))
    return [SharedPool(source, source.benign_topics, users, salt) for _ in range(count)]


_POOLS: dict[str, Callable[[Builder, int], list[Pool]]] = {
    "hydra-disjoint": _disjoint,
    "hydra-random": _random,
    "capability": _capability,
    "replay": _replay,
    "relay": _relayed,
}
