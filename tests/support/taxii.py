"""A real TAXII 2.1 server: medallion, as a process, with what it holds in its memory."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

USER, PASSWORD = "lab", "correct horse"
OPEN, READ_ONLY = "91a7b528-80eb-42ed-a74d-c6fbd5a26116", "472c94ae-3113-4e3e-a4dd-a9f4ac7471d4"


def _collection(name: str, title: str, write: bool) -> dict[str, object]:
    return {
        "id": name, "title": title, "can_read": True, "can_write": write,
        "media_types": ["application/stix+json;version=2.1"], "objects": [], "manifest": [],
    }  # fmt: skip


@contextmanager
def taxii_server(folder: Path, max_page: int = 20) -> Iterator[str]:
    """Runs the server and gives the URL of its collections; stops it by its process id."""
    data = {
        "discovery": {"title": "Forum", "api_roots": ["forum"]},
        "forum": {
            "information": {
                "title": "Forum", "versions": ["application/taxii+json;version=2.1"],
                "max_content_length": 9_765_625,
            },
            "status": [],
            "collections": [
                _collection(OPEN, "Campaigns", True), _collection(READ_ONLY, "Rules", False),
            ],
        },
    }  # fmt: skip
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    config = {
        "backend": {
            "module": "medallion.backends.memory_backend", "module_class": "MemoryBackend",
            "filename": str(folder / "data.json"),
        },
        "users": {USER: PASSWORD},
        "taxii": {"max_page_size": max_page},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = "from medallion.scripts.run import main; main()"
    arguments = ["--host", "127.0.0.1", "--port", str(port), str(folder / "config.json")]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", program, *arguments], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/taxii2/", timeout=5)
                break
            except httpx.TransportError:
                said = (folder / "server.log").read_text(encoding="utf-8")
                assert server.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/forum/collections"
    finally:
        server.terminate()
        server.wait(30)
