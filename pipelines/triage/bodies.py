"""No more of a request is read than the largest of our forms needs."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.triage.gate import error_page

MOST_BYTES = 2_000_000
"""Of a body: a split that marks 20,000 accounts, each a hash of 64 letters, has 1.5 MB."""
MOST_FIELDS = 25_000
"""Of a form: 2 MB of fields without a name take seconds, in which nobody else is answered."""
_WHAT = (
    f"more was sent than the {MOST_BYTES // 1_000_000} MB and {MOST_FIELDS:,} fields "
    "that a form may have"
)
_MEND = "mark fewer accounts at once"
# The rest of it is of no use: the connection ends, and nobody has to read it.
_LAST = {"Connection": "close"}


class BodyLimit:
    """Refuses what is too long with 413, before it is read where its length is told, and where it
    is not, or is a lie, as soon as too much has come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        told = request.headers.get("content-length", "")
        if told.isdecimal() and (len(told) > len(str(MOST_BYTES)) or int(told) > MOST_BYTES):
            answer = error_page(request, 413, _WHAT, _MEND)
            answer.headers.update(_LAST)
            await answer(scope, receive, send)
            return
        come = fields = 0

        async def counted() -> Message:
            nonlocal come, fields
            message = await receive()
            body = message.get("body", b"")
            come += len(body)
            fields += body.count(b"&") + body.count(b";")
            if come > MOST_BYTES or fields > MOST_FIELDS:
                raise HTTPException(413, f"{_WHAT}\n{_MEND}", _LAST)
            return message

        await self._app(scope, counted, send)
