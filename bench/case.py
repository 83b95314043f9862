"""What every job of a comparison works on, and how it says what it found."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from bench import zipf
from pipelines.config import Config
from pipelines.console import Console
from pipelines.simulate.compose import simulate
from pipelines.simulate.scenario import Scenario
from pipelines.train import TrainOptions, train
from transforms.coverage.layout import DAY_MS
from transforms.scoring.fit import ACCOUNT_SESSION, PAYMENT_SESSION
from transforms.scoring.handler import Scored, VerifiedBundle
from transforms.sessions.identity import ACCOUNT, PAYMENT
from transforms.sessions.transforms import Session

LEVELS = {ACCOUNT: ACCOUNT_SESSION, PAYMENT: PAYMENT_SESSION}


@dataclass(frozen=True)
class Case:
    """What every job of a comparison works on.

    Attributes:
      events: a .jsonl file.
      count: events in it.
      bundle: folder of the bundle.
      config: the settings.
      topic: `kafka://` URI of the same records; None where no job reads Kafka.
      ended_topic: the same with one more record, a day later.
    """

    events: Path
    count: int
    bundle: Path
    config: Config
    topic: str | None = None
    ended_topic: str | None = None

    def verified(self) -> VerifiedBundle:
        """The bundle as workers get it."""
        manifest = (self.bundle / "manifest.json").read_bytes()
        return VerifiedBundle(str(self.bundle), hashlib.sha256(manifest).hexdigest())


def prepare(
    folder: Path, scenario: Scenario, events: int, config: Config, embedding: str = "none"
) -> Case:
    """Makes traffic and a bundle from its history.

    Args:
      folder: where files go.
      scenario: with at least `events` live events.
      events: live events to keep.
      config: the settings.
      embedding: `none`, or `hashing` to have the events bring their vectors.

    Raises:
      ValueError: when the scenario has fewer live events.
    """
    live, history = folder / "live.jsonl", folder / "history.jsonl"
    made = simulate(scenario, embedding).encoded()
    count = 0
    with live.open("wb") as new, history.open("wb") as old:
        for record, time_ms in made:
            if time_ms < scenario.live_ms:
                old.write(record + b"\n")
            elif count < events:
                new.write(record + b"\n")
                count += 1
            else:
                break
    if count < events:
        raise ValueError(f"the scenario has {count} live events, not {events}")
    with Console(as_json=True) as console:
        train(TrainOptions([str(history)], folder / "bundle", config, "direct", []), console)
    return Case(live, count, folder / "bundle", config)


def prepare_zipf(
    folder: Path, traffic: zipf.Traffic, config: Config, history: int | None = None
) -> Case:
    """Makes Zipf-distributed traffic, and a bundle from such traffic of four weeks before.

    Args:
      folder: where files go.
      traffic: the live events.
      config: the settings; `zipf.settings` says which ones the events need.
      history: events before; None: as many as now.
    """
    live, past = folder / "live.jsonl", folder / "history.jsonl"
    before = replace(
        traffic,
        events=traffic.events if history is None else history,
        seed=traffic.seed + 1,
        start_ms=traffic.start_ms - 28 * DAY_MS,
    )
    for path, made in ((live, traffic), (past, before)):
        with path.open("wb") as out:
            out.writelines(record + b"\n" for record in zipf.records(made))
    with Console(as_json=True) as console:
        train(TrainOptions([str(past)], folder / "bundle", config, "direct", []), console)
    return Case(live, traffic.events, folder / "bundle", config)


def scored_line(scored: Scored[Session]) -> str:
    """What is compared of a scored session: its name, events, score and p-value."""
    item = scored.item
    return json.dumps([item.session_id, item.sketch.events, scored.score, scored.p_value])


def write_scored(folder: str, scored: Iterable[Scored[Session]]) -> None:
    """Writes one line a scored session to a new file of the folder."""
    lines = [scored_line(one) + "\n" for one in scored]
    if lines:
        Path(folder, uuid.uuid4().hex).write_text("".join(lines))


def write_rows(folder: str, table: pa.Table) -> None:
    """`write_scored` of rows of session_scores."""
    columns = [
        table[name].to_pylist() for name in ("session_id", "request_count", "score", "p_value")
    ]
    lines = [json.dumps(row) + "\n" for row in zip(*columns, strict=True)]
    if lines:
        Path(folder, uuid.uuid4().hex).write_text("".join(lines))
