"""The asking lab's end of HTTP."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from schemas.errors import DistilwatchError, printable
from transforms.sharing.private import calls
from transforms.sharing.private.server import Answer, Terms

_TIMEOUT_S = 60.0
_MOST_BYTES = 64 << 20  # of an answer


class HttpPeer:
    """Another lab's server; see `client.Peer`."""

    def __init__(self, url: str, name: str, token: str, client: httpx.Client | None = None) -> None:
        """Args:
        url: of the server, without a path.
        name: under which the server knows us.
        token: that both have.
        client: to send with, such as one with a certificate of ours.

        Raises:
          DistilwatchError: the URL is none, or not of https outside this machine.
        """
        try:
            parts = httpx.URL(url)
        except (httpx.InvalidURL, TypeError):
            parts = httpx.URL("")
        if parts.scheme not in ("http", "https") or not parts.host:
            raise DistilwatchError("this is no URL", url[:200], "give https://server:port")
        if parts.scheme == "http" and parts.host not in ("127.0.0.1", "localhost", "::1"):
            raise DistilwatchError(
                "the other lab is not reached by https", url[:200], "give an https URL"
            )
        self._url = url.rstrip("/")
        self._name = name
        self._token = token
        self._client = client or httpx.Client(timeout=_TIMEOUT_S)

    def terms(self) -> Terms:
        found = self._ask("GET", "/v1/terms")
        with self._reading():
            return Terms(
                int(found["epoch"]), int(found["ends_ms"]), bytes.fromhex(found["public_key"]),
                int(found["batch"]), int(found["quota_left"]),
            )  # fmt: skip

    def evaluate(self, epoch: int, kind: str, points: Sequence[bytes]) -> Answer:
        asked = {"epoch": epoch, "kind": kind, "points": [point.hex() for point in points]}
        found = self._ask("POST", "/v1/evaluate", json.dumps(asked).encode())
        with self._reading():
            return Answer(
                int(found["epoch"]), [bytes.fromhex(point) for point in found["points"]],
                bytes.fromhex(found["proof"]),
            )  # fmt: skip

    def published(self, epoch: int, kind: str) -> list[bytes]:
        found = self._ask("GET", f"/v1/confirmed/{kind}?epoch={epoch}")
        with self._reading():
            return [bytes.fromhex(value) for value in found["outputs"]]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DistilwatchError(
                f"the other lab's answer cannot be read ({type(error).__name__})",
                self._url,
                "check the address, and that both run versions that know each other",
            ) from error

    def _ask(self, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        nonce, now = secrets.token_hex(16), time.time_ns() // 1_000_000
        signature = calls.request_signature(
            self._token, calls.Signed(self._name, now, nonce, method, path, body)
        )
        headers = {
            calls.PEER: self._name, calls.TIME: str(now), calls.NONCE: nonce,
            calls.SIGNATURE: signature, "content-type": "application/json",
        }  # fmt: skip
        try:
            with self._client.stream(
                method, self._url + path, content=body, headers=headers, timeout=_TIMEOUT_S
            ) as answer:
                content = self._content(answer)
        except httpx.HTTPError as error:
            raise DistilwatchError(
                f"the other lab's server does not answer ({type(error).__name__})",
                self._url,
                "check the address and that it runs",
            ) from error
        right = calls.answer_signature(self._token, nonce, answer.status_code, content)
        is_signed = calls.same(right, answer.headers.get(calls.SIGNATURE, ""))
        if answer.status_code != 200:
            said = _error(content) if is_signed or answer.status_code == 401 else ""
            raise DistilwatchError(
                f"the other lab refuses: {said or answer.status_code}", self._url + path,
                "wait for the next period" if answer.status_code == 429
                else "check name, token and clock" if answer.status_code == 401
                else "ask again",
            )  # fmt: skip
        if not is_signed:
            raise DistilwatchError(
                "the answer is not signed with our token",
                self._url,
                "do not use it; check the address",
            )
        with self._reading():
            found: dict[str, Any] = json.loads(content)
            return found

    def _content(self, answer: httpx.Response) -> bytes:
        """An answer that is not endless."""
        content = bytearray()
        for part in answer.iter_bytes():
            content += part
            if len(content) > _MOST_BYTES:
                raise DistilwatchError(
                    f"the other lab answers with more than {_MOST_BYTES:,} bytes",
                    self._url,
                    "check the address, and ask the other lab",
                )
        return bytes(content)


def _error(content: bytes) -> str:
    try:
        return printable(str(json.loads(content)["error"]["message"])[:200])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
