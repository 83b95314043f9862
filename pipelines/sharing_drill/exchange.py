"""From a confirmed cluster of one lab to the watch lists of the others, through a TAXII server."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipelines.decisions import decide_cluster
from pipelines.sharing.tables import LocalShared
from pipelines.sharing_drill.labs import Lab, command, flagged
from pipelines.tables import columns, connect, rows
from transforms.sharing.coverage import noisy_coverage
from transforms.sharing.evidence import unpack
from transforms.sharing.gate import check_outgoing
from transforms.sharing.indicators import Indicator, Kind, Marking
from transforms.sharing.payloads import Coverage
from transforms.sharing.receive import Feed, receive
from transforms.sharing.select import Case, Terms, candidates
from transforms.sharing.stix import bundle_of, objects_of, signed_objects
from transforms.sharing.taxii import Place, poll, publish

DAY_MS = 86_400_000
FORUM = "forum"
TERMS = Terms(
    recipient=FORUM,
    kinds=frozenset(Kind) - {Kind.NETWORK},  # which labs only match privately
    marking=Marking.AMBER,
    least_confidence=50,
    least_accounts=2,
    least_members=2,
    most_others=dict.fromkeys(Kind, 0),
    valid_ms=730 * DAY_MS,  # the campaign is made up, and so is when it was
    epsilon=1.0,
    delta=1e-6,
    epsilon_total=4.0,
)
# A search with a loose threshold, whose hits people look through; nothing of it is an alert.
HUNT = {"alerts": {"max_p": 0.2, "pages_per_day": 10_000, "control": "budget"}}


@dataclass
class Told:
    """What one lab told the forum.

    Attributes:
      lab: its name.
      confirmed_ms: when a person confirmed, milliseconds UTC.
      confirmed: accounts of the confirmed clusters; stays at the lab.
      indicators: that left.
      stayed: reasons of what did not leave, and how often.
      data: bytes that left.
    """

    lab: str
    confirmed_ms: int
    confirmed: frozenset[str]
    indicators: list[Indicator] = field(default_factory=list)
    stayed: dict[str, int] = field(default_factory=dict)
    data: bytes = b""


def hunt(lab: Lab) -> Path:
    """A search with a loose threshold, whose hits a person looks through; returns the tables.

    Customers who are in a cluster of the campaign are taken out of it, and the lab detects once
    more: what was gathered of such a cluster has them in it.
    """
    tables = lab.detect("hunt", HUNT)
    return lab.detect("hunt", HUNT, decided=tables) if take_customers_out(lab, tables) else tables


def take_customers_out(lab: Lab, tables: Path) -> int:
    """Takes customers out of clusters with two and more accounts of the campaign; returns of how
    many. The person is simulated, and right."""
    mixed = {
        name: members - lab.members
        for name, members in flagged(tables).items()
        if len(members & lab.members) >= 2 and members - lab.members
    }
    for name, customers in mixed.items():
        decide_cluster(
            f"duckdb:///{tables}", name, "split", "they use the same words", by="analyst",
            split_accounts=sorted(customers),
        )  # fmt: skip
    return len(mixed)


def tell(lab: Lab, hunted: Path, place: Place, key: Ed25519PrivateKey) -> Told:
    """Confirms what is of the campaign among the hits of a hunt, and publishes indicators of it.

    The person who confirms is simulated, and right: a cluster is confirmed when all of its accounts
    are of the campaign.

    Args:
      lab: that tells.
      hunted: tables of its hunt.
      place: collection of the forum.
      key: that the lab signs with.
    """
    with connect(hunted) as connection:
        found = rows(
            connection,
            f"""SELECT {columns("cluster_evidence")} FROM cluster_evidence
            QUALIFY row_number() OVER (
                PARTITION BY cluster_id ORDER BY window_start DESC, revision DESC) = 1""",
        )
        members = {
            row["cluster_id"]: frozenset(row["accounts"])
            for row in rows(
                connection,
                "SELECT cluster_id, list(DISTINCT account_id) AS accounts FROM cluster_members "
                "GROUP BY ALL",
            )
        }
        seen = rows(connection, "SELECT max(epoch_ms(last_seen)) AS ms FROM flagged_clusters")
    now_ms = time.time_ns() // 1_000_000
    confirmed = [row for row in found if members[row["cluster_id"]] <= lab.members]
    secret = secrets.token_bytes(32)
    told = Told(lab.name, now_ms, frozenset().union(*(members[r["cluster_id"]] for r in confirmed)))
    for row in confirmed:
        case = Case(
            row, lab.name, _pseudonym(row["cluster_id"], secret), int(seen[0]["ms"]), now_ms
        )
        for one in candidates(case, TERMS, partial(_draw, row)):
            if one.indicator is None:
                told.stayed[one.why] = told.stayed.get(one.why, 0) + 1
            else:
                told.indicators.append(one.indicator)
    objects = signed_objects(objects_of(told.indicators), key)
    told.data = bundle_of(objects)
    names = set(lab.accounts) | set(members)
    publish(place, check_outgoing(told.data, TERMS, names))
    return told


def _pseudonym(cluster_id: str, secret: bytes) -> str:
    return "campaign-" + blake2b(cluster_id.encode(), digest_size=6, key=secret).hexdigest()


def _draw(row: Mapping[str, Any]) -> Coverage:
    return noisy_coverage(
        unpack(row["coverage"]), row["space"], row["embedding_model"], TERMS.epsilon, TERMS.delta
    )


def hear(lab: Lab, place: Place, keys: Mapping[str, Ed25519PrivateKey]) -> list[Indicator]:
    """Polls the forum, takes what other labs have signed, and makes the lab's watch list of it."""
    feed = Feed(
        FORUM,
        lab.name,
        {name: [key.public_key()] for name, key in keys.items() if name != lab.name},
    )
    got = receive(poll(place).objects, feed, time.time_ns() // 1_000_000)
    if got.refused:
        raise RuntimeError(f"{lab.name} refuses what others published: {got.refused[:3]}")
    LocalShared(lab.folder / "before.duckdb").write(got.indicators, "received")
    config = lab._write("watching.yaml", watching(lab, keys))
    command(
        lab.home,
        "share",
        "watch",
        "--from",
        f"duckdb:///{lab.folder / 'before.duckdb'}",
        "--list",
        lab.watch_list,
        "--config",
        config,
    )
    return got.indicators


def watching(lab: Lab, others: Iterable[str], trust: float = 0.8) -> dict[str, Any]:
    """Settings of a lab that trusts the others."""
    sources = [
        {"name": name, "trust": trust, "tried_first": False}
        for name in sorted(others)
        if name != lab.name
    ]
    return {"watch": {"list": str(lab.watch_list), "sources": sources}}


def equal_ones(indicators: Sequence[Indicator]) -> list[Indicator]:
    """Those that are equal or not."""
    return [one for one in indicators if not one.kind.compared]
