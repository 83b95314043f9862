"""What other labs report, and how much it counts."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from pipelines.settings.base import DAY, SECOND, Duration, Section, as_tuple


class SourceConfig(Section):
    """A lab whose indicators are trusted, whichever feed brings them."""

    name: str = Field(
        description="of the lab, as the policy of sharing names it among those it trusts",
        min_length=1,
    )
    trust: float = Field(0.5, description="how much what it says counts", ge=0, le=1)
    tried_first: bool = Field(
        True,
        description="whether each of its indicators stays in quarantine until `distilwatch share "
        "try` has found it harmless; false only for labs that have proved themselves",
    )


class WatchConfig(Section):
    """What other labs report, looked for in our own traffic.

    Indicators of labs that are not named in `sources` stay in quarantine: they are seen, and
    change no score.
    """

    list: str | None = Field(
        None,
        description="watch list that `distilwatch share watch` makes; null: nothing is looked for",
    )
    refresh: Duration = Field(
        10 * SECOND,
        description="how often workers look whether the watch list has changed",
        ge=SECOND,
    )
    sources: Annotated[tuple[SourceConfig, ...], BeforeValidator(as_tuple)] = Field(
        (), description="labs that are trusted"
    )
    weight: float = Field(
        0.5,
        description="weight of a lab that is fully trusted, fresh and sure, against 1 of what we "
        "see ourselves",
        gt=0,
        le=1,
    )
    most_weight: float = Field(1.0, description="weight of all labs together, at most", gt=0, le=1)
    most_gain: float = Field(
        10.0,
        description="reports make the p-value of a cluster smaller by this factor at most",
        ge=1,
        le=1_000,
    )
    share_of_rate: float = Field(
        0.1,
        description="share of alerts.false_discovery_rate that is kept for clusters that trusted "
        "labs report, each lab's by its trust; the rest is for all clusters alike",
        gt=0,
        lt=1,
    )
    half_life: Duration = Field(
        30 * DAY, description="after so long an indicator counts half", ge=DAY
    )
    most_share: float = Field(
        0.01,
        description="an indicator that a larger share of a window's accounts carries is held back",
        gt=0,
        le=1,
    )
    most_source_share: float = Field(
        0.02,
        description="where the indicators of one lab together touch a larger share of accounts, "
        "the most common of them are held back",
        gt=0,
        le=1,
    )
    least_accounts: int = Field(
        20, description="what so few accounts carry is never held back", ge=0, le=100_000
    )
    least_members: int = Field(
        2, description="so many members of a cluster must carry what a lab reports", ge=2, le=1_000
    )

    likeness_max_p: float = Field(
        0.005,
        description="a cluster is taken to be like another lab's coverage sketch or behavioural "
        "signature when at most this share of benign groups of the history is as much like it",
        gt=0,
        le=0.2,
    )

    @property
    def refresh_ms(self) -> int:
        return self.refresh

    @property
    def half_life_ms(self) -> int:
        return self.half_life
