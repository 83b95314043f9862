"""Policies: which flagged clusters make an alert, how grave, for whom, with which runbook.

Calibration and the control of false discoveries decide what is flagged. Policies come after. They
are data, so that they can be reviewed, tested as content, and tried on the past before they go
live.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from schemas.errors import DistilwatchError
from transforms.alerts.part import Part, Severity, read_part
from transforms.alerts.policy import SEVERITIES
from transforms.alerts.when import When

PACKAGED = Path(__file__).parent / "policies"


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
