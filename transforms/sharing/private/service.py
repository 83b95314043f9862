"""The server's end of HTTP, a Starlette application.

| request | answer |
|---|---|
| GET /v1/terms | epoch and its end, the peer's public key, points of a batch, quota left |
| POST /v1/evaluate | of `epoch`, `kind` and `points`: the points evaluated, and a proof |
| GET /v1/confirmed/{kind}?epoch= | outputs of what is confirmed, filled up |

Every request and answer is signed (`calls`). Points are hex. What is refused says why in one word.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from transforms.sharing.private import calls, voprf
from transforms.sharing.private.server import MatchServer, Refused

_MOST_BYTES = 1 << 20
_Handler = Callable[[str, Request, bytes], Awaitable[dict[str, Any]]]


def match_app(
    server: MatchServer,
    tokens: Mapping[str, str],
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> Starlette:
    """The application.

    Args:
      server: that answers.
      tokens: of the peers, by name; whoever is not in it is refused.
      now_ms: the clock.
    """

    async def terms(peer: str, request: Request, body: bytes) -> dict[str, Any]:
        found = await anyio.to_thread.run_sync(server.terms, peer)
        return found._asdict() | {"public_key": found.public_key.hex()}

    async def evaluate(peer: str, request: Request, body: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(body)
            epoch, kind, points = asked["epoch"], asked["kind"], asked["points"]
            if not isinstance(epoch, int) or not isinstance(kind, str):
                raise TypeError
            points = [bytes.fromhex(point) for point in points]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise Refused("form", "give epoch, kind and points (hex) as JSON", 400) from None
        found = await anyio.to_thread.run_sync(server.evaluate, peer, epoch, kind, points)
        hexed = [point.hex() for point in found.points]
        return {"epoch": found.epoch, "points": hexed, "proof": found.proof.hex()}

    async def confirmed(peer: str, request: Request, body: bytes) -> dict[str, Any]:
        try:
            epoch = int(request.query_params["epoch"])
        except (KeyError, ValueError):
            raise Refused("form", "say which epoch", 400) from None
        kind = request.path_params["kind"]
        found = await anyio.to_thread.run_sync(server.published, peer, epoch, kind)
        return {"epoch": epoch, "outputs": [value.hex() for value in found]}

    def signed(handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            token, nonce = "", ""
            try:
                body = await _body(request)
                peer, token, nonce = await anyio.to_thread.run_sync(_admit, request, body)
                status, said = 200, await handler(peer, request, body)
            except Refused as refused:
                status = refused.status
                said = {"error": {"reason": refused.reason, "message": refused.message}}
            data = json.dumps(said).encode()
            headers = {}
            if token:  # nobody else is told anything that is signed
                headers[calls.SIGNATURE] = calls.answer_signature(token, nonce, status, data)
            return Response(data, status, headers, "application/json")

        return answer

    def _admit(request: Request, body: bytes) -> tuple[str, str, str]:
        get, now = request.headers.get, now_ms()
        peer, nonce = get(calls.PEER, ""), get(calls.NONCE, "")
        token = tokens.get(peer, "")
        try:
            time_ms = int(get(calls.TIME, ""))
        except ValueError:
            time_ms = -1
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        right = calls.request_signature(
            token or "nobody", calls.Signed(peer, time_ms, nonce, request.method, path, body)
        )
        if not token or not calls.same(right, get(calls.SIGNATURE, "")):
            raise Refused("signature", "not signed by a peer of this server", 401)
        if abs(now - time_ms) > calls.SKEW_MS:
            raise Refused("time", "signed at another time; look at the clocks", 401)
        if not nonce or not server.ledger.fresh(peer, nonce, now, 2 * calls.SKEW_MS):
            raise Refused("repeat", "this request was here before", 401)
        return peer, token, nonce

    return Starlette(
        routes=[
            Route("/v1/terms", signed(terms), methods=["GET"]),
            Route("/v1/evaluate", signed(evaluate), methods=["POST"]),
            Route("/v1/confirmed/{kind}", signed(confirmed), methods=["GET"]),
        ]
    )


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise Refused("size", f"more than {_MOST_BYTES} bytes", 413)
    return body


def most_batch() -> int:
    """Points that fit into a request."""
    return (_MOST_BYTES - 1_000) // (2 * voprf.POINT_BYTES + 4)
