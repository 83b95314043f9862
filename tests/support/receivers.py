"""Receivers of alerts on this machine: they check what they get, fail, stall, and ask to wait."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from transforms.alerts.channels.webhook import verify

HOOK_SECRET = "whsec_" + base64.b64encode(b"a secret of some bytes").decode()


@dataclass(frozen=True)
class Request:
    """A request as it came; header names in lower case."""

    path: str
    headers: dict[str, str]
    content: bytes
    status: int

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True)
class Answer:
    """What to answer; `stall_s` before."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b"{}"
    stall_s: float = 0.0


Answering = Callable[[str, dict[str, str], bytes], Answer]


class Receiver:
    """An HTTP server in a thread. First `script` is answered with, then `answering` decides."""

    def __init__(self, answering: Answering | None = None) -> None:
        self.requests: list[Request] = []
        self.script: deque[Answer] = deque()
        self.changed = threading.Condition()
        self._answering = answering
        self._stop = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = receiver._answer(self.path, headers, content)
                receiver._stop.wait(answer.stall_s)
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer.content)))
                    self.end_headers()
                    self.wfile.write(answer.content)
                except OSError:
                    pass  # the sender has given up, or was killed

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def taken(self) -> list[Request]:
        """Requests that were answered with success."""
        with self.changed:
            return [request for request in self.requests if request.status < 300]

    def wait_for(self, count: int, seconds: float = 120.0) -> None:
        """Waits until so many requests have come."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while len(self.requests) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"{len(self.requests)} of {count} requests came"
                self.changed.wait(left)

    def close(self) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str, headers: dict[str, str], content: bytes) -> Answer:
        with self.changed:
            if self.script:
                answer = self.script.popleft()
            elif self._answering is not None:
                answer = self._answering(path, headers, content)
            else:
                answer = Answer()
            self.requests.append(Request(path, headers, content, answer.status))
            self.changed.notify_all()
        return answer


@contextmanager
def receiver(answering: Answering | None = None) -> Iterator[Receiver]:
    """A receiver for as long as it is needed."""
    server = Receiver(answering)
    try:
        yield server
    finally:
        server.close()


def signed(_: str, headers: dict[str, str], content: bytes) -> Answer:
    """Takes what is signed with `HOOK_SECRET`."""
    good = verify(HOOK_SECRET, headers, content, time.time())
    return Answer(204 if good else 401, content=b"")


def hook_file(folder: Path, server: Receiver) -> Path:
    """A file of channels that tells a receiver everything; the secret is in HOOK_SECRET."""
    hook = {"kind": "webhook", "url": server.url, "secret": {"env": "HOOK_SECRET"}}
    path = folder / "channels.yaml"
    path.write_text(
        yaml.safe_dump({"channels": {"hook": hook}, "routes": [{"channels": ["hook"]}]})
    )
    return path


def heard(server: Receiver) -> list[tuple[str, str]]:
    """Step and cluster of all that a receiver took."""
    told = (request.json["data"] for request in server.taken())
    return [(notice["step"], notice["cluster_id"]) for notice in told]
