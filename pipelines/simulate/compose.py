"""Puts the accounts' days together into one stream of events, in the order of their times.

One day at a time is in memory (as arrays, about 50 bytes a request), and text is made in chunks, so
that the length of the period costs nothing. Each day of each account has a random generator of its
own, so that nothing depends on the order of computation.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import orjson
from numpy.typing import NDArray

from pipelines.simulate.accounts import PRESENCE, Account, Builder
from pipelines.simulate.attackers import make_campaign
from pipelines.simulate.behaviour import ROW, Rows
from pipelines.simulate.benign import CLASSES, BenignClass, expected_requests, make_benign
from pipelines.simulate.corpora import open_corpora
from pipelines.simulate.grammar import GrammarSource
from pipelines.simulate.prompts import PromptSource
from pipelines.simulate.scaffolds import Scaffolds
from pipelines.simulate.scenario import Scenario
from pipelines.simulate.timing import DAY_MS
from pipelines.simulate.traces import Traces, open_traces
from pipelines.simulate.usage import AccountArrays, Usage, use
from pipelines.simulate.world import MODELS, World
from schemas.errors import DistilwatchError

Event = dict[str, object]
_CHUNK = 4_096
_DROPPABLE = (*PRESENCE, "prompt_text", "input_tokens", "model")
_DROPPED = 0.02


@dataclass(frozen=True, slots=True)
class Record:
    """One event with its truth.

    Attributes:
      event: the event of contract 1.
      time_ms: its time.
      attack: whether this very request extracts (cover traffic of an attacker does not).
      campaign: id of the campaign, "" for benign accounts.
      question: what is asked, without the fixed text around it.
    """

    event: Event
    time_ms: int
    attack: bool
    campaign: str
    question: str = ""


@dataclass(slots=True)
class Population:
    """All accounts of a simulation, with what their events are made from, and what could not be
    made as asked for."""

    accounts: list[Account]
    source: PromptSource
    scaffolds: Scaffolds
    world: World
    traces: Traces | None
    release_ms: int
    notes: Sequence[str] = ()


@dataclass(slots=True)
class Simulation:
    """Events and labels of a scenario; every pass over the events gives the same.

    Attributes:
      scenario: what is simulated.
      embedding: `none`, or `hashing` to add the built-in embedder's vectors.
      population: accounts made beforehand; None means that the scenario's are made.
      notes: what could not be made as asked for, in words; there once the first event is.
    """

    scenario: Scenario
    embedding: str = "none"
    population: Population | None = None
    notes: Sequence[str] = ()
    _seen: dict[str, tuple[Account, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.embedding not in ("none", "hashing"):
            raise DistilwatchError(
                f"unknown embedding {self.embedding!r}", "--embedding", "use none or hashing"
            )

    def __iter__(self) -> Iterator[tuple[Event, int]]:
        return self.events()

    def events(self) -> Iterator[tuple[Event, int]]:
        """Events with their times (ms UTC), in the order of time."""
        return ((record.event, record.time_ms) for record in self.records())

    def encoded(self) -> Iterator[tuple[bytes, int]]:
        """Events as JSON with their times (ms UTC), in the order of time."""
        return ((orjson.dumps(record.event), record.time_ms) for record in self.records())

    def records(self) -> Iterator[Record]:
        """Events with their truth, in the order of time."""
        self._seen = {}
        population = self.population or populate(self.scenario)
        self.notes = population.notes
        arrays = AccountArrays.of(population.accounts)
        waiting = np.empty(0, ROW)
        for day in range(self.scenario.days):
            rows, waiting = self._day(population, day, waiting)
            rng = np.random.default_rng((self.scenario.seed, 2, day))
            for start in range(0, len(rows), _CHUNK):
                yield from self._chunk(population, arrays, rows[start : start + _CHUNK], rng)

    def labels(self) -> list[dict[str, object]]:
        """One label for each account of which an event was made; go through the events first."""
        live = self.scenario.live_ms
        found: list[dict[str, object]] = []
        for account, first, last in self._seen.values():
            split = "both" if first < live <= last else "live" if first >= live else "history"
            found.append(
                {
                    "account_id": account.id,
                    "label": "attack" if account.campaign else "benign",
                    "kind": account.kind,
                    "campaign_id": account.campaign or None,
                    "corpora": sorted(account.corpora()),
                    "split": split,
                }
            )
        return sorted(found, key=lambda label: str(label["account_id"]))

    def _day(self, population: Population, day: int, waiting: Rows) -> tuple[Rows, Rows]:
        """The requests of a day in the order of time, and those that run past midnight."""
        day_ms = self.scenario.start_ms + day * DAY_MS
        parts = [waiting]
        for index, account in enumerate(population.accounts):
            active = [
                behaviour
                for behaviour in account.behaviours
                if behaviour.from_ms < day_ms + DAY_MS and behaviour.to_ms >= day_ms
            ]
            if not active:
                continue
            rng = np.random.default_rng((self.scenario.seed, 1, day, index))
            for behaviour in active:
                rows = behaviour.day(day_ms, rng)
                if len(rows):
                    rows["account"] = index
                    parts.append(rows)
        rows = np.concatenate(parts)
        rows = rows[rows["time"] < self.scenario.end_ms]
        rows = rows[np.argsort(rows["time"], kind="stable")]
        cut = int(np.searchsorted(rows["time"], day_ms + DAY_MS))
        return rows[:cut], rows[cut:].copy()

    def _chunk(
        self, population: Population, arrays: AccountArrays, rows: Rows, rng: np.random.Generator
    ) -> Iterator[Record]:
        rows = arrays.after_lapse(rows, rng)
        questions = population.source.render(rows["prompt"], rows["style"])
        texts = population.scaffolds.dress(
            questions, rows["scaffold"], rows["prompt"], rows["depth"]
        )
        usage = use(rows, texts, arrays, population.traces, population.release_ms, rng)
        vectors = self._vectors(texts)
        ids = rng.bytes(12 * len(rows)).hex()
        drop = np.where(
            rng.random(len(rows)) < _DROPPED, rng.integers(0, len(_DROPPABLE), len(rows)), -1
        ).tolist()
        columns = zip(
            rows["account"].tolist(),
            rows["time"].tolist(),
            texts,
            questions,
            rows["attack"].tolist(),
            drop,
            strict=True,
        )
        for at, (index, time_ms, text, question, attack, dropped) in enumerate(columns):
            account = population.accounts[index]
            seen = self._seen.get(account.id)
            self._seen[account.id] = (account, seen[1] if seen else time_ms, time_ms)
            event = _event(
                account, f"evt_{ids[24 * at : 24 * at + 24]}", time_ms, text, usage, at, population
            )
            if vectors is not None:
                event["embedding"] = vectors[at]
                event["embedding_model"] = "distilwatch-hashing-v1"
                event["embedding_dtype"] = "float16"
            if dropped >= 0:
                event.pop(_DROPPABLE[dropped], None)
            yield Record(event, time_ms, attack, account.campaign, question)

    def _vectors(self, texts: Sequence[str]) -> list[str] | None:
        if self.embedding == "none":
            return None
        from transforms.embedding.hashing import HashingEmbedder

        halves: NDArray[np.float16] = HashingEmbedder().embed(texts).astype("<f2")
        return [base64.b64encode(row.tobytes()).decode() for row in halves]


def simulate(scenario: Scenario, embedding: str = "none") -> Simulation:
    """Prepares a simulation; nothing is made until its events are asked for."""
    return Simulation(scenario, embedding)


def populate(scenario: Scenario) -> Population:
    """Makes all accounts of a scenario.

    Raises:
      DistilwatchError: corpora or traces are missing or unfit, or the wanted number of events is
        less than the campaigns alone make.
    """
    choice = scenario.corpus
    source: PromptSource = (
        GrammarSource()
        if choice is None
        else open_corpora(
            choice.folder, choice.part, choice.only, choice.exclude, choice.source_swap
        )
    )
    traces = open_traces(scenario.traces) if scenario.traces else None
    first = _build(scenario, source, traces, 1.0)
    factor = _factor(scenario, first.accounts)
    return first if factor == 1.0 else _build(scenario, source, traces, factor)


def _build(
    scenario: Scenario, source: PromptSource, traces: Traces | None, factor: float
) -> Population:
    rng = np.random.default_rng((scenario.seed, 0))
    live = scenario.end_ms - scenario.live_ms
    scaffolds = Scaffolds(source)
    world = World(rng)
    build = Builder(
        scenario, source, scaffolds, world, traces, rng, scenario.live_ms + int(0.4 * live)
    )

    def class_factor(kind: BenignClass) -> float:
        return float(factor**kind.elasticity)

    accounts = make_benign(build, class_factor)
    rng.permutation(len(scenario.campaigns))  # keeps the draws that follow as they were
    for index, (campaign, early) in enumerate(
        zip(scenario.campaigns, early_starts(scenario), strict=True)
    ):
        accounts += make_campaign(build, campaign, index + 1, early)
    # Mixed, so that neither ids nor ties in time tell who was made first.
    mixed = [accounts[i] for i in rng.permutation(len(accounts)).tolist()]
    return Population(mixed, source, scaffolds, world, traces, build.release_ms, tuple(build.notes))


def early_starts(scenario: Scenario) -> list[list[int]]:
    """For each account of each campaign when it starts at the latest, milliseconds UTC.

    A share `contaminate` of all of them, at least one, starts in the first half of the history; the
    others when the history ends or later. The draws are of their own, so a spoilt history differs
    from a clean one in nothing else.
    """
    sizes = [campaign.members for campaign in scenario.campaigns]
    rng = np.random.default_rng((scenario.seed, 3))
    starts = np.full(sum(sizes), scenario.end_ms)
    count = math.ceil(scenario.contaminate * len(starts)) if scenario.history_days else 0
    chosen = rng.permutation(len(starts))[:count]
    starts[chosen] = scenario.start_ms + rng.random(count) * (
        (scenario.live_ms - scenario.start_ms) / 2
    )
    ends = np.cumsum(sizes).tolist()
    return [starts[end - size : end].tolist() for size, end in zip(sizes, ends, strict=True)]


def _factor(scenario: Scenario, accounts: Sequence[Account]) -> float:
    """The factor on benign rates with which about the wanted number of events comes out."""
    if not scenario.events or not scenario.accounts:
        return 1.0
    start, end = scenario.start_ms, scenario.end_ms
    elastic = {kind.kind: kind.elasticity for kind in CLASSES}
    by_class: dict[str, float] = {}
    attacks = 0.0
    for account in accounts:
        expected = expected_requests(account, start, end)
        if account.campaign:
            attacks += expected
        else:
            by_class[account.kind] = by_class.get(account.kind, 0.0) + expected
    wanted = scenario.events - attacks
    if wanted <= 0.02 * scenario.events:
        raise DistilwatchError(
            f"the campaigns alone make about {attacks:,.0f} events",
            f"--events {scenario.events}",
            "ask for more events, fewer days, or smaller campaigns",
        )
    low, high = 1e-4, 1e4
    for _ in range(60):
        middle = (low * high) ** 0.5
        total = sum(sum_ * middle ** elastic[kind] for kind, sum_ in by_class.items())
        low, high = (middle, high) if total < wanted else (low, middle)
    return math.sqrt(low * high)


def _event(
    account: Account,
    event_id: str,
    time_ms: int,
    text: str,
    usage: Usage,
    at: int,
    population: Population,
) -> Event:
    """One event of contract 1, with the optional fields that the account's events carry."""
    world, has = population.world, account.present
    network = usage.network[at]
    model = MODELS[usage.model[at]]
    optional: Event = {
        **account.fields,
        "account_created_at": _time(account, account.fields["account_created_at"]),
        "credential_id": account.credentials[usage.credential[at] % len(account.credentials)],
        "ip_prefix": world.prefixes[network],
        "asn": world.asns[network],
        "country": world.countries[network],
        "client_fingerprint": world.clients[usage.client[at]],
        "endpoint": account.endpoint,
        "conversation_id": usage.conversation[at],
        "turn_index": usage.turn[at],
        "system_prompt_hash": account.system_hash,
        "output_tokens": usage.output_tokens[at],
        "reasoning_tokens": usage.reasoning_tokens[at],
        "max_output_tokens": account.max_output,
        "temperature": usage.temperature[at],
        "tool_names": list(account.tools) if usage.tools[at] else [],
        "response_format": "json_object" if usage.json[at] else "text",
        "status_code": usage.status[at],
        "cost_usd": usage.cost[at],
        "schema_version": 1,
    }
    event: Event = {
        "event_id": event_id,
        "event_time": _time(account, time_ms),
        "account_id": account.id,
        "model": model.name,
        "prompt_text": text,
        "input_tokens": usage.input_tokens[at],
    }
    event.update((name, value) for name, value in optional.items() if name in has)
    return event


def _time(account: Account, ms: object) -> object:
    """RFC 3339 or milliseconds, as the account's gateway writes times."""
    if not account.iso_time or not isinstance(ms, int):
        return ms
    return (
        datetime.fromtimestamp(ms / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
