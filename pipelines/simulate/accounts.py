"""Accounts: their identity, habits and metadata, made in the same way for everybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.simulate import world
from pipelines.simulate.behaviour import ALWAYS_MS, Behaviour
from pipelines.simulate.prompts import PromptSource
from pipelines.simulate.scaffolds import Scaffolds
from pipelines.simulate.scenario import Scenario
from pipelines.simulate.timing import DAY_MS, PROFILES, Human, Schedule, Steady, Traced
from pipelines.simulate.traces import Traces
from pipelines.simulate.world import Cover, World

PRESENCE = {
    "payment_fingerprint": 0.96,
    "organization_id": 0.7,
    "credential_id": 0.85,
    "account_created_at": 0.95,
    "account_tier": 0.97,
    "account_segment": 0.93,
    "ip_prefix": 0.97,
    "asn": 0.9,
    "country": 0.93,
    "client_fingerprint": 0.95,
    "endpoint": 0.9,
    "conversation_id": 0.85,
    "turn_index": 0.9,
    "system_prompt_hash": 0.6,
    "output_tokens": 0.98,
    "reasoning_tokens": 0.6,
    "max_output_tokens": 0.7,
    "temperature": 0.7,
    "tool_names": 0.5,
    "response_format": 0.5,
    "status_code": 0.97,
    "cost_usd": 0.9,
    "schema_version": 0.9,
}
"""Share of accounts whose requests carry an optional field. Which ones do is drawn for everybody
alike, so that the presence of a field never tells who an account is."""

TOOLS = (
    "web_search", "code_runner", "file_search", "calculator", "calendar", "send_email", "sql_query",
    "browser", "get_weather", "create_ticket", "translate_text", "image_lookup",
)  # fmt: skip
_TEMPERATURES = (0.0, 0.2, 0.3, 0.5, 0.7, 1.0)
_LIMITS = (256, 512, 1024, 2048, 4096, 8192)


@dataclass(slots=True)
class Account:
    """One account, with everything that its events need.

    Attributes:
      id: opaque id.
      kind: benign class or attack, as in the labels.
      campaign: id of its campaign, "" for benign accounts.
      fields: values that are the same in all of its events, by field name.
      present: optional fields that its events carry.
      networks, clients: indices into the world, the usual one first.
      credentials: ids of its keys.
      models: usual and other model.
      adopts_ms, adopts: from when, and for which share of requests, it uses the new model.
      lapse_ms: from when on its requests are refused (a card that expired).
    """

    id: str
    kind: str
    cover: Cover
    campaign: str
    fields: dict[str, object]
    present: frozenset[str]
    networks: list[int]
    clients: list[int]
    credentials: list[str]
    country: str
    zone_h: float
    models: tuple[int, int]
    adopts_ms: int
    adopts: float
    endpoint: str
    iso_time: bool
    temperature: float
    temperature_varies: bool
    max_output: int
    context_tokens: float
    output_median: float
    json_share: float
    tool_share: float
    tools: tuple[str, ...]
    system_hash: str
    lapse_ms: int = ALWAYS_MS
    behaviours: list[Behaviour] = field(default_factory=list)

    def corpora(self) -> frozenset[str]:
        """Names of the corpora that its prompts come from."""
        return frozenset().union(*(behaviour.pool.corpora() for behaviour in self.behaviours))


@dataclass(slots=True)
class Builder:
    """Makes accounts; holds what all of them draw from.

    Attributes:
      scenario: what is asked for.
      source: prompts.
      scaffolds: fixed texts.
      world: networks and clients.
      traces: real traffic, None for the own model.
      rng: for decisions on the whole; each day of each account has a generator of its own.
      release_ms: when the new model comes out.
      notes: what could not be made as asked for, in words.
    """

    scenario: Scenario
    source: PromptSource
    scaffolds: Scaffolds
    world: World
    traces: Traces | None
    rng: np.random.Generator
    release_ms: int
    notes: list[str] = field(default_factory=list)

    def account(
        self,
        kind: str,
        cover: Cover,
        *,
        campaign: str = "",
        place: tuple[str, float] | None = None,
        newcomer: bool | None = None,
    ) -> Account:
        """A new account without behaviour; everything but its kind is drawn alike for everyone."""
        rng, scenario = self.rng, self.scenario
        country, zone = place or world.country(rng)
        tiers, shares = world.TIERS[cover]
        newcomer = rng.random() < 0.3 if newcomer is None else newcomer
        first = scenario.start_ms + int(rng.random() * (scenario.end_ms - scenario.start_ms))
        created = (
            first - int(rng.lognormal(np.log(0.3), 1.5) * DAY_MS)
            if newcomer
            else world.created_ms(scenario.start_ms, rng)
        )
        known = {
            "payment_fingerprint": f"pm_{rng.bytes(12).hex()}",
            "organization_id": f"org_{rng.bytes(6).hex()}",
            "account_created_at": created,
            "account_tier": str(rng.choice(tiers, p=shares)),
            "account_segment": world.SEGMENTS[cover],
        }
        delay = rng.lognormal(np.log(2.5), 1.2) * DAY_MS if rng.random() < 0.85 else ALWAYS_MS
        main = int(rng.choice(3, p=(0.45, 0.35, 0.2)))
        return Account(
            id=f"acct_{rng.bytes(8).hex()}",
            kind=kind,
            cover=cover,
            campaign=campaign,
            fields=known,
            present=frozenset(name for name, share in PRESENCE.items() if rng.random() < share),
            networks=self.world.networks(cover, country),
            clients=[self.world.client(cover) for _ in range(1 + int(rng.random() < 0.35))],
            credentials=[
                f"key_{rng.bytes(6).hex()}" for _ in range(1 + int(rng.geometric(0.75)) // 2)
            ],
            country=country,
            zone_h=zone,
            models=(main, (main + 1) % 3),
            adopts_ms=self.release_ms + int(delay),
            adopts=float(rng.beta(2, 1.5)),
            endpoint=str(rng.choice(["/v1/messages", "/v1/responses", "/v1/chat/completions"])),
            iso_time=bool(rng.random() < 0.5),
            temperature=float(rng.choice(_TEMPERATURES, p=(0.15, 0.1, 0.1, 0.1, 0.25, 0.3))),
            temperature_varies=bool(rng.random() < 0.2),
            max_output=int(rng.choice(_LIMITS, p=(0.06, 0.12, 0.22, 0.25, 0.25, 0.1))),
            context_tokens=float(rng.lognormal(np.log(180), 1.2)) if rng.random() < 0.6 else 0.0,
            output_median=self._output_median(),
            json_share=float(rng.beta(0.3, 2.0)),
            tool_share=float(rng.beta(0.4, 2.0)) if rng.random() < 0.35 else 0.0,
            tools=tuple(str(t) for t in rng.choice(TOOLS, int(rng.integers(1, 5)), replace=False)),
            system_hash=rng.bytes(8).hex(),
            lapse_ms=first if rng.random() < 0.015 else ALWAYS_MS,
        )

    def first_ms(self, account: Account) -> int:
        """When a benign account is first seen: its opening, or the start of the period."""
        created = account.fields["account_created_at"]
        assert isinstance(created, int)
        return max(created, self.scenario.start_ms)

    def _output_median(self) -> float:
        if self.traces is not None and len(self.traces.output_medians):
            return float(self.rng.choice(self.traces.output_medians))
        return float(self.rng.lognormal(np.log(260), 0.7))

    def program(self, rate: float, zone_h: float, round_the_clock: float) -> Schedule:
        """A program's schedule: a real client's where traces are given, else an invented one.

        Args:
          rate: requests a day.
          zone_h: local time.
          round_the_clock: probability that an invented one ignores the hours of the day.
        """
        rng = self.rng
        if self.traces is not None and self.traces.clients:
            client = self.traces.clients[int(rng.integers(len(self.traces.clients)))]
            return Traced(rate, client, 144 * int(rng.integers(14)))
        flat = rng.random() < round_the_clock
        office, evening, level = PROFILES
        mix = float(rng.random())
        hours = mix * office + (1 - mix) * evening
        hours = 0.8 * level + 0.2 * hours if flat else hours
        return Steady(
            rate,
            hours,
            zone_h,
            weekend=float(rng.uniform(0.7, 1.1) if flat else rng.uniform(0.15, 0.8)),
            clump=float(1 + rng.lognormal(0.0, 0.8)),
            gap_s=float(rng.lognormal(np.log(6), 0.8)),
        )

    def human(self, rate: float, zone_h: float, active: float | None = None) -> Human:
        """A person's schedule, `rate` requests on an average weekday."""
        rng = self.rng
        office, evening, _ = PROFILES
        mix = float(rng.beta(0.8, 0.8))
        turns = float(1 + rng.gamma(2.0, 1.0))
        active = active if active is not None else float(np.clip(rng.beta(2.2, 2.2), 0.08, 0.98))
        return Human(
            rate,
            active,
            turns,
            think_s=float(rng.lognormal(np.log(70), 0.5)),
            hours=mix * office + (1 - mix) * evening,
            zone_h=zone_h,
            weekend=float(rng.uniform(0.2, 1.3)),
        )


def share_field(accounts: Sequence[Account], name: str, value: object) -> None:
    """Gives accounts one common value of a field."""
    for account in accounts:
        account.fields[name] = value
