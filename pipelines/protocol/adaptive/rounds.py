"""Plays the game: the product against an attacker that is shown its findings.

The benign accounts, their history and the bundle are made once. Every round the attacker's
requests are put beside the same benign live traffic and `detect` judges both; what it flags is
taken away, and the attacker changes its method for the next round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from pipelines.config import Config, load_config
from pipelines.console import Console
from pipelines.detect import DetectOptions, detect
from pipelines.protocol.adaptive.costs import Bill, Inventory, bill, per_thousand
from pipelines.protocol.adaptive.crew import Crew, Member
from pipelines.protocol.adaptive.method import START, Method, moved, reset
from pipelines.protocol.adaptive.policy import Change, Mind, Outcome, decide, signals
from pipelines.protocol.adaptive.seen import Seen, read_seen
from pipelines.simulate.compose import populate
from pipelines.simulate.run import SimulateOptions
from pipelines.simulate.run import run as run_simulation
from pipelines.simulate.scenario import CorpusChoice, Scenario
from pipelines.train import TrainOptions, train

_LEAST_YIELD = 0.3  # the attacker never plans for less than this of what it aims at


@dataclass(frozen=True, slots=True)
class AdaptiveOptions:
    """What to play.

    Attributes:
      corpora, traces: folders; None: invented prompts and timing.
      part: of the corpora.
      rounds: how many.
      seed: of everything.
      accounts: benign ones.
      events: of them, history and live days together.
      days, history_days: of the benign traffic; the attacker works in the days after the history.
      wanted: distinct questions that the attacker wants answered in a period.
      most_accounts: the attacker has no more.
      ablate: whether to measure at the end what each lever is worth.
    """

    corpora: Path | None = None
    traces: Path | None = None
    part: str = "report"
    rounds: int = 20
    seed: int = 11
    accounts: int = 500
    events: int = 40_000
    days: int = 14
    history_days: int = 8
    wanted: int = 4_000
    most_accounts: int = 240
    ablate: bool = True


@dataclass(frozen=True, slots=True)
class Round:
    """One round.

    Attributes:
      number: from 1.
      method: in use.
      changes: that led to it from the round before.
      accounts, lost: of the attacker, and taken away at its end.
      flagged_accounts: accounts in flagged clusters.
      asked, useful, through: its requests; distinct wanted questions answered; of these, asked by
        an account that was not flagged.
      days: needed for all wanted questions at this yield; infinite when none got through.
      bill: of the period.
      benign_flagged: accounts of others in flagged clusters.
      signals: what it was shown, strongest first, with weights.
    """

    number: int
    method: Method
    changes: tuple[Change, ...]
    accounts: int
    lost: int
    flagged_accounts: int
    asked: int
    useful: int
    through: int
    days: float
    bill: Bill
    benign_flagged: int
    signals: tuple[tuple[str, float], ...]

    @property
    def share_through(self) -> float:
        """Of the distinct wanted questions that were answered."""
        return self.through / self.useful if self.useful else 0.0

    @property
    def cost(self) -> float:
        """USD for a thousand wanted questions that got through."""
        return per_thousand(self.bill.total, self.through)


@dataclass(frozen=True, slots=True)
class Ablation:
    """What a lever is worth: the method settled on with and without it, all accounts new.

    Attributes:
      lever: put back to its start; "" for none.
      value: what it was in that method.
      share_through, cost: as of a round.
    """

    lever: str
    value: object
    share_through: float
    cost: float


@dataclass(frozen=True, slots=True)
class AdaptiveResult:
    """The game.

    Attributes:
      options: as asked for.
      benign: benign accounts that asked in the live days.
      live_events: benign ones.
      rounds: in order.
      ablations: the whole method first.
    """

    options: AdaptiveOptions
    benign: int
    live_events: int
    rounds: tuple[Round, ...]
    ablations: tuple[Ablation, ...] = field(default=())

    @property
    def settled(self) -> tuple[Round, ...]:
        """Rounds of the method with which most got through over the whole game.

        One good round would say little: accounts that were bought under another method, with cards
        of their own, may have carried it.
        """
        sums: dict[Method, int] = {}
        for r in self.rounds:
            sums[r.method] = sums.get(r.method, 0) + r.through
        most = max(sums, key=lambda method: sums[method])
        return tuple(r for r in self.rounds if r.method == most)


@dataclass(slots=True)
class _Field:
    """The benign side, made once."""

    home: Path
    scenario: Scenario
    live: Path
    bundle: Path
    config: Config

    def judge(self, crew: Crew, method: Method, number: int, step: int) -> _Judged:
        """Runs the attacker's period and `detect` on it and the benign traffic."""
        used = crew.staff(method, number, step)
        path, database = self.home / "attack.jsonl", self.home / "out.duckdb"
        tally = _Tally()
        with path.open("wb") as out:
            for record in crew.requests(method, used, step):
                tally.add(record.event, record.attack, record.question)
                out.write(orjson.dumps(record.event) + b"\n")
        database.unlink(missing_ok=True)
        detect(
            DetectOptions(
                [str(self.live), str(path)], self.bundle, [f"duckdb:///{database}"], self.config,
                "direct", None, [],
            ),
            Console(as_json=True),
        )  # fmt: skip
        return _Judged(used, tally, read_seen(database, [m.account.id for m in used]))


