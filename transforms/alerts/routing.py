"""Where alerts are told: channels, routes to them, and hours in which they wait."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from schemas.errors import DistilwatchError
from transforms.alerts.part import Part, Severity
from transforms.alerts.policy import SEVERITIES


class Secret(Part):
    """Where a secret is to be found; never the secret itself."""

    env: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("give either env or file")
        return self


def _http(url: str) -> str:
    """An address that can be posted to; what is wrong is said without it, for it may be secret."""
    try:
        parts = urlsplit(url)
        there = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # of brackets that hold no address, and ports that are none
        there = False
    if not there:
        raise ValueError("is no address such as https://host/path")
    return url


HttpUrl = Annotated[str, AfterValidator(_http)]


class SlackChannel(Part):
    """Slack: an incoming webhook, or a bot's token, which can keep an alert in one thread."""

    kind: Literal["slack"]
    webhook: Secret | None = None
    token: Secret | None = None
    channel: str | None = None
    url: HttpUrl = "https://slack.com/api"

    @model_validator(mode="after")
    def _one_way(self) -> SlackChannel:
        if (self.webhook is None) == (self.token is None):
            raise ValueError("give either webhook or token")
        if self.token is not None and not self.channel:
            raise ValueError("a token needs a channel")
        return self


class PagerDutyChannel(Part):
    """PagerDuty, Events API v2."""

    kind: Literal["pagerduty"]
    routing_key: Secret
    url: HttpUrl = "https://events.pagerduty.com"


class WebhookChannel(Part):
    """Anything that takes JSON, signed as Standard Webhooks has it."""

    kind: Literal["webhook"]
    url: HttpUrl
    secret: Secret


class EmailChannel(Part):
    """E-mail over SMTP."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    kind: Literal["email"]
    host: str
    port: int = Field(587, ge=1, le=65_535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: Secret | None = None
    sender: str = Field(alias="from")
    to: tuple[str, ...] = Field(min_length=1)
    ca_file: str | None = None


class KafkaChannel(Part):
    """A Kafka topic."""

    kind: Literal["kafka"]
    uri: str

    @field_validator("uri")
    @classmethod
    def _of_a_topic(cls, uri: str) -> str:
        from transforms.ingest.kafka_uri import parse_kafka_uri

        try:
            parse_kafka_uri(uri)
        except DistilwatchError as error:
            raise ValueError(f"{error.what}: {error.mend}") from None
        return uri


AnyChannel = Annotated[
    SlackChannel | PagerDutyChannel | WebhookChannel | EmailChannel | KafkaChannel,
    Field(discriminator="kind"),
]


class Route(Part):
    """Which channels an audience is told on."""

    audience: str = "*"
    severity: tuple[Severity, ...] = SEVERITIES  # type: ignore[assignment]
    channels: tuple[str, ...] = Field(min_length=1)


class QuietHours(Part):
    """Hours in which alerts of some severities wait."""

    severity: tuple[Severity, ...] = Field(min_length=1)
    begin: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    end: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    zone: str = "UTC"

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{zone!r} is no time zone such as Europe/Berlin") from None
        return zone

    def over_at(self, severity: str, now_ms: int) -> int:
        """When an alert may be told, in milliseconds UTC: now, or at the end of these hours."""
        if severity not in self.severity:
            return now_ms
        here = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(self.zone))
        for day in (-1, 0):
            start, stop = (
                datetime.combine(
                    here.date() + timedelta(days=day + later),
                    datetime.strptime(text, "%H:%M").time(),
                    here.tzinfo,
                )
                for text, later in ((self.begin, 0), (self.end, int(self.end <= self.begin)))
            )
            if start <= here < stop:
                return round(stop.timestamp() * 1000)
        return now_ms


class Channels(Part):
    """Channels, routes to them, and quiet hours."""

    channels: dict[str, AnyChannel] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    quiet_hours: tuple[QuietHours, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> Channels:
        for route in self.routes:
            for name in route.channels:
                if name not in self.channels:
                    near = difflib.get_close_matches(name, self.channels, n=1)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    raise ValueError(
                        f"a route names the channel {name!r}, which there is not{hint}"
                    )
        return self

    def of(self, audience: str, severity: str) -> tuple[str, ...]:
        """Names of the channels on which an audience is told, in their order, each once."""
        names = (
            name
            for route in self.routes
            if fnmatchcase(audience, route.audience) and severity in route.severity
            for name in route.channels
        )
        return tuple(dict.fromkeys(names))

    def not_before(self, severity: str, now_ms: int) -> int:
        """When an alert may be told, in milliseconds UTC."""
        return max((q.over_at(severity, now_ms) for q in self.quiet_hours), default=now_ms)
