"""`distilwatch share match`, `watch` and `try` as their users run them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from infra.local.services import free_ports
from pipelines.sharing_drill.attacks import things_of
from tests.support.commands import query, result, run
from tests.support.program import COMMAND
from transforms.sharing.indicators import Indicator, Kind, Marking, indicator_id
from transforms.sharing.payloads import Behaviour, Coverage
from transforms.sharing.private.identifiers import local_name
from transforms.sharing.watch.listing import LIVE, QUARANTINED, read_watch_list

TOKEN = "0123456789abcdef" * 3
SETTINGS: dict[str, Any] = {
    "scoring": {"detectors": [{"name": "KNN", "params": {"n_neighbors": 5}}]},
    "coverage": {"cells": 256, "codebook_sample": 3000},
    "clusters": {"null_groups": 400},
}
FOREIGN = Coverage("f" * 32, "another", np.zeros(1024, np.int64), 1 << 16, 2.4, 2.0, 1e-6)
SIGNATURE = Behaviour(
    {"complementarity": -9.0, "overlap": 9.5, "member_breadth": -8.0, "linkage": -9.0,
     "union_coverage": -9.5}
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """Traffic of a lab, and its bundle."""

    folder: Path
    home: Path
    events: list[dict[str, Any]]
    benign: frozenset[str]

    def settings(self, **watch: Any) -> Path:
        path = self.folder / f"settings-{len(list(self.folder.glob('settings-*')))}.yaml"
        path.write_text(yaml.safe_dump(SETTINGS | {"watch": watch}))
        return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("share")
    home = folder / "home"
    result(
        "simulate", "--out", folder / "live.jsonl", "--history", folder / "history.jsonl",
        "--labels", folder / "labels.jsonl", "--accounts", 110, "--events", 5_000,
        "--days", 6, "--history-days", 4, "--attack", "hydra-disjoint:m=8,rate=60,links=1",
        home=home,
    )  # fmt: skip
    config = folder / "settings.yaml"
    config.write_text(yaml.safe_dump(SETTINGS))
    result(
        "train", "--input", folder / "history.jsonl", "--bundle", folder / "bundle",
        "--config", config, home=home,
    )  # fmt: skip
    labels = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
    events = [json.loads(line) for line in (folder / "live.jsonl").read_text().splitlines()]
    benign = frozenset(x["account_id"] for x in labels if x["label"] != "attack")
    return World(folder, home, events, benign)


# --- watch and try --------------------------------------------------------------------------------


def indicator(kind: str, value: str, provider: str, **changes: Any) -> dict[str, Any]:
    """A row of the table indicators, as polling leaves it."""
    fields: dict[str, Any] = {
        "indicator_id": indicator_id(provider, Kind(kind), value), "kind": Kind(kind),
        "value": value, "payload": b"", "provider": provider, "campaign": "", "confidence": 80,
        "marking": Marking.AMBER, "method": "made up", "valid_from_ms": 1_780_000_000_000,
        "valid_until_ms": None, "created_ms": 1_780_000_000_000,
        "modified_ms": 1_780_000_000_000, "source": "forum",
    }  # fmt: skip
    return Indicator(**fields | changes).to_row("received")


def carriers(world: World) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for event in world.events:
        for thing in things_of(event):
            found.setdefault(thing, set()).add(event["account_id"])
    return found


def test_watch_keeps_strangers_in_quarantine_and_try_lets_out_what_is_harmless(
    world: World, tmp_path: Path
) -> None:
    who = carriers(world)
    rare = next(t for t, accounts in sorted(who.items()) if len(accounts) == 1)
    common = Counter({t: len(a) for t, a in who.items() if t[0] == "client"}).most_common(1)[0][0]
    rows = [
        indicator(*rare, "lab-b"),
        indicator(*common, "lab-c"),
        indicator("network", "0" * 14, "lab-b"),
        indicator("network", "1" * 14, "lab-d", revoked=True),
        # Of another embedding space; and a signature, of which so small a history has too few
        # linked groups to compare it with.
        indicator("coverage", "", "lab-b", payload=FOREIGN.encode(), campaign="campaign-1"),
        indicator("behaviour", "", "lab-b", payload=SIGNATURE.encode(), campaign="campaign-1"),
    ]
    for row in rows:
        row["sketch"] = base64.b64encode(row["sketch"]).decode() if row["sketch"] else None
    received, listed = tmp_path / "received.jsonl", tmp_path / "watch.json"
    received.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))
    trusting = world.settings(sources=[{"name": "lab-b", "trust": 0.9, "tried_first": False}])
    made = result(
        "share", "watch", "--from", received, "--list", listed, "--config", trusting,
        home=world.home,
    )  # fmt: skip
    assert (made["received"], made["watched"], made["live"], made["quarantined"]) == (6, 5, 4, 1)

    out = tmp_path / "try.duckdb"
    tried = result(
        "share", "try", listed, "--input", world.folder / "live.jsonl", "--bundle",
        world.folder / "bundle", "--output", f"duckdb:///{out}", "--config", trusting, "--release",
        home=world.home,
    )  # fmt: skip
    verdicts = {one["indicator_id"]: one for one in tried["indicators"]}
    assert verdicts[rows[0]["indicator_id"]]["verdict"] == "harmless"
    assert verdicts[rows[0]["indicator_id"]]["accounts"] == 1
    assert verdicts[rows[1]["indicator_id"]]["verdict"] in ("common before", "too common")
    assert verdicts[rows[2]["indicator_id"]]["verdict"] == "unseen"
    assert verdicts[rows[4]["indicator_id"]]["verdict"] == "not comparable"
    assert verdicts[rows[5]["indicator_id"]]["verdict"] == "not comparable"
    states = {one.indicator_id: one.state for one in read_watch_list(listed).watched}
    assert states[rows[0]["indicator_id"]] == LIVE
    assert states[rows[1]["indicator_id"]] == QUARANTINED
    assert states[rows[4]["indicator_id"]] == QUARANTINED  # though its lab is trusted
    assert states[rows[5]["indicator_id"]] == QUARANTINED
    assert query(out, "SELECT count(*) FROM sightings")[0][0] >= 1

    # Made anew by a lab that trusts nobody: what was let out stays out, what was not does not.
    result(
        "share", "watch", "--from", received, "--list", listed, "--config", world.settings(),
        home=world.home,
    )  # fmt: skip
    assert {one.indicator_id: one.state for one in read_watch_list(listed).watched} == states


def test_a_missing_list_is_told_before_anything_starts(world: World, tmp_path: Path) -> None:
    done = run(
        "detect", "--input", world.folder / "live.jsonl", "--bundle", world.folder / "bundle",
        "--config", world.settings(list=str(tmp_path / "none.json")),
        "--output", f"duckdb:///{tmp_path / 'o.duckdb'}", home=world.home, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "watch list" in done.stderr


# --- match ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Serving:
    """Lab A's server as a process, and its state."""

    url: str
    state: Path
    home: Path
    cards: list[str]
    network: str