@dataclass(slots=True)
class _Tally:
    """Counts what the attacker asked."""

    asked: int = 0
    reworded: int = 0
    askers: dict[str, set[str]] = field(default_factory=dict)
    usd: list[float] = field(default_factory=lambda: [0.0, 0.0])
    priced: list[int] = field(default_factory=lambda: [0, 0])
    counts: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, event: dict[str, Any], wanted: bool, question: str) -> None:
        self.asked += 1
        self.counts[wanted] += 1
        if "cost_usd" in event:
            self.usd[wanted] += float(event["cost_usd"])
            self.priced[wanted] += 1
        if wanted and event.get("status_code", 200) == 200:
            self.askers.setdefault(question, set()).add(str(event["account_id"]))

    def spent(self, wanted: bool) -> float:
        """List price; of requests that do not carry theirs, the mean of those that do."""
        priced = self.priced[wanted]
        return self.usd[wanted] * self.counts[wanted] / priced if priced else 0.0

    def through(self, flagged: frozenset[str]) -> int:
        """Questions that an account asked that is not flagged."""
        return sum(1 for askers in self.askers.values() if not askers <= flagged)


@dataclass(frozen=True, slots=True)
class _Judged:
    used: list[Member]
    tally: _Tally
    seen: Seen

    def bill(self, method: Method, days: float, gone: Sequence[Member]) -> Bill:
        """What the period cost.

        Args:
          method: that was used.
          days: length of the period.
          gone: accounts that were taken away at its end.
        """
        cards = {member.card for member in self.used}
        lost = {member.card for member in gone}
        aged = sum(member.aged for member in self.used)
        lost_aged = sum(member.aged for member in gone)
        home = method.network == "home"
        return bill(
            Inventory(
                days,
                len(self.used) - aged,
                aged,
                len(gone) - lost_aged,
                lost_aged,
                len(cards),
                len(cards & lost),
                len(self.used) if home else 0,
                0 if home else 3,
                self.tally.counts[True] if method.wording == "free" else 0,
                self.tally.spent(True),
                self.tally.spent(False),
            )
        )


def play(options: AdaptiveOptions, console: Console) -> AdaptiveResult:
    """Makes the benign side, then plays all rounds.

    Args:
      options: what to play.
      console: told of the progress.

    Raises:
      DistilwatchError: corpora or traces cannot be used.
    """
    with TemporaryDirectory(prefix="distilwatch-adaptive-") as home:
        console.step("Make the benign accounts and train on their history")
        ground, benign, live_events = _prepare(options, Path(home))
        rounds = _rounds(options, ground, console)
        result = AdaptiveResult(options, benign, live_events, rounds)
        if not options.ablate:
            return result
        ablations = _ablate(options, ground, result.settled[0].method, console)
        return AdaptiveResult(options, benign, live_events, rounds, ablations)


