"""The two roles of private matching, as commands run them."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from pipelines.config import Config
from pipelines.quarantine import first_state, renewed, source_of
from pipelines.sealing import own_sealer
from pipelines.sharing.tables import accounts_now, tables_at
from schemas.errors import DistilwatchError
from transforms.file_lock import alone_with
from transforms.scoring.signing import home
from transforms.sharing.private import calls
from transforms.sharing.private.client import Matches, find_matches
from transforms.sharing.private.identifiers import KINDS
from transforms.sharing.private.ledger import Ledger
from transforms.sharing.private.peer import HttpPeer
from transforms.sharing.private.sealed import Sealer, holds_suspects, read_sealed
from transforms.sharing.private.server import MatchOptions, MatchServer
from transforms.sharing.private.service import match_app
from transforms.sharing.watch.listing import Watched, WatchList, change_watch_list

MATCH = "match--"
TOKEN = "DISTILWATCH_MATCH_TOKEN"


def accounts_of(
    tables: str | None,
    clusters: Sequence[str],
    accounts: Path | None,
    suspects: bool = False,
) -> frozenset[str]:
    """Accounts of clusters in the tables, and those listed in a file.

    Of a cluster those of its newest revision, without who was taken out of it.

    Args:
      tables: URI of what `detect` wrote.
      clusters: ids.
      accounts: file of ids, one a line.
      suspects: also of clusters that nobody has confirmed.

    Raises:
      DistilwatchError: when a cluster or file is not there, or a cluster is not confirmed.
    """
    found: set[str] = set()
    if accounts is not None:
        try:
            found.update(line.strip() for line in accounts.read_text().splitlines())
        except OSError as error:
            raise DistilwatchError(
                f"the accounts cannot be read ({error.strerror})", str(accounts), "check --accounts"
            ) from error
    if clusters:
        if tables is None:
            raise DistilwatchError(
                "clusters are looked up in tables",
                "--cluster",
                "add --tables duckdb:///…, or bigquery://…",
            )
        there = tables_at(tables, folder_will_do=suspects)  # which keeps no decisions
        for name in clusters:
            found.update(accounts_now(there, name, suspects))
    return frozenset(found - {""})


def confirm(sealed: Path, state: Path, withdraw: bool = False) -> int:
    """Lets peers find the identifiers of a file, or no more; returns how many.

    The server's file gets their names under the seal key only.

    Raises:
      DistilwatchError: a file cannot be used, or nobody has confirmed what is in it.
    """
    sealer = own_sealer()
    if not withdraw and holds_suspects(sealed, sealer):
        raise DistilwatchError(
            "it has identifiers of clusters that nobody has confirmed",
            str(sealed),
            "seal what is confirmed into a file of its own, without --suspects",
        )
    found, ledger = read_sealed(sealed, sealer), _ledger(state, sealer)
    hidden = [one._replace(local=sealer.hidden(one.local)) for one in found]
    if withdraw:
        return ledger.withdraw({one.local for one in hidden})
    ledger.confirm(hidden)
    return len(hidden)


def _ledger(state: Path, sealer: Sealer) -> Ledger:
    """The server's file, tied to our key."""
    ledger = Ledger(state)
    ledger.bind(sealer.mark)
    ledger.hide(sealer.hidden)
    return ledger


def serve(
    state: Path,
    peers: Sequence[str],
    options: MatchOptions,
    host: str,
    port: int,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    client_ca: str | None = None,
) -> None:
    """Serves until it is interrupted.

    Raises:
      DistilwatchError: when a peer has no token, or the state cannot be used.
    """
    import uvicorn

    tokens = {}
    for peer in peers:
        if not calls.PEER_NAME.fullmatch(peer):
            raise DistilwatchError(
                f"{peer!r} is no name of a peer", "--peer", "use a-z, 0-9 and -, such as lab-b"
            )
        variable = calls.token_variable(peer)
        tokens[peer] = calls.checked_token(os.environ.get(variable, ""), variable)
    if len(set(tokens.values())) < len(tokens):
        raise DistilwatchError(
            "two peers have the same token, so that each could ask in the other's name",
            ", ".join(map(calls.token_variable, tokens)),
            "give each its own",
        )
    if options.quota < options.batch:
        raise DistilwatchError(
            f"a quota of {options.quota:,} never reaches for a batch of {options.batch:,}",
            "--quota, --batch",
            "give a larger quota or smaller batches",
        )
    if host not in ("127.0.0.1", "localhost", "::1") and tls_cert is None:
        raise DistilwatchError(
            "outside this machine the server needs TLS",
            f"--host {host}",
            "add --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy that has them",
        )
    if tls_cert is None and (tls_key is not None or client_ca is not None):
        raise DistilwatchError(
            "without its certificate the server would have no TLS at all",
            "--client-ca" if tls_key is None else "--tls-key",
            "add --tls-cert, or leave both out",
        )
    sealer = own_sealer()
    ledger = _ledger(state, sealer)
    server = MatchServer(ledger, sealer, options)
    server.begin()
    uvicorn.run(
        match_app(server, tokens), host=host, port=port, log_level="warning", lifespan="off",
        ws="none", server_header=False, ssl_certfile=tls_cert, ssl_keyfile=tls_key,
        ssl_ca_certs=client_ca, ssl_cert_reqs=ssl.CERT_REQUIRED if client_ca else ssl.CERT_NONE,
    )  # fmt: skip


