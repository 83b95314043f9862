"""Who may do what looks like distillation, by whose word, and until when."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from transforms.alerts.part import Part


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

    @field_validator("expires", mode="before")
    @classmethod
    def _to_its_end(cls, value: Any) -> Any:
        """A day holds to its end, as it does for a decision."""
        day = value if type(value) is date else None
        if isinstance(value, str):
            with suppress(ValueError):
                day = date.fromisoformat(value.strip())
        if day is None:
            return value
        start = datetime.combine(day, datetime.min.time(), UTC)
        return start + timedelta(days=1) if day < date.max else datetime.max.replace(tzinfo=UTC)

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
