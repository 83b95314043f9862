"""`distilwatch simulate`: writes a scenario's events and their truth."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.console import Console
from pipelines.simulate.compose import simulate
from pipelines.simulate.mutate import Mutator
from pipelines.simulate.scenario import Scenario
from pipelines.simulate.targets import open_target
from schemas.errors import DistilwatchError

_TELL_EVERY = 4_096


@dataclass(frozen=True)
class SimulateOptions:
    """What to simulate, and where it goes.

    Attributes:
      out: file or topic of the events; with `history`, of the live period's only.
      history: file or topic of the benign days before; None: they go to `out`, too.
      labels: file of the truth; None for none.
      scenario: what is simulated.
      embedding: `none`, or `hashing` to send vectors along.
      mutate: share of records that are spoilt, and as many sent twice.
    """

    out: str
    history: str | None
    labels: Path | None
    scenario: Scenario
    embedding: str = "none"
    mutate: float = 0.0


@dataclass(frozen=True)
class SimulateSummary:
    """What was written: records, accounts by kind, what was spoilt, by expected reason, and what
    could not be made as asked for."""

    history: int
    live: int
    kinds: dict[str, int]
    spoilt: dict[str, int]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "history_records": self.history,
            "live_records": self.live,
            "accounts": self.kinds,
            "spoilt": self.spoilt,
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """For people."""
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in self.kinds.items())
        told = [
            f"{self.history + self.live:,} records ({self.history:,} of the history, "
            f"{self.live:,} of the live days) of {sum(self.kinds.values()):,} accounts:",
            f"  {kinds}",
        ]
        if self.spoilt:
            spoilt = ", ".join(f"{n:,} {reason}" for reason, n in sorted(self.spoilt.items()))
            told.append(f"Spoilt on purpose: {spoilt}")
        return told


def run(options: SimulateOptions, console: Console) -> SimulateSummary:
    """Makes the events in the order of time and writes them.

    Raises:
      DistilwatchError: corpora or traces cannot be used, or a target cannot be written.
    """
    console.step("Make the accounts")
    simulation = simulate(options.scenario, options.embedding)
    mutator = Mutator(options.mutate, options.scenario.seed)
    live_ms = options.scenario.live_ms
    counts = [0, 0]
    with ExitStack() as stack:
        live = stack.enter_context(open_target(options.out))
        past = live
        if options.history is not None:
            past = stack.enter_context(open_target(options.history))
        console.step("Write the events")
        for made in simulation.records():
            is_live = made.time_ms >= live_ms
            target = live if is_live else past
            for record in mutator.records(made.event):
                target.write(record, str(made.event["account_id"]), made.time_ms)
                counts[is_live] += 1
            if sum(counts) % _TELL_EVERY == 0:
                console.progress(sum(counts), options.scenario.events or None, "events")
    labels = simulation.labels()
    if options.labels is not None:
        _write_labels(options.labels, labels)
    kinds: dict[str, int] = {}
    for label in labels:
        kinds[str(label["kind"])] = kinds.get(str(label["kind"]), 0) + 1
    by_count = dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0])))
    notes = tuple(simulation.notes)
    for note in notes:
        console.warn(note)
    return SimulateSummary(counts[0], counts[1], by_count, dict(mutator.did), notes)


def _write_labels(path: Path, labels: list[dict[str, object]]) -> None:
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(label) + "\n" for label in labels), encoding="utf-8")
    except OSError as error:
        raise DistilwatchError(
            f"the labels cannot be written ({error.strerror})",
            f"--labels {path}",
            "choose another place",
        ) from error
