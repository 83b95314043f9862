"""What may leave to whom, and whom to listen to: the policy of sharing, a file of its own.

It is no part of the settings of the pipelines, because other people decide on it, and the log of
sharing records its hash with everything that leaves.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipelines.settings.base import DAY, Duration, Section, as_tuple

Kind = Literal[
    "prefix_scaffold",
    "suffix_scaffold",
    "opening_sentence",
    "closing_sentence",
    "network",
    "client",
    "behaviour",
    "coverage",
]
Marking = Literal["clear", "green", "amber", "amber+strict", "red"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,99}$")]


class TaxiiConfig(Section):
    """A collection of a TAXII 2.1 server; secrets are in the environment."""

    url: str = Field(description="of the collection, https://server/root/collections/ID/")
    user_env: str = Field("", description="variable with the user's name")
    password_env: str = Field("", description="variable with the password")
    token_env: str = Field("", description="variable with an API token, instead of both")
    ca_file: str = Field("", description="certificates to trust; the system's own without")


class RecipientConfig(Section):
    """What may leave to one recipient."""

    kinds: Annotated[tuple[Kind, ...], BeforeValidator(as_tuple)] = Field(
        description="kinds of indicators it may have", min_length=1
    )
    taxii: TaxiiConfig | None = Field(None, description="where to publish; a file only, without")
    marking: Marking = Field("amber+strict", description="that everything gets")
    least_confidence: int = Field(60, description="nothing below it leaves", ge=0, le=100)
    valid_for: Duration = Field(
        30 * DAY, description="how long indicators hold", gt=0, le=730 * DAY
    )
    epsilon: float = Field(1.0, description="of one coverage sketch", gt=0, le=20)
    tactics: bool = Field(False, description="whether names of what it seems to do may leave")
    two_people: bool = Field(
        True, description="whether who approves must be another than who proposes"
    )


class LimitsConfig(Section):
    """What never leaves to anybody, whatever a recipient may have."""

    least_accounts: int = Field(5, description="clusters with fewer give nothing", ge=2)
    least_members: int = Field(3, description="members that must have a shared thing", ge=2)
    most_others_scaffold: int = Field(
        2, description="accounts outside the cluster that may share a wording", ge=0
    )
    most_others_network: int = Field(
        0, description="accounts outside the cluster that may share a network", ge=0
    )
    most_others_client: int = Field(
        0, description="accounts outside the cluster that may share a client", ge=0
    )
    networks_in_clear: bool = Field(
        False,
        description="whether networks may leave as indicators at all: all can be tried, so a hash "
        "hides none of them. Without it they are only matched privately",
    )
    delta: float = Field(1e-6, description="of coverage sketches", gt=0, le=1e-3)
    epsilon_total: float = Field(
        4.0, description="for each account, over all coverage sketches ever made", gt=0, le=50
    )


class FeedConfig(Section):
    """A collection that is listened to."""

    taxii: TaxiiConfig
    trusted: dict[Name, str] = Field(
        description="lab to its public key, a PEM file; nobody else is believed", min_length=1
    )
    strictest: Marking = Field("amber+strict", description="marking that it may carry at most")


class SharingPolicy(Section):
    """The file as a whole."""

    lab: Name = Field(description="our name, as others know us")
    signing_key: str = Field("", description="Ed25519, PEM; this user's own without")
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    recipients: dict[Name, RecipientConfig] = Field(default_factory=dict)
    feeds: dict[Name, FeedConfig] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _networks(self) -> SharingPolicy:
        given = sorted(name for name, to in self.recipients.items() if "network" in to.kinds)
        if given and not self.limits.networks_in_clear:
            raise ValueError(
                f"{given[0]} would get networks, whose hashes hide nothing: match them with "
                "`distilwatch share match --kind network`, or set limits.networks_in_clear"
            )
        return self
