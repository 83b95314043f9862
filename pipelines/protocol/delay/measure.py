"""How much a campaign got before it was flagged: the time to the first alert.

A bounded run over everything up to an instant says what a stream had said by then (the newest
revisions are the same, docs/streaming.md). So the live traffic is cut off at a series of instants,
each beginning is detected by itself, and a campaign counts as found at the first instant at which a
flagged cluster is mostly its own. Between two instants nobody looks, so every figure is an upper
bound, by one step at most.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from pipelines.console import Console
from pipelines.judge import Account, Alert
from pipelines.protocol.accounts import detect_into, prepare
from pipelines.protocol.baselines.accounts import event_time_ms
from pipelines.protocol.grid import Cell
from pipelines.tables import read_accounts
from schemas.errors import DistilwatchError

OWN_SHARE = 0.5
"""Share of a flagged cluster's accounts that must be the campaign's for it to count as found."""


@dataclass(frozen=True, slots=True)
class Delay:
    """What one campaign got before its first alert.

    Attributes:
      campaign, kind: label and attack.
      accounts, requests: of all of it.
      alert_ms: the first instant looked at when it was flagged; None: never.
      before: requests made up to then; all of them when never.
      hours: from its first request to then; infinite when never.
    """

    campaign: str
    kind: str
    accounts: int
    requests: int
    alert_ms: int | None
    before: int
    hours: float

    @property
    def share(self) -> float:
        """Requests before the alert by all requests; 1 when there was none."""
        return self.before / max(self.requests, 1)


@dataclass(frozen=True, slots=True)
class DelayResult:
    """Delays of one cell: its campaigns, at so many instants, so far apart on average."""

    cell: Cell
    delays: tuple[Delay, ...]
    instants: int
    step_hours: float


def instants(times_ms: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`count` instants that cut the traffic into parts of equally many events; the last is its end.

    Args:
      times_ms: (n,) times of the events, milliseconds UTC, n at least 1.
      count: at least 1.
    """
    places = np.ceil(np.arange(1, count + 1) / count * len(times_ms)).astype(np.int64) - 1
    return np.unique(np.sort(times_ms)[places])


def delays(
    accounts: Sequence[Account],
    times_ms: Mapping[str, Sequence[int]],
    seen: Sequence[tuple[int, Sequence[Alert]]],
) -> tuple[Delay, ...]:
    """When each campaign was first flagged, and what it had by then.

    Args:
      accounts: labelled; those that attack without a campaign are one each.
      times_ms: of each account's requests.
      seen: instants in order, each with what was flagged then.
    """
    members: dict[str, list[Account]] = {}
    for account in accounts:
        if account.attack:
            members.setdefault(account.campaign or account.account, []).append(account)
    found = []
    for campaign, own in members.items():
        names = {a.account for a in own}
        times = np.sort(np.array([t for n in names for t in times_ms.get(n, ())], np.int64))
        if not len(times):
            continue
        alert = next((at for at, alerts in seen if any(_is(names, a) for a in alerts)), None)
        before = len(times) if alert is None else int(np.searchsorted(times, alert, side="right"))
        hours = math.inf if alert is None else (alert - int(times[0])) / 3_600_000
        found.append(Delay(campaign, own[0].kind, len(own), len(times), alert, before, hours))
    return tuple(sorted(found, key=lambda d: (d.share, d.before, d.campaign)))


def _is(names: set[str], alert: Alert) -> bool:
    return len(names.intersection(alert.accounts)) >= OWN_SHARE * len(alert.accounts)


def measure(
    folder: Path, traces: Path | None, cell: Cell, count: int, console: Console
) -> DelayResult:
    """Simulates and trains once, then detects each beginning of the live traffic.

    Args:
      folder: of the corpora.
      traces: of the traces, or None.
      cell: what to run.
      count: instants.
      console: told of the progress.

    Raises:
      DistilwatchError: when corpora or traces cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="distilwatch-delay-") as name:
        home = prepare(folder, traces, cell, Path(name))
        lines = home.live.read_bytes().splitlines(keepends=True)
        times = np.array(
            [event_time_ms(orjson.loads(line)["event_time"]) for line in lines], np.int64
        )
        cuts = instants(times, count)
        seen: list[tuple[int, Sequence[Alert]]] = []
        accounts: Sequence[Account] = ()
        for number, at in enumerate(cuts.tolist()):
            console.step(f"{cell.name}: look {number + 1} of {len(cuts)}")
            begun, database = Path(name) / "begun.jsonl", Path(name) / f"{number}.duckdb"
            begun.write_bytes(b"".join(lines[i] for i in np.flatnonzero(times <= at)))
            try:
                detect_into(database, begun, home.bundle)
                accounts, alerts, _ = read_accounts(database, home.labels)
            except DistilwatchError as error:
                # The very beginning may hold nobody whom the labels know; the end may not.
                if number == len(cuts) - 1:
                    raise
                console.warn(f"look {number + 1} showed nothing: {error}")
                continue
            seen.append((at, alerts))
        step = float(np.diff(cuts).mean() / 3_600_000) if len(cuts) > 1 else 0.0
    return DelayResult(cell, delays(accounts, home.now.times, seen), len(cuts), step)
