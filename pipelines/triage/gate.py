"""Before any page: who asks, how often, and whether a form is ours."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.triage.audit import AuditLog
from pipelines.triage.auth import Refused, SignIn
from pipelines.triage.limits import Limits
from pipelines.triage.pages import page

OPEN = ("/static/", "/sign-in", "/healthz")
"""Addresses for everybody."""
_LONGEST_PATH = 200


class Gate:
    """Lets a request pass with `request.state.person`, or answers itself."""

    def __init__(self, app: ASGIApp, sign_in: SignIn, limits: Limits, audit: AuditLog) -> None:
        self._app = app
        self._sign_in = sign_in
        self._limits = limits
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OPEN):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = self._stop(request)
        await (answer or self._app)(scope, receive, send)

    def _stop(self, request: Request) -> Response | None:
        try:
            person = self._sign_in.who(request)
        except Refused as refused:
            # Of who is refused there may be any number of requests; that is not to fill the disk.
            address = address_of(request)
            wait = self._limits.wait("refused", f"{address} {refused.who}")
            if wait:
                return slow_down(request, wait)
            self._audit.note("refused", address, path=short_path(request), why=str(refused))
            return error_page(request, 403, str(refused), "ask whoever runs these pages")
        if person is None:
            if request.method != "GET":
                return error_page(request, 401, "you are signed out", "sign in, then do it again")
            then = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"{self._sign_in.page}?{urlencode({'then': then})}", 303)
        request.state.person = person
        wait = self._limits.wait("page", person.name)
        if wait:
            return slow_down(request, wait)
        return None


def address_of(connection: HTTPConnection) -> str:
    """The address that a connection comes from."""
    return connection.client.host if connection.client else ""


def short_path(request: Request) -> str:
    """The path that is asked for, as far as it is written down."""
    return request.url.path[:_LONGEST_PATH]


def error_page(request: Request, status: int, what: str, mend: str) -> Response:
    """Says what is wrong, and how to mend it."""
    return page(request, "error.html.j2", status, what=what[:1].upper() + what[1:], mend=mend)


def slow_down(request: Request, wait: int) -> Response:
    """Says when to try again."""
    answer = error_page(request, 429, "that was too often", f"try again in {wait} seconds")
    answer.headers["Retry-After"] = str(wait)
    return answer


def path_of_ours(path: str) -> str:
    """A path of ours; whatever else it is becomes the queue."""
    try:
        parts = urlsplit(path)
    except ValueError:
        return "/"
    ours = not parts.scheme and not parts.netloc and path.startswith("/")
    return path if ours and "\\" not in path and not path.startswith("//") else "/"
