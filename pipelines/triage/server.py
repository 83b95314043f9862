"""Runs the pages."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from pipelines import log_form
from pipelines.config import Config
from pipelines.live_rules import LiveRules
from pipelines.observe.traces import traced
from pipelines.oncall import book_path, rules_of
from pipelines.triage.app import audit_path, make_app
from pipelines.triage.audit import AuditLog
from pipelines.triage.auth import check_address
from pipelines.triage.house import House
from pipelines.triage.store import open_store
from schemas.errors import DistilwatchError
from transforms.sinks import duckdb_path, scheme_of

_STOP_S = 5


def serve(
    uri: str,
    settings: Config,
    host: str,
    port: int,
    ready: Callable[[str, Path], None],
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Serves the pages until interrupted.

    Args:
      uri: of the tables.
      settings: who may do what, and what the house lets pass.
      host, port: to listen at; port 0 takes a free one.
      ready: called with the address and the audit log, once people can come.
      tell: takes a line when changed policies or another allowlist count, or cannot be used.

    Raises:
      DistilwatchError: when tables, address, secrets, allowlist or audit log will not do.
    """
    config = settings.triage
    check_address(config, host)
    rules = rules_of(settings.alerts)
    live = LiveRules(settings.alerts, rules, tell)
    house = House(rules, book_path(settings.alerts, [uri]), live)
    store = open_store(uri, settings.bigquery.views_dataset)
    local = duckdb_path(uri) if scheme_of(uri) == "duckdb" else None
    log = audit_path(config, local)
    app = make_app(store, config, AuditLog(log), house)
    listening = _listen(host, port)
    with listening, traced(tell):
        shown = f"[{host}]" if ":" in host else host
        ready(config.public_url or f"http://{shown}:{listening.getsockname()[1]}/", log)
        uvicorn.Server(
            uvicorn.Config(
                app,
                # Its own form is text; without, what it logs goes the way of all libraries.
                log_config=None if log_form.is_json() else LOGGING_CONFIG,
                log_level="warning",
                # Who speaks to us decides whether a header is believed; nobody may rewrite that.
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_STOP_S,
            )
        ).run([listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(512)
    except OSError as error:
        raise DistilwatchError(
            f"nothing can listen there ({error.strerror})",
            f"--host {host} --port {port}",
            "choose another port, or 0 for a free one",
        ) from error
    return listening
