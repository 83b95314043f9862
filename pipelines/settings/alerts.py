"""What is flagged, and how grave it is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.settings.base import Section


class SeverityConfig(Section):
    """What makes a flagged cluster grave; a small p-value alone makes it at most medium."""

    high_exposure_usd: float = Field(
        1_000.0, description="list price, in US dollars, from which it is a level graver", ge=0
    )
    critical_exposure_usd: float = Field(
        20_000.0, description="list price, in US dollars, from which it is two levels graver", ge=0
    )
    high_accounts: int = Field(
        10, description="accounts from which it is a level graver", ge=1, le=1_000_000
    )


class KnownTextsConfig(Section):
    """What a cluster is called by the collections of known texts that its requests are from."""

    replay_share: float = Field(
        0.2,
        description="share of its requests that are in collections of kind extraction from which "
        "it is called a replay",
        gt=0,
        le=1,
    )
    benchmark_share: float = Field(
        0.8,
        description="share of its requests that are in collections of kind benchmark from which it "
        "is called an evaluation, and its alert is of low severity unless it is a replay as well",
        gt=0,
        le=1,
    )
    min_requests: int = Field(
        20, description="a cluster with fewer requests is called neither", ge=1, le=1_000_000
    )


class ReopenConfig(Section):
    """When a cluster that was dismissed or permitted alerts all the same: enough accounts are new,
    or its severity is graver, or its exposure has grown; of what was permitted, only accounts
    count."""

    new_share: float = Field(
        0.5, description="new accounts over those that were looked at, from which it does", gt=0
    )
    new_accounts: int = Field(3, description="and at least so many of them", ge=1)
    exposure_times: float = Field(
        3.0, description="exposure over what was looked at, from which it does", gt=1
    )
    exposure_usd: float = Field(
        1_000.0, description="and at least so much more, in US dollars", ge=0
    )


class AlertsConfig(Section):
    """What is flagged, how many pages a day people get at most, and who is told of it."""

    max_p: float = Field(
        0.01, description="a cluster or account above this p-value is not flagged", gt=0, le=1
    )
    pages_per_day: float = Field(
        20.0,
        description="so many alerts a day may come from chance alone; max_p is made smaller where "
        "that is needed",
        gt=0,
        le=100_000,
    )
    severity: SeverityConfig = Field(
        default_factory=SeverityConfig, description="what makes an alert grave"
    )
    control: Literal["budget", "discoveries", "both"] = Field(
        "both",
        description="what decides below max_p: the budget, the false discovery rate, or both",
    )
    false_discovery_rate: float = Field(
        0.2,
        description="share of false ones among all that is flagged, at most, over the windows of a "
        "run, as far as p-values keep what they promise",
        gt=0,
        lt=1,
    )
    known_texts: KnownTextsConfig = Field(
        default_factory=KnownTextsConfig, description="what ingest.known_texts say of a cluster"
    )
    policies: str | None = Field(
        None,
        description="folder of policies, YAML, over those that come with distilwatch; a policy of "
        "the same name replaces one of those. docs/alerts.md",
    )
    channels: str | None = Field(
        None,
        description="file of channels, routes and quiet hours, YAML; null: alerts are written to "
        "the table alerts, and nobody is told",
    )
    allow: str | None = Field(
        None, description="file of who may do what looks like distillation, until when, YAML"
    )
    case_url: str = Field(
        "",
        description="link to the case in messages, with {cluster_id} and {alert_id} in it",
    )
    runbook_url: str = Field(
        "docs/{runbook}",
        description="link to the runbook in messages, with {runbook} in it; the triage pages show "
        "the one that comes with distilwatch, at /runbook/{runbook}, unless this leads elsewhere",
    )
    book: str | None = Field(
        None,
        description="file that remembers alerts and what is still to be sent; null: beside the "
        "first local output, as out.duckdb.alerts",
    )
    attempts: int = Field(
        210,
        description="how often a message is tried before it is dead; with waits of up to 15 "
        "minutes 210 last a day at least, and two days at most",
        ge=1,
        le=1_000,
    )
    reopen: ReopenConfig = Field(
        default_factory=ReopenConfig,
        description="when a cluster that was dismissed or permitted alerts all the same",
    )
