"""Who is told of an alert: policies, channels and allowlists, from YAML into records.

Calibration and the control of false discoveries decide what is flagged. Policies come after: they
decide what of it makes an alert, how grave, for whom, with which runbook. They are data, so that
they can be reviewed, tested as content, and tried on the past before they go live.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas.errors import DistilwatchError
from transforms.alerts.policy import SEVERITIES

Severity = Literal["low", "medium", "high", "critical"]
PACKAGED = Path(__file__).parent / "policies"


class Part(BaseModel):
    """Frozen, and an unknown name is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AnyOf(Part):
    """Holds where one of the values is there."""

    any_of: tuple[str, ...] = Field(min_length=1)

    def holds(self, values: Iterable[str]) -> bool:
        """Whether a value matches; `*` stands for anything."""
        return any(fnmatchcase(value, wanted) for value in values for wanted in self.any_of)


class NoneOf(Part):
    """Holds where none of the values is there."""

    none_of: tuple[str, ...] = Field(min_length=1)

    def holds(self, values: Iterable[str]) -> bool:
        """Whether no value matches; `*` stands for anything."""
        return not any(fnmatchcase(value, wanted) for value in values for wanted in self.none_of)


class Between(Part):
    """Holds for a number within bounds; a number that is not known is in none."""

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float | None) -> bool:
        """Whether it is within."""
        if value is None:
            return False
        low = self.at_least is None or value >= self.at_least
        return low and (self.at_most is None or value <= self.at_most)


Words = AnyOf | NoneOf


class When(Part):
    """Which flagged clusters; all that is given must hold, by columns of `flagged_clusters`."""

    severity: Words | None = None
    tactics: Words | None = None
    capabilities: Words | None = Field(None, description="names of those that it clearly took")
    known_texts: Words | None = Field(None, description="names or kinds of collections")
    links: Words | None = Field(None, description="kinds of things that members share")
    account_count: Between | None = None
    payment_count: Between | None = None
    request_count: Between | None = None
    exposure_usd: Between | None = None
    p_value: Between | None = None
    q_value: Between | None = None

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of `flagged_clusters` is meant."""
        for name in type(self).model_fields:
            condition = getattr(self, name)
            if condition is None:
                continue
            seen = row.get(name) if isinstance(condition, Between) else _words(row, name)
            if not condition.holds(seen):
                return False
        return True


def _words(row: Mapping[str, Any], name: str) -> list[str]:
    value = row.get(name)
    if name == "severity":
        return [str(value)]
    if name == "capabilities":
        return [str(c["name"]) for c in value or () if c["taken"]]
    if name == "known_texts":
        return [str(t[field]) for t in value or () for field in ("name", "kind")]
    if name == "links":
        return [str(link["kind"]) for link in value or ()]
    return [str(word) for word in value or ()]


class SeverityRule(Part):
    """How grave: as the cluster is, within bounds."""

    at_least: Severity = "low"
    at_most: Severity = "critical"

    def of(self, severity: str) -> str:
        """The alert's severity for a cluster's."""
        rank = SEVERITIES.index
        level = min(max(rank(severity), rank(self.at_least)), rank(self.at_most))
        return SEVERITIES[level]


class Budget(Part):
    """How much a policy may ask of people; what is beyond is told in one message of a storm."""

    alerts_per_day: int = Field(ge=1, le=10_000, description="told one by one, in 24 hours")
    storm_alerts: int = Field(5, ge=1, le=1_000, description="told one by one, in storm_minutes")
    storm_minutes: int = Field(60, ge=1, le=1_440)


class Growth(Part):
    """When an open alert is told again at the same severity."""

    accounts: float = Field(2.0, gt=1, description="times the accounts that were told of")
    exposure: float = Field(3.0, gt=1, description="times the exposure that was told of")


class Policy(Part):
    """A policy; see `docs/alerts.md`."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{2,59}$")
    description: str = Field(min_length=20)
    when: When
    makes: Literal["alert", "nothing"] = "alert"
    severity: SeverityRule = SeverityRule()
    audience: str = Field(pattern=r"^[a-z][a-z0-9-]{1,39}$")
    owner: str = Field(min_length=2, description="team that keeps the policy")
    runbook: str = Field(min_length=3, description="page and heading, below alerts.runbook_url")
    check: tuple[str, ...] = Field(min_length=1, max_length=4, description="first things to check")
    false_positives: tuple[str, ...] = Field(min_length=1)
    known_gaps: tuple[str, ...] = Field(min_length=1)
    budget: Budget
    tell_again: Growth = Growth()

    @property
    def version(self) -> str:
        """Digest of all that it says, 12 hex digits."""
        return blake2b(self.model_dump_json().encode(), digest_size=6).hexdigest()


