"""The triage pages: who may see and decide what, and how much."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from pipelines.settings.base import HOUR, MINUTE, SECOND, Duration, Section, as_tuple

Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            ip_network(value)
        except ValueError:
            raise ValueError(f"holds no address or network, such as 10.0.0.0/8: {value}") from None
    return values


class OidcConfig(Section):
    """Sign-in with OpenID Connect."""

    issuer: str = Field("", description="address of the provider, as it names itself")
    client_id: str = Field("", description="of this application at the provider")
    client_secret_env: str = Field(
        "DISTILWATCH_OIDC_SECRET", description="environment variable that holds the client's secret"
    )
    scopes: Names = Field(("openid", "email", "profile"), description="what is asked for")
    name_claim: str = Field("email", description="claim that names the person in decisions")
    groups_claim: str = Field("groups", description="claim that lists the person's groups")


class ProxyConfig(Section):
    """Sign-in by a proxy in front, which says in a header who it is."""

    trusted: Annotated[tuple[str, ...], BeforeValidator(as_tuple), AfterValidator(_networks)] = (
        Field((), description="addresses or networks of the proxy; headers of others are refused")
    )
    name_header: str = Field("X-Forwarded-Email", description="header with the person's name")
    groups_header: str = Field(
        "X-Forwarded-Groups", description="header with the person's groups, separated by commas"
    )


class RolesConfig(Section):
    """Who has which role, by group or by name; '*' is everybody who signed in. Groups are best
    written group:NAME: a person may have the name of a group, and would have its role.

    The highest counts; who has none is refused. Signing in locally is admin.
    """

    viewer: Names = Field(("*",), description="sees queue and cases")
    responder: Names = Field((), description="decides, and undoes own decisions, too")
    admin: Names = Field((), description="undoes any decision and reads the audit log, too")


class TriageConfig(Section):
    """The triage pages."""

    sign_in: Literal["local", "proxy", "oidc"] = Field(
        "local",
        description="local: whoever is on this machine, loopback addresses only; proxy: a header "
        "of a trusted proxy; oidc: OpenID Connect",
    )
    public_url: str = Field(
        "",
        description="address under which people reach the pages, such as "
        "https://triage.example.org; needed unless sign_in is local",
    )
    oidc: OidcConfig = Field(default_factory=OidcConfig)
    proxy: ProxyConfig = Field(default_factory=ProxyConfig)
    roles: RolesConfig = Field(default_factory=RolesConfig)
    session: Duration = Field(
        8 * HOUR, description="after so long one signs in anew", ge=MINUTE, le=168 * HOUR
    )
    session_secret_env: str = Field(
        "DISTILWATCH_TRIAGE_SECRET",
        description="environment variable with the secret that signs cookies, 32 letters or more; "
        "without it a new one is made at each start, and sessions end with the process",
    )
    refresh: Duration = Field(
        5 * SECOND, description="how old the queue may be before it is read anew", ge=SECOND
    )
    page_size: int = Field(50, description="clusters on a page of the queue", ge=5, le=500)
    pages_per_minute: int = Field(
        240, description="pages that one person may ask for in a minute", ge=1
    )
    decisions_per_minute: int = Field(
        30, description="decisions that one person may make in a minute", ge=1
    )
    sign_ins_per_minute: int = Field(
        20,
        description="times that one address may sign in in a minute; behind a proxy that "
        "is everybody together; as many requests of one who is refused are noted",
        ge=1,
    )
    audit_log: str = Field(
        "",
        description="file that says who did what; beside the tables, as NAME.audit.jsonl, by "
        "default",
    )