@pytest.fixture
def serving(tmp_path: Path, world: World) -> Iterator[Serving]:
    """Lab A has confirmed cards and a network of accounts that lab B has as customers, too."""
    home, state, cards = tmp_path / "a-home", tmp_path / "match.sqlite", tmp_path / "a.jsonl"
    paid = sorted({e["payment_fingerprint"] for e in world.events if e.get("payment_fingerprint")})
    known = [*paid[:3], "pm_only_at_a"]
    network = min(e["ip_prefix"] for e in world.events if e.get("ip_prefix"))
    event = {"event_time": "2026-06-01T00:00:00Z", "account_id": "a-1"}
    cards.write_text(
        "".join(
            json.dumps(event | {"event_id": str(i), "payment_fingerprint": card.upper()}) + "\n"
            for i, card in enumerate(known)
        )
        + json.dumps(event | {"event_id": "n", "ip_prefix": network.upper()})
        + "\n"
        + "spoilt\n"
    )
    (tmp_path / "accounts.txt").write_text("a-1\n")
    sealed = tmp_path / "a.sealed"
    made = result(
        "share", "match", "seal", "--input", cards, "--accounts", tmp_path / "accounts.txt",
        "--out", sealed, home=home,
    )  # fmt: skip
    assert made["sealed"] == 5
    result("share", "match", "confirm", "--sealed", sealed, "--state", state, home=home)
    [port] = free_ports(1)
    environment = {"DISTILWATCH_HOME": str(home), "DISTILWATCH_MATCH_TOKEN_LAB_B": TOKEN}
    server = subprocess.Popen(
        [
            str(COMMAND), "share", "match", "serve", "--state", str(state), "--peer", "lab-b",
            "--port", str(port), "--batch", "64", "--quota", "4096",
        ],
        env=os.environ | environment, stderr=(tmp_path / "server.txt").open("w"),
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                assert httpx.get(url + "/v1/terms").status_code == 401
                break
            except httpx.TransportError:
                assert server.poll() is None, (tmp_path / "server.txt").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield Serving(url, state, home, paid[:3], network)
    finally:
        server.terminate()
        server.wait(30)


def test_two_labs_find_the_cards_that_both_know(
    serving: Serving, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts, sealed, listed = tmp_path / "b.txt", tmp_path / "b.sealed", tmp_path / "watch.json"
    accounts.write_text("\n".join(sorted({e["account_id"] for e in world.events})))
    result(
        "share", "match", "seal", "--input", world.folder / "live.jsonl", "--accounts", accounts,
        "--out", sealed, home=world.home,
    )  # fmt: skip
    for card in serving.cards:
        assert card.encode() not in sealed.read_bytes()
    monkeypatch.setenv("DISTILWATCH_MATCH_TOKEN", TOKEN)
    asked = (
        "share", "match", "query", "--sealed", sealed, "--url", serving.url, "--as", "lab-b",
        "--from", "lab-a", "--list", listed, "--least-batch", 64,
    )  # fmt: skip
    found = result(*asked, home=world.home)
    assert len(found["matches"]) == 3
    assert found["evaluated"] % 64 == 0
    assert found["published"] == 256
    assert found["left"] == 0

    # What was found is looked for in the stream under this lab's own pseudonyms.
    database = tmp_path / "out.duckdb"
    config = world.settings(list=str(listed), sources=[{"name": "lab-a", "trust": 0.9}])
    result(
        "detect", "--input", world.folder / "live.jsonl", "--bundle", world.folder / "bundle",
        "--config", config, "--output", f"duckdb:///{database}", home=world.home,
    )  # fmt: skip
    payers = {
        e["account_id"] for e in world.events if e.get("payment_fingerprint") in serving.cards
    }
    seen = {account for (account,) in query(database, "SELECT account_id FROM sightings")}
    assert seen
    assert seen <= payers
    assert local_name(serving.cards[0]) not in found["matches"]  # nor is the raw value in the name

    log = result("share", "match", "log", "--state", serving.state, home=serving.home)["entries"]
    assert [e["peer"] for e in log if e["act"] == "evaluate"] == ["lab-b"] * (
        found["evaluated"] // 64
    )
    # Networks are told of in this way only; what others share of theirs, nobody learns.
    networks = result(*asked, "--kind", "network", home=world.home)
    assert networks["matches"] == [local_name(serving.network)]
    again = run(*asked, home=world.home, check=False)
    assert again.returncode == 0  # or, when the quota does not reach, says how many wait


def test_a_server_without_tokens_or_tls_does_not_start(tmp_path: Path) -> None:
    base = ("share", "match", "serve", "--state", tmp_path / "m.sqlite", "--peer", "lab-b")
    done = run(*base, home=tmp_path, check=False)
    assert done.returncode == 2
    assert "DISTILWATCH_MATCH_TOKEN_LAB_B" in done.stderr
    os.environ["DISTILWATCH_MATCH_TOKEN_LAB_B"] = TOKEN
    try:
        done = run(*base, "--host", "0.0.0.0", home=tmp_path, check=False)
    finally:
        del os.environ["DISTILWATCH_MATCH_TOKEN_LAB_B"]
    assert done.returncode == 2
    assert "TLS" in done.stderr
