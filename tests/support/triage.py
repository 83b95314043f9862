"""The triage pages: in this process, as a server of their own, and a browser to look at them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import httpx
import yaml
from starlette.testclient import TestClient

from infra.local.services import free_ports
from pipelines.settings.triage import ProxyConfig, RolesConfig, TriageConfig
from pipelines.triage.app import make_app
from pipelines.triage.audit import AuditLog
from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.triage.house import House
from transforms.sinks.duckdb import opened

ROOT = Path(__file__).resolve().parents[2]
_START_S = 120.0


def client_of(
    tables: Path,
    config: TriageConfig | None = None,
    address: str = "127.0.0.1",
    house: House | None = None,
) -> TestClient:
    """A client of the pages over some tables, from an address."""
    config = config or TriageConfig()
    app = make_app(DuckDBStore(tables), config, AuditLog(audit_file(tables)), house)
    base = config.public_url or "http://127.0.0.1"
    return TestClient(app, base_url=base, client=(address, 50_000), follow_redirects=False)


@contextmanager
def writing(tables: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Tables to write to, once pages of this process have let go of them."""
    with opened(tables, _START_S) as connection:
        yield connection


def audit_file(tables: Path) -> Path:
    return tables.with_name(f"{tables.stem}.audit.jsonl")


def token_in(page: str) -> str:
    """The secret that the forms of a page hold."""
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def send_decision(
    client: TestClient, cluster: str, decision: str, headers: dict[str, str] | None = None,
    **more: Any,
) -> httpx.Response:  # fmt: skip
    """Loads a case and sends its form, as a browser would."""
    page = client.get(f"/case/{cluster}", headers=headers)
    assert page.status_code == 200, page.text
    seen = re.search(r'name="seen" value="([^"]+)"', page.text)
    form = {
        "csrf": token_in(page.text), "seen": seen[1] if seen else "", "decision": decision,
        "why": "looked at it", **more,
    }  # fmt: skip
    found: httpx.Response = client.post(f"/case/{cluster}/decide", data=form, headers=headers)
    return found


@contextmanager
def process(command: Sequence[str], url: str, **environment: str) -> Iterator[None]:
    """A server as a process of its own, from when it answers until the end."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.DEVNULL,
    ) as server:
        try:
            deadline = time.monotonic() + _START_S
            while True:
                assert server.poll() is None, f"{command} ended with {server.returncode}"
                try:
                    httpx.get(url, timeout=10)
                    break
                except httpx.TransportError:
                    assert time.monotonic() < deadline, f"{command} does not answer at {url}"
                    time.sleep(0.1)
            yield
        finally:
            server.terminate()
            server.wait(30)


@contextmanager
def served(
    tables: Path | str, config: Path | None = None, port: int = 0, **environment: str
) -> Any:
    """`distilwatch triage` over some tables, a database's path or any URI; its address."""
    port = port or free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    output = tables if isinstance(tables, str) else f"duckdb:///{tables}"
    command = [sys.executable, "-m", "pipelines.cli", "triage", "--output", output]
    command += ["--port", str(port)] + (["--config", str(config)] if config else [])
    with process(command, f"{url}/healthz", **environment):
        yield url


def config_file(folder: Path, **triage: Any) -> Path:
    path = folder / "triage.yaml"
    path.write_text(yaml.safe_dump({"triage": triage}), encoding="utf-8")
    return path


PROXY = TriageConfig(
    sign_in="proxy",
    public_url="https://triage.example.org",
    proxy=ProxyConfig(trusted=("10.0.0.5", "192.168.0.0/24")),
    roles=RolesConfig(viewer=("*",), responder=("oncall", "rita@x"), admin=("root@x",)),
)


def named(name: str, *groups: str) -> dict[str, str]:
    """What a trusted proxy says of who asks."""
    return {"X-Forwarded-Email": name, "X-Forwarded-Groups": ",".join(groups)}


def noted(tables: Path) -> list[dict[str, Any]]:
    """Lines of the audit log."""
    return [json.loads(line) for line in audit_file(tables).read_text().splitlines()]


def worst(tables: Path) -> str:
    """The cluster that is first in the queue."""
    page = client_of(tables).get("/").text
    return page.split('href="/case/')[1].split('"')[0]
