"""A span for each page, by the name of what answers; its address would have a cluster's id."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from transforms.spans import span

_NO_PAGES = ("/healthz", "/static/")


class PageSpans:
    """Tells how long each page takes, and how it ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_NO_PAGES):
            await self._app(scope, receive, send)
            return
        with span("page", method=scope["method"]) as about:

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    about["status"] = message["status"]
                await send(message)

            try:
                await self._app(scope, receive, answer)
            finally:  # which page it was is asked most of one that failed
                about["page"] = getattr(scope.get("endpoint"), "__name__", "none")
