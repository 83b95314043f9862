"""When requests are made.

A schedule gives one day's times at a go; all times are int64 milliseconds UTC, and may run a little
past the end of the day (a conversation that began before midnight). Without traces the shapes are
invented: hours of the day by kind of user, log-normal pauses to think, clumps of calls by programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.simulate.traces import WINDOW_S, ClientTrace

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
Times = NDArray[np.int64]

# Relative activity by local hour.
OFFICE = np.array(
    [1, 1, 1, 1, 1, 2, 5, 14, 40, 60, 64, 58, 40, 52, 62, 60, 52, 34, 16, 9, 7, 5, 3, 2]
)
EVENING = np.array(
    [12, 6, 3, 2, 1, 2, 4, 9, 14, 16, 17, 18, 20, 19, 19, 20, 22, 26, 32, 42, 50, 52, 42, 26]
)
FLAT = np.ones(24)
PROFILES: tuple[NDArray[np.float64], ...] = tuple(
    profile / profile.sum() for profile in (OFFICE.astype(float), EVENING.astype(float), FLAT)
)


class Schedule(Protocol):
    """When one account asks."""

    def times(self, day_ms: int, rng: np.random.Generator) -> Times:
        """Sorted times that begin within the day at `day_ms`."""
        ...

    def daily(self) -> float:
        """Expected requests a day, over a long time."""
        ...


def spread(
    count: int, day_ms: int, hours: NDArray[np.float64], zone_h: float, rng: np.random.Generator
) -> Times:
    """`count` times on a day, unsorted, that follow a local profile of 24 hours."""
    cumulative = np.cumsum(hours)
    uniform = rng.random(count) * cumulative[-1]
    hour = np.minimum(np.searchsorted(cumulative, uniform, side="right"), 23)
    local = (hour + rng.random(count)) * HOUR_MS
    times: Times = day_ms + ((local - zone_h * HOUR_MS) % DAY_MS).astype(np.int64)
    return times


def is_weekend(day_ms: int) -> bool:
    """Whether a UTC day is a Saturday or Sunday (1970-01-01 was a Thursday)."""
    return (day_ms // DAY_MS + 3) % 7 >= 5


@dataclass(frozen=True, slots=True)
class Steady:
    """A program: requests through the day in clumps, more or less of them by the hour.

    Attributes:
      rate: mean requests a day (of a weekday).
      hours: 24 shares that sum to 1, local time.
      zone_h: offset of local time from UTC.
      weekend: factor on Saturdays and Sundays.
      clump: mean number of calls that come together.
      gap_s: mean gap within a clump.
      wobble: sigma of the log-normal factor from day to day.
    """

    rate: float
    hours: NDArray[np.float64]
    zone_h: float
    weekend: float = 1.0
    clump: float = 1.0
    gap_s: float = 5.0
    wobble: float = 0.2

    def times(self, day_ms: int, rng: np.random.Generator) -> Times:
        mean = self.rate * (self.weekend if is_weekend(day_ms) else 1.0)
        mean *= float(rng.lognormal(-(self.wobble**2) / 2, self.wobble))
        starts = int(rng.poisson(mean / self.clump))
        at = spread(starts, day_ms, self.hours, self.zone_h, rng)
        if self.clump > 1.0 and starts:
            sizes = rng.geometric(1 / self.clump, starts)
            gaps = rng.exponential(self.gap_s * 1000, int(sizes.sum())).astype(np.int64)
            at = np.repeat(at, sizes) + within_groups(gaps, sizes)
        return np.sort(at)

    def daily(self) -> float:
        return self.rate * (5 + 2 * self.weekend) / 7


@dataclass(frozen=True, slots=True)
class Traced:
    """A program that calls as a real API client did, at another mean rate.

    Attributes:
      rate: mean requests a day.
      client: the real client.
      shift: windows by which its fortnight is moved, a whole number of days so that hours stay.
    """

    rate: float
    client: ClientTrace
    shift: int

    def times(self, day_ms: int, rng: np.random.Generator) -> Times:
        per_day = DAY_MS // (WINDOW_S * 1000)
        first = (day_ms // DAY_MS * per_day + self.shift) % len(self.client.shape)
        shape = np.take(self.client.shape, np.arange(first, first + per_day), mode="wrap")
        # Gamma inter-arrivals of variation cv clump about cv² arrivals together.
        clump = max(self.client.cv**2, 1.0)
        starts = rng.poisson(self.rate / per_day * shape / clump)
        window = np.repeat(np.arange(per_day), starts)
        at = day_ms + ((window + rng.random(len(window))) * WINDOW_S * 1000).astype(np.int64)
        if clump > 1.0 and len(at):
            sizes = rng.geometric(1 / clump, len(at))
            gaps = rng.gamma(0.7, 4_000, int(sizes.sum())).astype(np.int64)
            at = np.repeat(at, sizes) + within_groups(gaps, sizes)
        return np.sort(at)

    def daily(self) -> float:
        return self.rate


@dataclass(frozen=True, slots=True)
class Runs:
    """Jobs: on some days a run of many requests, one after the other.

    Attributes:
      size: mean requests of a run.
      chance: probability of a run on a day.
      gap_s: median time from one request to the next.
      hours: when runs start; 24 shares, local time.
      zone_h: offset of local time from UTC.
      days: weekdays (0 is Monday) on which runs happen; empty means all.
      common_seed: accounts with the same seed start their runs together (None: on their own).
    """

    size: float
    chance: float
    gap_s: float
    hours: NDArray[np.float64]
    zone_h: float
    days: tuple[int, ...] = ()
    common_seed: int | None = None

    def times(self, day_ms: int, rng: np.random.Generator) -> Times:
        if self.days and (day_ms // DAY_MS + 3) % 7 not in self.days:
            return np.empty(0, np.int64)
        plan = rng
        if self.common_seed is not None:
            plan = np.random.default_rng((self.common_seed, day_ms // DAY_MS))
        if plan.random() >= self.chance:
            return np.empty(0, np.int64)
        start = spread(1, day_ms, self.hours, self.zone_h, plan)
        count = 1 + int(rng.poisson(self.size * rng.lognormal(-0.03, 0.25)))
        gaps = rng.lognormal(np.log(self.gap_s * 1000), 0.6, count).astype(np.int64)
        return np.asarray(start + np.cumsum(gaps))

    def daily(self) -> float:
        return self.size * self.chance * (len(self.days) / 7 if self.days else 1.0)


@dataclass(frozen=True, slots=True)
class Human:
    """A person: some conversations on some days, with pauses to read and think.

    Attributes:
      rate: mean requests a weekday, days without any included.
      active: probability that a weekday has any.
      turns: mean requests of a conversation.
      think_s: median pause between the turns of a conversation.
      hours, zone_h, weekend: as for `Steady`.
    """

    rate: float
    active: float
    turns: float
    think_s: float
    hours: NDArray[np.float64]
    zone_h: float
    weekend: float = 1.0

    def conversations(
        self, day_ms: int, rng: np.random.Generator
    ) -> tuple[Times, NDArray[np.int64]]:
        """Times of requests grouped by conversation, and the size of each conversation."""
        active = self.active * (self.weekend if is_weekend(day_ms) else 1.0)
        if rng.random() >= active:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        mean = self.rate / (self.active * self.turns)
        count = int(rng.poisson(mean * rng.lognormal(-0.08, 0.4)))
        sizes = rng.geometric(1 / self.turns, count)
        pauses = rng.lognormal(np.log(self.think_s * 1000), 1.0, int(sizes.sum()))
        # Nobody's pause within one conversation lasts for hours.
        offsets = within_groups(np.minimum(pauses, 5_400_000).astype(np.int64), sizes)
        starts = spread(count, day_ms, self.hours, self.zone_h, rng)
        return np.repeat(starts, sizes) + offsets, sizes

    def daily(self) -> float:
        return self.rate * (5 + 2 * self.weekend) / 7


def within_groups(gaps: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Running sums of gaps that start again at 0 with each group."""
    total = np.cumsum(gaps)
    first = np.cumsum(sizes) - sizes
    sums: NDArray[np.int64] = total - np.repeat(total[first], sizes)
    return sums


def turn_numbers(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2 … within each group."""
    return np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
