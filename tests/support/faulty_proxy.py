"""An HTTP proxy before the emulator that does what networks and BigQuery do on bad days."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

_JOB_ID = re.compile(rb'"jobId"\s*:\s*"([^"]+)"')
_DROPPED = ("content-length", "transfer-encoding", "connection", "date", "server")


def _upload_id(url: str) -> str:
    return parse_qs(urlsplit(url).query).get("upload_id", [""])[0]


@dataclass
class Fault:
    """What happens to some requests.

    Attributes:
      method, path: of the request; the path is a regular expression, without the query.
      times: how often it happens.
      status, reason, message: of the error that is answered.
      cut: the connection is cut before the request is passed on, or after, so that it is done and
        nobody is told.
      change: of the emulator's answer.
    """

    method: str
    path: str
    times: int = 1
    status: int = 503
    reason: str = "backendError"
    message: str = "try again"
    cut: Literal["", "before", "after"] = ""
    change: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    happened: int = field(default=0, init=False)


class FaultyProxy:
    """Passes requests on to `upstream`, inside a `with` statement.

    Where the emulator falls short, this does what BigQuery does: a job whose id was used before is
    refused, a load job has the id that it was given, and the end of an upload that is sent twice is
    answered twice and done once.

    Attributes:
      address: "127.0.0.1:port".
      faults: that are still to happen.
      seen: method and path of every request.
      jobs: ids of the jobs that were begun.
    """

    def __init__(self, upstream: str) -> None:
        self.faults: list[Fault] = []
        self.seen: list[tuple[str, str]] = []
        self.bodies: list[tuple[str, str, bytes]] = []
        self.jobs: list[str] = []
        self._upstream = upstream
        self._refused_loads: tuple[Any, Any] | None = None
        self._uploads: dict[str, str] = {}
        self._answers: dict[str, bytes] = {}
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _handle(self) -> None:
                proxy.handle(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fail(self, method: str, path: str, **how: Any) -> Fault:
        """Adds a fault."""
        fault = Fault(method, path, **how)
        self.faults.append(fault)
        return fault

    def refuse_loads(
        self, which: Callable[[str], bool], answer: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        """Load jobs of some ids fail: the emulator gets their rows into a table of nobody's."""
        self._refused_loads = (which, answer)

    def _fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.method == method and re.fullmatch(fault.path, path):
                    fault.happened += 1
                    if fault.happened >= fault.times:
                        self.faults.remove(fault)
                    return fault
        return None

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """One request."""
        method, path = request.command, request.path.partition("?")[0]
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.seen.append((method, path))
        self.bodies.append((method, path, body))
        fault = self._fault(method, path)
        if fault is not None and fault.cut == "before":
            self._cut(request)
            return
        if fault is not None and not fault.cut and fault.change is None:
            self._error(request, fault.status, fault.reason, fault.message)
            return
        started = _JOB_ID.search(body) if path.endswith("/jobs") and method == "POST" else None
        if started is not None and self._is_known(started.group(1).decode(), path):
            message = f"Already Exists: Job {started.group(1).decode()}"
            self._error(request, 409, "duplicate", message)
            return
        if started is not None and "/upload/" in path and self._refuses(started.group(1).decode()):
            body = re.sub(rb'"tableId"\s*:\s*"[^"]+"', b'"tableId": "nobodys"', body)
            body = body.replace(b"CREATE_NEVER", b"CREATE_IF_NEEDED")
        kept = self._kept(method, request.path)
        status, headers, answer = kept or self._pass_on(request, method, body)
        if kept is None and "/upload/" in path and status == 200:
            answer = self._upload(method, request.path, started, headers, answer)
        if fault is not None and fault.cut == "after":
            self._cut(request)
            return
        if fault is not None and fault.change is not None:
            answer = json.dumps(fault.change(json.loads(answer))).encode()
        request.send_response(status)
        for name, value in headers:
            if name.lower() not in _DROPPED:
                # Later parts of an upload come through here, too.
                request.send_header(name, value.replace(self._upstream, self.address))
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer)

    def _is_known(self, job_id: str, path: str) -> bool:
        with self._lock:
            known = job_id in self.jobs
            if not known and "/upload/" not in path:  # those begin with their last byte
                self.jobs.append(job_id)
        return known

    def _refuses(self, job_id: str) -> bool:
        return self._refused_loads is not None and self._refused_loads[0](job_id)

    def _kept(self, method: str, path: str) -> tuple[int, list[tuple[str, str]], bytes] | None:
        """The answer to a question that was answered before."""
        job_id = self._uploads.get(_upload_id(path), "") if method == "PUT" else ""
        if method == "GET" and "/jobs/" in path:
            job_id = path.partition("?")[0].rpartition("/")[2]
        answer = self._answers.get(job_id)
        return None if answer is None else (200, [("Content-Type", "application/json")], answer)

    def _upload(
        self,
        method: str,
        path: str,
        started: re.Match[bytes] | None,
        headers: list[tuple[str, str]],
        answer: bytes,
    ) -> bytes:
        """Notes which job an upload is for, and the job when the upload ends."""
        if method == "POST" and started is not None:
            location = next(value for name, value in headers if name.lower() == "location")
            self._uploads[_upload_id(location)] = started.group(1).decode()
            return answer
        job_id = self._uploads[_upload_id(path)]
        job = json.loads(answer)
        job["jobReference"]["jobId"] = job_id
        if self._refused_loads is not None and self._refuses(job_id):
            job = self._refused_loads[1](job)
        self.jobs.append(job_id)
        self._answers[job_id] = json.dumps(job).encode()
        return self._answers[job_id]

    def _pass_on(
        self, request: BaseHTTPRequestHandler, method: str, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self._upstream, timeout=120)
        try:
            left_out = ("accept-encoding", "content-length")
            headers = {n: v for n, v in request.headers.items() if n.lower() not in left_out}
            connection.request(method, request.path, body, headers | {"Host": self._upstream})
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    @staticmethod
    def _cut(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        request.connection.close()

    @staticmethod
    def _error(request: BaseHTTPRequestHandler, status: int, reason: str, message: str) -> None:
        one = {"reason": reason, "message": message, "domain": "global"}
        body = json.dumps({"error": {"code": status, "message": message, "errors": [one]}}).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


def bytes_to_read(size: int) -> Any:
    """The emulator says of every dry run that it would read nothing; this says `size` bytes."""

    def change(job: dict[str, Any]) -> dict[str, Any]:
        job["statistics"] = job.get("statistics", {}) | {"totalBytesProcessed": str(size)}
        job["statistics"].setdefault("query", {})["totalBytesProcessed"] = str(size)
        return job

    return change
