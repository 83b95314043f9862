"""Which scored accounts and clusters become alerts, and how severe they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from transforms.alerts.known import KnownPolicy

DAY_MS = 86_400_000

SEVERITIES = ("low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """Decides by calibrated p-value, exposure and size; never by a raw score.

    Attributes:
      max_p: no alert above this p-value.
      high_exposure_usd, critical_exposure_usd: list price from which a severity holds.
      high_accounts: cluster size from which a severity of at least high holds.
      known: what known texts say of a cluster.
    """

    max_p: float
    high_exposure_usd: float
    critical_exposure_usd: float
    high_accounts: int
    known: KnownPolicy = field(default_factory=KnownPolicy)

    def flags(self, p_value: float) -> bool:
        """Whether a p-value is small enough."""
        return p_value <= self.max_p

    def severity(self, p_value: float, exposure_usd: float, accounts: int) -> str:
        """One of SEVERITIES."""
        level = 0 if p_value > self.max_p / 3 else 1
        if accounts >= self.high_accounts or exposure_usd >= self.high_exposure_usd:
            level += 1
        if exposure_usd >= self.critical_exposure_usd:
            level += 1
        return SEVERITIES[min(level, len(SEVERITIES) - 1)]


def budgeted_max_p(
    max_p: float, pages_per_day: float, window_ms: int, tests_per_window: int
) -> float:
    """The p-value at which chance alone makes no more than `pages_per_day` alerts.

    Each window tests every account once; under the null a share p of the tests falls below p.
    """
    allowed = pages_per_day * window_ms / DAY_MS
    return min(max_p, allowed / max(tests_per_window, 1))


@dataclass(frozen=True, slots=True)
class AlertBudget:
    """The threshold that an alert budget leaves, which depends on the bundle's population.

    Attributes:
      max_p: never more than this.
      pages_per_day: alerts by chance that are allowed.
      window_ms: of a profile.
    """

    max_p: float
    pages_per_day: float
    window_ms: int

    def max_p_for(self, accounts: int) -> float:
        """The threshold with so many accounts in a window."""
        return budgeted_max_p(self.max_p, self.pages_per_day, self.window_ms, accounts)