def ask(
    sealed: Path,
    url: str,
    name: str,
    source: str,
    kind: str,
    listed: Path | None,
    confidence: float,
    valid_ms: int,
    ca: str | None = None,
    cert: str | None = None,
    least_batch: int = 256,
    config: Config | None = None,
) -> Matches:
    """Asks another lab, and adds what it has confirmed to a watch list.

    A match is live at once where `config` says so of the lab; without, it is in quarantine until it
    was tried.

    The key that the other lab has used is remembered for its epoch, so that it cannot use another.

    Raises:
      DistilwatchError: when the other lab does not answer, refuses, or does not prove its answer.
    """
    token = calls.checked_token(os.environ.get(TOKEN, ""), TOKEN)
    sealer = own_sealer()
    identifiers = read_sealed(sealed, sealer)
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert:
            context.load_cert_chain(cert)
    except OSError as error:  # ssl.SSLError is one
        raise DistilwatchError(
            f"certificates cannot be read ({error.strerror or error})",
            ", ".join(filter(None, (ca, cert))),
            "give PEM files: --ca an authority, --cert our certificate with its key",
        ) from error
    with httpx.Client(verify=context) as client:
        peer = HttpPeer(url, name, token, client)
        pins = home() / "match-pins.json"
        asked = home() / "match-asked.json"
        begun = f"{kind} {sealed.absolute()}"
        after = _asked(asked).get(url, {}).get(begun, b"")
        found = find_matches(
            peer, kind, identifiers, sealer, _pinned(pins, url), least_batch, after
        )
        _pin(pins, url, found.epoch, found.public_key)
        if found.last:
            _note_asked(asked, url, begun, found.last)
    if listed is not None:
        state = first_state(source_of(config, source) if config is not None else None)
        _add(listed, found, kind, source, confidence, valid_ms, state)
    return found


def _asked(path: Path) -> dict[str, dict[str, bytes]]:
    """The sealed point behind which the next query goes on, by URL and what is asked; what cannot
    be read begins anew."""
    try:
        found = json.loads(path.read_text())
        return {
            url: {name: bytes.fromhex(point) for name, point in points.items()}
            for url, points in found.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _note_asked(path: Path, url: str, begun: str, last: bytes) -> None:
    partial = path.with_suffix(".partial")
    try:
        with alone_with(path):
            known = _asked(path)
            known.setdefault(url, {})[begun] = last
            partial.write_text(
                json.dumps(
                    {u: {name: p.hex() for name, p in ps.items()} for u, ps in known.items()}
                )
            )
            partial.replace(path)
    except OSError as error:
        raise DistilwatchError(
            f"how far the query came cannot be kept ({error.strerror})",
            str(path),
            "free some space, or mend the permissions of the folder; else the next query asks the "
            "same again",
        ) from error


def _pins(path: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    try:
        found = json.loads(path.read_text()) if path.exists() else {}
        for keys in found.values():
            for epoch, key in keys.items():
                int(epoch), bytes.fromhex(key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DistilwatchError(
            f"the keys that other labs have shown cannot be read ({type(error).__name__})",
            str(path),
            "restore it from a copy; without it no change of a key within its epoch is seen",
        ) from error
    return found


def _pinned(path: Path, url: str) -> dict[int, bytes]:
    return {int(epoch): bytes.fromhex(key) for epoch, key in _pins(path).get(url, {}).items()}


def _pin(path: Path, url: str, epoch: int, key: bytes) -> None:
    partial = path.with_suffix(".partial")
    try:
        with alone_with(path):
            known = _pinned(path, url)  # by now: two queries at once could be shown two keys
            if epoch < max(known, default=epoch) or known.get(epoch, key) != key:
                raise DistilwatchError(
                    f"another query was shown another key than this one, of epoch {epoch}",
                    str(path),
                    "do not use what it found, and ask the other lab why",
                )
            partial.write_text(json.dumps(_pins(path) | {url: {str(epoch): key.hex()}}))
            partial.replace(path)
    except OSError as error:
        raise DistilwatchError(
            f"the key that the other lab has shown cannot be kept ({error.strerror})",
            str(path),
            "free some space, or mend the permissions of the folder",
        ) from error


def _add(
    path: Path,
    found: Matches,
    kind: str,
    source: str,
    confidence: float,
    valid_ms: int,
    state: str,
) -> None:
    now_ms = time.time_ns() // 1_000_000
    matched = [
        Watched(
            f"{MATCH}{source}-{one.kind}-{one.local}", KINDS[kind].name.lower(), one.local, source,
            confidence, now_ms, now_ms + valid_ms, state,
        )
        for one in found.found
    ]  # fmt: skip

    def added(before: WatchList) -> list[Watched]:
        known = {one.indicator_id: one for one in before.watched}
        return [*before.watched, *(renewed(one, known.get(one.indicator_id)) for one in matched)]

    change_watch_list(path, added)
