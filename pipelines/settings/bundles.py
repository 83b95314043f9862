"""Bundles that change while a stream runs."""

from __future__ import annotations

from pydantic import Field

from pipelines.settings.base import SECOND, Duration, Section


class BundlesConfig(Section):
    """Changing the bundle of a running stream, where --bundle is a folder with a pointer."""

    watch_every: Duration = Field(
        10 * SECOND, description="how often the pointer is looked at", ge=SECOND
    )
    trial_items: int = Field(
        400,
        description="sessions, accounts and clusters, each, that were scored last, which a new "
        "bundle is tried on",
        ge=10,
        le=5_000,
    )
    trial_min_items: int = Field(
        50,
        description="with fewer of any kind that kind is not looked at, and with none that has "
        "as many the new bundle waits",
        ge=1,
        le=5_000,
    )
    trial_p: float = Field(
        0.05,
        description="an item with a p-value up to this is suspicious in a trial; so is one up to "
        "alerts.max_p",
        gt=0,
        lt=1,
    )
    max_factor: float = Field(
        3.0,
        description="a new bundle is refused when its share of suspicious items is that many times "
        "the present one's, or less than that part of it",
        gt=1,
        le=1_000,
    )
    slack: float = Field(
        0.03, description="difference of these shares that is allowed in any case", ge=0, lt=1
    )

    max_alert_rate: float = Field(
        0.5,
        description="a new bundle is refused when a larger share of what it is tried on has a "
        "p-value up to alerts.max_p, even if the present one's share is as large",
        gt=0,
        le=1,
    )

    @property
    def watch_every_ms(self) -> int:
        return self.watch_every
