"""A schema registry that speaks the part of Confluent's REST protocol that we use.

It is an ordinary HTTP server, for what a real registry cannot be made to do: to answer 503 three
times, to hang, to count who asks. The same tests of reading run against Apicurio, too.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


@dataclass
class Registry:
    """What the server has, and how it behaves.

    Attributes:
      schemas: by id; `schema`, `schemaType`, `references`.
      versions: id by subject and version.
      asked: paths that were asked for, in order.
      failures: statuses to answer with next; 0 hangs for a second.
      auth: value of the header Authorization that is asked for.
    """

    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)
    versions: dict[tuple[str, int], int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    auth: str | None = None
    url: str = ""

    def register(
        self, subject: str, schema: Any, kind: str = "AVRO", references: Any = (), version: int = 1
    ) -> int:
        """Adds a schema and returns its id."""
        number = 100 + len(self.schemas)
        text = schema if isinstance(schema, str) else json.dumps(schema)
        # As Confluent does, Avro's schemaType and an empty list of references are left out.
        self.schemas[number] = (
            {"schema": text}
            | ({"schemaType": kind} if kind != "AVRO" else {})
            | ({"references": list(references)} if references else {})
        )
        self.versions[subject, version] = number
        return number

    def answer(self, path: str) -> tuple[int, Any]:
        """Status and body."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts == ["schemas", "types"]:
            return 200, ["JSON", "PROTOBUF", "AVRO"]
        if parts[:2] == ["schemas", "ids"] and int(parts[2]) in self.schemas:
            return 200, self.schemas[int(parts[2])]
        if parts[:2] == ["schemas", "ids"]:
            return 404, {"error_code": 40403, "message": f"Schema {parts[2]} not found"}
        if parts[0] == "subjects" and (parts[1], int(parts[3])) in self.versions:
            number = self.versions[parts[1], int(parts[3])]
            more = {"subject": parts[1], "version": int(parts[3]), "id": number}
            return 200, self.schemas[number] | more
        return 404, {"error_code": 40401, "message": "Subject not found"}


def basic(user: str, password: str) -> str:
    """The header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextmanager
def registry_running() -> Iterator[Registry]:
    """A registry on a free port, as long as the block lasts."""
    registry = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            registry.asked.append(self.path)
            status, body = registry.answer(self.path)
            if registry.auth is not None and self.headers["Authorization"] != registry.auth:
                status, body = 401, {"error_code": 401, "message": "Unauthorized"}
            if registry.failures:
                status, body = registry.failures.pop(0), {"error_code": 500, "message": "fails"}
                if not status:
                    time.sleep(1)
                    status = 503
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