def _prepare(options: AdaptiveOptions, home: Path) -> tuple[_Field, int, int]:
    choice = CorpusChoice(options.corpora, options.part) if options.corpora else None
    scenario = Scenario(
        options.seed,
        days=options.days,
        history_days=options.history_days,
        accounts=options.accounts,
        events=options.events,
        corpus=choice,
        traces=options.traces,
    )
    history, live, labels = home / "history.jsonl", home / "live.jsonl", home / "labels.jsonl"
    quiet = Console(as_json=True)
    made = run_simulation(SimulateOptions(str(live), str(history), labels, scenario), quiet)
    config, bundle = load_config(None), home / "bundle"
    train(TrainOptions([str(history)], bundle, config, "direct", []), quiet)
    truth = [orjson.loads(line) for line in labels.read_bytes().splitlines()]
    benign = sum(row["split"] != "history" for row in truth)
    return _Field(home, scenario, live, bundle, config), benign, made.live


def _rounds(options: AdaptiveOptions, ground: _Field, console: Console) -> tuple[Round, ...]:
    crew = Crew(ground.scenario, populate(ground.scenario), options.seed)
    mind, method, got = Mind(), START, 1.0
    changes: tuple[Change, ...] = ()
    rounds: list[Round] = []
    for number in range(1, options.rounds + 1):
        console.step(f"Round {number} of {options.rounds}")
        aim = _accounts(options, crew, method, got)
        judged = ground.judge(crew, method, aim, number)
        done = _round(options, crew, method, changes, judged, number)
        rounds.append(done)
        console.note(
            f"Round {number}: {done.accounts} accounts, {100 * done.share_through:.0f} % of "
            f"{done.useful:,} wanted questions through, ${done.cost:,.2f} a thousand"
        )
        planned = done.accounts * method.pace * (1 - method.cover) * crew.days
        got = min(1.0, max(_LEAST_YIELD, (got + done.useful / planned) / 2))
        outcome = Outcome(done.share_through, done.cost, judged.seen.findings)
        mind, method, changes = decide(mind, method, outcome)
    return tuple(rounds)


def _accounts(options: AdaptiveOptions, crew: Crew, method: Method, got: float) -> int:
    """Accounts for the wanted questions, given what share of the plan came out lately."""
    each = method.pace * (1 - method.cover) * crew.days * got
    return min(options.most_accounts, max(1, math.ceil(options.wanted / each)))


def _round(
    options: AdaptiveOptions,
    crew: Crew,
    method: Method,
    changes: tuple[Change, ...],
    judged: _Judged,
    number: int,
) -> Round:
    flagged = judged.seen.flagged
    gone = [m for m in crew.lose(flagged) if m in judged.used]
    through = judged.tally.through(flagged)
    return Round(
        number,
        method,
        changes,
        len(judged.used),
        len(gone),
        len(flagged),
        judged.tally.asked,
        len(judged.tally.askers),
        through,
        crew.days * options.wanted / through if through else math.inf,
        judged.bill(method, crew.days, gone),
        judged.seen.benign,
        tuple(signals(judged.seen.findings)),
    )


def _ablate(
    options: AdaptiveOptions, ground: _Field, settled: Method, console: Console
) -> tuple[Ablation, ...]:
    """A method with all accounts new, whole and with one lever at a time put back."""
    found = []
    levers = ("", *moved(settled))
    for lever in levers:
        console.step(f"Without {lever}" if lever else "The method settled on, all accounts new")
        method = reset(settled, lever) if lever else settled
        # The same seed each time, though a lever also shifts what is drawn after it.
        crew = Crew(ground.scenario, populate(ground.scenario), options.seed + 1)
        judged = ground.judge(crew, method, _accounts(options, crew, method, 1.0), 1)
        done = _round(options, crew, method, (), judged, 1)
        value = getattr(settled, lever) if lever else ""
        found.append(Ablation(lever, value, done.share_through, done.cost))
    return tuple(found)
