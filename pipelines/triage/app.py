"""Which page is at which address, and what stands before it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from pipelines.settings.triage import TriageConfig
from pipelines.triage.audit import AuditLog
from pipelines.triage.auth import Refused, SessionSignIn, sign_in_of
from pipelines.triage.bodies import BodyLimit
from pipelines.triage.case import Cases
from pipelines.triage.failures import FAILURES
from pipelines.triage.gate import Gate, address_of, path_of_ours, slow_down
from pipelines.triage.handlers import Triage
from pipelines.triage.headers import SecurityHeaders
from pipelines.triage.house import House
from pipelines.triage.house_pages import HousePages
from pipelines.triage.limits import Limits
from pipelines.triage.page_spans import PageSpans
from pipelines.triage.pages import assets, page
from pipelines.triage.queue import Queue
from pipelines.triage.store import Store
from schemas.errors import DistilwatchError

_LEAST_SECRET = 32


def make_app(
    store: Store, config: TriageConfig, audit: AuditLog, house: House | None = None
) -> ASGIApp:
    """The application, after reading the tables once.

    Args:
      store: to show.
      config: who may do what.
      audit: where it is noted.
      house: what it has decided beforehand; None for the usual.

    Raises:
      DistilwatchError: when a secret is missing or too short, or the tables cannot be read.
    """
    house = house or House()
    queue = Queue(store, config.refresh / 1000, house.quiet)
    queue.refresh()
    limits = Limits(config)
    cases = Cases(store, queue, house, config.public_url)
    triage = Triage(store, queue, cases, config, audit, limits)
    about = HousePages(triage, house)
    routes = [
        Route("/", triage.show_queue),
        # Where a message about many alerts leads, which has no cluster of its own.
        Route("/case/", lambda request: RedirectResponse("/")),
        Route("/case/{cluster_id}", triage.show_case),
        Route("/case/{cluster_id}/file", triage.show_file),
        Route("/case/{cluster_id}/decide", triage.decide, methods=["POST"]),
        Route("/case/{cluster_id}/undo", triage.undo, methods=["POST"]),
        Route("/audit", triage.show_audit),
        Route("/policies", about.show_policies),
        Route("/quiet", about.show_quiet),
        Route("/messages", about.show_messages),
        Route("/messages/replay", about.replay, methods=["POST"]),
        Route("/runbook", about.show_runbook),
        Route("/runbook/{page:path}", about.show_runbook),
        Route("/keys", triage.show_keys),
        Route("/theme", triage.set_theme, methods=["POST"]),
        Route("/sign-out", triage.sign_out, methods=["POST"]),
        Route("/healthz", lambda request: PlainTextResponse("ok\n")),
        Route("/static/{name}", _static),
    ]
    if config.sign_in == "oidc":
        routes += _oidc(config, audit, limits)
    secure = config.public_url.startswith("https:")
    host = urlsplit(config.public_url).hostname
    hosts = [host] if host else ["127.0.0.1", "localhost", "::1"]
    # What is left of [::1] when Starlette cuts at the first colon. No name can be such an address.
    hosts = ["[" if ":" in one else one for one in hosts]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(PageSpans),
            # A page of elsewhere whose name points here now must not read ours (DNS rebinding).
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
            Middleware(
                SessionMiddleware,
                secret_key=_secret(config),
                session_cookie="__Host-triage" if secure else "triage",
                max_age=config.session // 1000,
                same_site="lax",  # strict would lose it on the way back from the provider
                https_only=secure,
            ),
            Middleware(Gate, sign_in=sign_in_of(config), limits=limits, audit=audit),
            # After the gate: who is none of ours is told so first, and nothing of theirs is read.
            Middleware(BodyLimit),
        ],
        exception_handlers=FAILURES,
    )
    return SecurityHeaders(app, secure)  # around all, so that answers to errors have them, too


def audit_path(config: TriageConfig, tables: Path | None) -> Path:
    """Where the audit log goes: beside local tables, unless the settings say otherwise."""
    if config.audit_log:
        return Path(config.audit_log)
    if tables is None:
        return Path("distilwatch-triage.audit.jsonl")
    return tables.with_name(f"{tables.stem}.audit.jsonl")


def _secret(config: TriageConfig) -> str:
    found = os.environ.get(config.session_secret_env, "")
    if found and len(found) < _LEAST_SECRET:
        raise DistilwatchError(
            f"the secret that signs cookies is shorter than {_LEAST_SECRET} letters",
            f"environment variable {config.session_secret_env}",
            "make one with `openssl rand -hex 32`",
        )
    return found or secrets.token_urlsafe(48)


def _oidc(config: TriageConfig, audit: AuditLog, limits: Limits) -> list[Route]:
    from pipelines.triage.oidc import BACK, Provider  # brings much along

    provider = Provider(config)

    async def begin(request: Request) -> Response:
        if request.query_params.get("out"):
            return page(request, "signed_out.html.j2")
        wait = limits.wait("sign-in", address_of(request))
        if wait:
            return slow_down(request, wait)
        return await provider.begin(request, path_of_ours(request.query_params.get("then", "/")))

    async def finish(request: Request) -> Response:
        wait = limits.wait("sign-in", f"{address_of(request)} back")
        if wait:
            return slow_down(request, wait)
        try:
            person, then = await provider.finish(request)
        except Refused as refused:
            SessionSignIn.forget(request.session)
            audit.note("sign-in refused", address_of(request), why=str(refused))
            raise
        # Whose line cannot be written is not signed in.
        address = address_of(request)
        audit.note("signed in", person.name, sure=True, role=person.role, address=address)
        SessionSignIn.begin(request.session, person, config.session / 1000)
        return RedirectResponse(then, status_code=303)

    return [Route("/sign-in", begin), Route(BACK, finish)]


def _static(request: Request) -> Response:
    found = assets().get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    body, kind = found
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(body, media_type=kind, headers=headers)