class Policies(Part):
    """All policies of a house; the first of the gravest that match makes the alert.

    A policy that makes nothing wins over all others: it says what is none of anybody's business.
    """

    policies: tuple[Policy, ...]

    def of(self, row: Mapping[str, Any]) -> tuple[Policy, str] | None:
        """The policy that a cluster's row falls under, and the severity of its alert."""
        matching = [policy for policy in self.policies if policy.when.holds(row)]
        if not matching or any(policy.makes == "nothing" for policy in matching):
            return None
        graded = [(policy, policy.severity.of(str(row["severity"]))) for policy in matching]
        return max(graded, key=lambda pair: SEVERITIES.index(pair[1]))

    def named(self, name: str) -> Policy | None:
        """The policy of a name."""
        return next((policy for policy in self.policies if policy.name == name), None)


class Secret(Part):
    """Where a secret is to be found; never the secret itself."""

    env: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("give either env or file")
        return self


class SlackChannel(Part):
    """Slack: an incoming webhook, or a bot's token, which can keep an alert in one thread."""

    kind: Literal["slack"]
    webhook: Secret | None = None
    token: Secret | None = None
    channel: str | None = None
    url: str = "https://slack.com/api"

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
    url: str = "https://events.pagerduty.com"


class WebhookChannel(Part):
    """Anything that takes JSON, signed as Standard Webhooks has it."""

    kind: Literal["webhook"]
    url: str
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


class Allowed(Part):
    """Accounts or clusters that may do what looks like distillation, until a day."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{2,59}$")
    kind: Literal["contract", "evaluator", "red_team", "other"]
    owner: str = Field(min_length=2)
    reason: str = Field(min_length=5)
    expires: datetime
    accounts: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    least_share: float = Field(0.8, gt=0, le=1, description="of a cluster's accounts, listed here")

    @field_validator("expires")
    @classmethod
    def _utc(cls, value: datetime) -> datetime:
        return value if value.tzinfo else value.replace(tzinfo=UTC)

    @model_validator(mode="after")
    def _something(self) -> Allowed:
        if not self.accounts and not self.clusters:
            raise ValueError("name accounts or clusters; an entry for everything is none")
        if any(not pattern.strip("*?") for pattern in self.accounts):
            raise ValueError("a pattern that fits every account is not allowed")
        return self

    def covers(self, cluster_id: str, accounts: Iterable[str], at_ms: int) -> bool:
        """Whether a cluster is meant, at a time in milliseconds UTC."""
        if at_ms >= self.expires.timestamp() * 1000:
            return False
        if cluster_id in self.clusters:
            return True
        names = list(accounts)
        hits = sum(any(fnmatchcase(n, pattern) for pattern in self.accounts) for n in names)
        return bool(hits) and hits >= self.least_share * len(names)


class Allowlist(Part):
    """All entries."""

    allow: tuple[Allowed, ...] = ()

    def entry_for(self, cluster_id: str, accounts: Iterable[str], at_ms: int) -> Allowed | None:
        """The first entry that covers a cluster."""
        names = list(accounts)
        return next((a for a in self.allow if a.covers(cluster_id, names, at_ms)), None)


M = TypeVar("M", bound=Part)


def read_policies(folder: Path | None, packaged: bool = True) -> Policies:
    """Policies of a folder of YAML files over those that come with distilwatch.

    A policy of the folder replaces the packaged one of the same name.

    Raises:
      DistilwatchError: naming file and place of the first mistake.
    """
    found: dict[str, Policy] = {}
    folders = [*([PACKAGED] if packaged else []), *([folder] if folder is not None else [])]
    for own in folders:
        if not own.is_dir():
            raise DistilwatchError("there is no such folder of policies", str(own), "make it")
        here: dict[str, Path] = {}
        for path in sorted(own.glob("*.y*ml")):
            policy = read_part(path, Policy)
            if policy.name in here:
                raise DistilwatchError(
                    f"the policy {policy.name} is in {here[policy.name].name} as well",
                    str(path),
                    "name one of them otherwise",
                )
            here[policy.name] = path
            found[policy.name] = policy
    return Policies(policies=tuple(found.values()))


def read_part(path: Path, model: type[M]) -> M:
    """A YAML file as a record.

    Raises:
      DistilwatchError: the file is missing, no YAML, or does not fit.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return model.model_validate({} if raw is None else raw)
    except OSError as error:
        raise DistilwatchError(
            f"the file cannot be read: {error.strerror}", str(path), "check its path"
        ) from error
    except UnicodeDecodeError as error:
        raise DistilwatchError(
            "the file is not UTF-8 text", str(path), "save it as UTF-8"
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise DistilwatchError(f"this is not YAML: {error}", str(path), "mend it") from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in detail['loc']) or 'the file'}: {detail['msg']}"
            for detail in error.errors(include_url=False, include_input=False)
        )
        raise DistilwatchError(
            wrong, str(path), "see docs/alerts.md for what belongs there"
        ) from None
    except ValueError as error:  # of YAML's own times, such as 2026-13-45
        raise DistilwatchError(f"a value that is none: {error}", str(path), "mend it") from error
