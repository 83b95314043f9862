"""What one account does in a day: a schedule joined with prompts, as an array of requests."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipelines.simulate.prompts import Ids, Pool, PromptSource, SharedPool
from pipelines.simulate.styles import STYLE_SHARES
from pipelines.simulate.timing import Human, Schedule, turn_numbers, within_groups

ROW = np.dtype(
    [
        ("time", np.int64),  # ms UTC
        ("account", np.int32),  # index of the account
        ("prompt", np.int64),  # id in the prompt source
        ("scaffold", np.int32),  # index of the scaffold, 0 is none
        ("depth", np.int8),  # added demands
        ("style", np.int8),
        ("conversation", np.int64),
        ("turn", np.int16),
        ("seat", np.int32),  # end user or worker behind the account
        ("status", np.int16),  # 0: not decided yet
        ("attack", np.bool_),  # whether this request extracts
    ]
)
Rows = NDArray[np.void]
ALWAYS_MS = 1 << 60
NO_SCAFFOLD: Ids = np.zeros(1, np.int64)


@dataclass(slots=True)
class Behaviour:
    """One kind of use of an account.

    Attributes:
      source: prompts.
      schedule: when.
      pool: what.
      scaffolds: int64 indices, of which one is taken for a request.
      scaffolded: share of requests that have a scaffold.
      styles: float64 of shape (6,), how often each style is used.
      turns: mean requests of a conversation where the schedule gives single calls.
      every_turn: whether follow-ups carry the scaffold too, as programs do.
      lineage: longest chain of added demands (evolved prompts), 0 for none.
      attack: whether this is extraction.
      from_ms, to_ms: bounds; nothing is asked outside.
      blocked: attempts after `to_ms` that are refused with 429 and then 403.
    """

    source: PromptSource
    schedule: Schedule | Human
    pool: Pool
    scaffolds: Ids = field(default_factory=lambda: NO_SCAFFOLD)
    scaffolded: float = 0.0
    styles: NDArray[np.float64] = field(default_factory=lambda: STYLE_SHARES)
    turns: float = 1.0
    every_turn: bool = True
    lineage: int = 0
    attack: bool = False
    from_ms: int = -ALWAYS_MS
    to_ms: int = ALWAYS_MS
    blocked: int = 0

    def day(self, day_ms: int, rng: np.random.Generator) -> Rows:
        """Requests that begin on the day at `day_ms`; follow-ups may run past midnight."""
        if day_ms >= self.to_ms or day_ms + 86_400_000 <= self.from_ms:
            return np.empty(0, ROW)
        times, sizes = self._times(day_ms, rng)
        kept = np.repeat(np.arange(len(sizes)), sizes)
        inside = (times >= self.from_ms) & (times < self.to_ms)
        if not inside.all():
            times, kept = times[inside], kept[inside]
            _, sizes = np.unique(kept, return_counts=True)
        tail = self._blocked_tail(day_ms, rng)
        if not len(times):
            return tail
        rows = np.zeros(len(times), ROW)
        rows["time"] = times
        rows["turn"] = turn_numbers(sizes)
        rows["attack"] = self.attack
        self._ask(rows, sizes, rng)
        return np.concatenate([rows, tail]) if len(tail) else rows

    def _times(self, day_ms: int, rng: np.random.Generator) -> tuple[Ids, Ids]:
        if isinstance(self.schedule, Human):
            return self.schedule.conversations(day_ms, rng)
        times = self.schedule.times(day_ms, rng)
        if self.turns <= 1.0:
            return times, np.ones(len(times), np.int64)
        starts = times[rng.random(len(times)) < 1 / self.turns]
        sizes = rng.geometric(1 / self.turns, len(starts)).astype(np.int64)
        pauses = rng.lognormal(np.log(15_000), 0.8, int(sizes.sum())).astype(np.int64)
        return np.repeat(starts, sizes) + within_groups(pauses, sizes), sizes

    def _ask(self, rows: Rows, sizes: Ids, rng: np.random.Generator) -> None:
        count = len(sizes)
        if self.lineage:
            chain = self.lineage + 1
            parents = self.pool.draw(-(-count // chain), rng)
            first = np.repeat(parents, chain)[:count]
            depth = np.tile(np.arange(chain), len(parents))[:count]
            rows["depth"] = np.repeat(depth, sizes)
        else:
            first = self.pool.draw(count, rng)
        prompts = np.repeat(first, sizes)
        later = rows["turn"] > 0
        if later.any():
            prompts[later] = self.source.follow(
                prompts[later], rows["turn"][later].astype(np.int64), rng
            )
        rows["prompt"] = prompts
        rows["conversation"] = np.repeat(rng.integers(1, 1 << 62, count), sizes)
        if isinstance(self.pool, SharedPool):
            rows["seat"] = np.repeat(self.pool.last_users, sizes)
        cumulative = np.cumsum(self.styles)
        uniform = rng.random(len(rows)) * cumulative[-1]
        rows["style"] = np.searchsorted(cumulative, uniform, side="right")
        if self.scaffolded > 0:
            chosen = self.scaffolds[(rng.random(count) * len(self.scaffolds)).astype(np.int64)]
            chosen = np.where(rng.random(count) < self.scaffolded, chosen, 0)
            rows["scaffold"] = np.repeat(chosen, sizes)
            if not self.every_turn:
                rows["scaffold"][later] = 0

    def _blocked_tail(self, day_ms: int, rng: np.random.Generator) -> Rows:
        if not self.blocked or not day_ms <= self.to_ms < day_ms + 86_400_000:
            return np.empty(0, ROW)
        rows = np.zeros(self.blocked, ROW)
        rows["time"] = self.to_ms + np.cumsum(rng.integers(1_000, 90_000, self.blocked))
        rows["attack"] = self.attack
        rows["status"] = np.where(np.arange(self.blocked) < self.blocked // 2, 429, 403)
        self._ask(rows, np.ones(self.blocked, np.int64), rng)
        return rows

    def daily(self) -> float:
        """Expected requests a day while it lasts."""
        return self.schedule.daily()
