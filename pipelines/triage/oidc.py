"""Signing in with OpenID Connect: authorization code with PKCE, state and nonce, by Authlib."""

from __future__ import annotations

import os
from typing import Any

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response

from pipelines.settings.triage import TriageConfig
from pipelines.triage.auth import Refused, person_of
from pipelines.triage.people import Person
from schemas.errors import DistilwatchError

BACK = "/sign-in/back"
# A token that does not hold is a JoseError, settings of the provider that lack an address are a
# RuntimeError or KeyError.
_WRONG = (AuthlibBaseError, JoseError, httpx.HTTPError, ValueError, KeyError, RuntimeError)


class Provider:
    """The provider that people sign in at."""

    def __init__(self, config: TriageConfig) -> None:
        """Raises DistilwatchError when the client's secret is not in the environment."""
        secret = os.environ.get(config.oidc.client_secret_env, "")
        if not secret:
            raise DistilwatchError(
                "the client's secret for OpenID Connect is missing",
                f"environment variable {config.oidc.client_secret_env}",
                "set it to the secret that the provider gave for triage.oidc.client_id",
            )
        self._config = config
        oauth = OAuth()
        oauth.register(
            "provider",
            client_id=config.oidc.client_id,
            client_secret=secret,
            server_metadata_url=config.oidc.issuer.rstrip("/")
            + "/.well-known/openid-configuration",
            client_kwargs={
                "scope": " ".join(config.oidc.scopes),
                "code_challenge_method": "S256",
            },
        )
        self._client = oauth.create_client("provider")

    async def begin(self, request: Request, then: str) -> Response:
        """Sends a browser to the provider.

        Args:
          request: of the sign-in page.
          then: path to go to afterwards.

        Raises:
          Refused: when the sign-in provider cannot be reached.
        """
        request.session["then"] = then
        try:
            found: Response = await self._client.authorize_redirect(
                request, self._config.public_url.rstrip("/") + BACK
            )
        except _WRONG as problem:
            raise Refused(
                f"the sign-in provider cannot be reached ({type(problem).__name__})"
            ) from None
        return found

    async def finish(self, request: Request) -> tuple[Person, str]:
        """Takes a browser back: checks what the provider says; who it is, and where to they go.

        Raises:
          Refused: when it says no, or what it says does not hold, or the person has no role.
        """
        then = request.session.get("then", "/")
        try:
            token = await self._client.authorize_access_token(request)
            claims: dict[str, Any] = dict(token.get("userinfo") or {})
            if self._config.oidc.groups_claim not in claims:
                more = dict(await self._client.userinfo(token=token))
                # The two must speak of the same person (OpenID Connect Core, 5.3.2).
                if more.get("sub") == claims.get("sub"):
                    claims = more | claims
        except _WRONG as problem:
            raise Refused(f"signing in failed ({type(problem).__name__})") from None
        issuer, named = self._config.oidc.issuer.rstrip("/"), str(claims.get("iss", ""))
        if named.rstrip("/") != issuer:
            raise Refused("signing in failed (another issuer)")
        name = claims.get(self._config.oidc.name_claim)
        if not isinstance(name, str):
            raise Refused(f"the provider sends no {self._config.oidc.name_claim}")
        # Some providers say it as a text. One that says nothing of it is believed.
        verified = claims.get("email_verified", True)
        if self._config.oidc.name_claim == "email" and verified is not True and verified != "true":
            raise Refused("the provider has not verified that e-mail address")
        groups = claims.get(self._config.oidc.groups_claim) or []
        groups = [groups] if isinstance(groups, str) else [str(group) for group in groups]
        return person_of(name, groups, self._config, "oidc"), then
