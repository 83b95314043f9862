"""The drill as a whole, and what it reports."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipelines.config import load_config
from pipelines.parts import decoder, embeds_texts
from pipelines.sharing_drill import attacks
from pipelines.sharing_drill.exchange import (
    FORUM,
    TERMS,
    Told,
    equal_ones,
    hear,
    hunt,
    tell,
    watching,
)
from pipelines.sharing_drill.labs import (
    NAMES,
    Lab,
    campaign_events,
    flagged,
    query,
    together,
)
from transforms.coverage.fold import fold
from transforms.coverage.sketch import merge
from transforms.ingest.batch import RecordBatch
from transforms.ingest.transforms import DecodeAndPlace
from transforms.scoring.handler import VerifiedBundle
from transforms.sharing.coverage import contribution
from transforms.sharing.taxii import Place

DAY_MS = 86_400_000
_MOST_TIMES = 8  # that a campaign slows down
LAB: Mapping[str, Mapping[str, Any]] = {
    "clusters": {
        # A history of 330 accounts cannot tell what happens to one customer in a thousand: the
        # default of 0.01 would add two or three of them to each suspicious cluster.
        "signature_max_p": 0,
    },
}
"""Settings of all labs of the drill, over the defaults."""
ATTACK = "hydra-disjoint:m=18,rate=46,links=1,by=scaffold"
"""Six accounts for each of three labs, which share a wording and nothing else. (A card that they
share would link them, and could not be told of: nothing of payments leaves.)"""


@dataclass(frozen=True)
class DrillOptions:
    """Attributes:
    folder: for all that the labs have.
    taxii: URL of a collection that can be read and written; user and password are in the
      environment, see `Place`.
    user_env, password_env: names of the variables.
    brokers: "host:port" of a Kafka broker for each lab; none: labs read files.
    attack: the campaign.
    benign_accounts, events: of each lab.
    settings: of all labs, over `LAB`.
    seed: of everything.
    """

    folder: Path
    taxii: str
    user_env: str = ""
    password_env: str = ""
    brokers: Sequence[str] = ()
    attack: str = ATTACK
    benign_accounts: int = 400
    events: int = 32_000
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 99


def run_drill(options: DrillOptions) -> dict[str, Any]:
    """Runs the drill; returns figures that JSON can hold.

    Raises:
      RuntimeError: when a command of a lab fails.
    """
    settings = together(LAB, options.settings)
    parts = campaign_events(options.folder, options.attack, options.seed, len(NAMES))
    labs = []
    for i, (name, part) in enumerate(zip(NAMES, parts, strict=True)):
        broker = options.brokers[i] if options.brokers else ""
        lab = Lab(name, options.folder / name, settings, broker, part)
        lab.build(options.benign_accounts, options.events, options.seed + 1 + i)
        labs.append(lab)
    before = {lab.name: unnoticed(lab) for lab in labs}
    hunted = {lab.name: hunt(lab) for lab in labs}
    place = Place(FORUM, options.taxii, options.user_env, options.password_env)
    return exchange(labs, before, hunted, place)


def unnoticed(lab: Lab) -> Path:
    """Lets a lab detect alone; where it flags its part of the campaign, the campaign goes slower
    there until it does not. Returns the tables.

    That is what "too thin to be flagged alone" means to an attacker, who sees which of its accounts
    are stopped.

    Raises:
      RuntimeError: when it is flagged however slow it is.
    """
    found = lab.detect("before")
    for _ in range(_MOST_TIMES):
        if not _recall(found, lab):
            return found
        lab.slow_down()
        found = lab.detect("before")
    if _recall(found, lab):
        raise RuntimeError(f"{lab.name} flags the campaign at {lab.requests:.1%} of its requests")
    return found


def exchange(
    labs: Sequence[Lab], before: Mapping[str, Path], hunted: Mapping[str, Path], place: Place
) -> dict[str, Any]:
    """The exchange and what comes of it, once all labs have looked at their streams alone."""
    keys = {lab.name: Ed25519PrivateKey.generate() for lab in labs}
    told = [tell(lab, hunted[lab.name], place, keys[lab.name]) for lab in labs]
    heard, after, minutes = {}, {}, {}
    for lab in labs:
        first = min(one.confirmed_ms for one in told if one.lab != lab.name)
        heard[lab.name] = hear(lab, place, keys)
        after[lab.name] = lab.detect("after", watching(lab, keys), hunted[lab.name])
        minutes[lab.name] = (time.time_ns() // 1_000_000 - first) / 1_000
    return {
        "labs": [
            _of_lab(lab, before[lab.name], after[lab.name], told[i], minutes[lab.name])
            for i, lab in enumerate(labs)
        ],
        "learnt": learnt(labs, told),
    }


def _recall(database: Path, lab: Lab) -> float:
    found = set().union(*flagged(database).values()) if flagged(database) else set()
    return len(found & lab.members) / len(lab.members)


def _of_lab(lab: Lab, before: Path, after: Path, told: Told, seconds: float) -> dict[str, Any]:
    others = lab.accounts - lab.members
    wrong = {
        name: sum(len(members & others) for members in flagged(tables).values())
        for name, tables in (("before", before), ("after", after))
    }
    rows = query(after, "SELECT account_id, indicator_id FROM sightings")
    clusters = query(
        after,
        "SELECT cluster_id, account_count, p_value_alone, p_value, reported_by, "
        "[r.words FOR r IN reasons] FROM current_clusters WHERE status <> 'resolved'",
    )
    return {
        "lab": lab.name,
        "accounts": len(lab.accounts),
        "campaign_accounts": len(lab.members),
        "campaign_requests": lab.requests,
        "recall_before": _recall(before, lab),
        "recall_after": _recall(after, lab),
        "benign_flagged_before": wrong["before"],
        "benign_flagged_after": wrong["after"],
        "confirmed_accounts": len(told.confirmed),
        "told": len(told.indicators),
        "stayed": told.stayed,
        "sightings": len(rows),
        "sighted_accounts": len({account for account, _ in rows}),
        "sighted_benign": len({account for account, _ in rows} & others),
        "seconds_from_confirmation": seconds,
        "clusters": [
            dict(zip(("cluster", "accounts", "alone", "p", "by", "reasons"), row, strict=True))
            for row in clusters
        ],
    }


def learnt(labs: Sequence[Lab], told: Sequence[Told]) -> dict[str, Any]:
    """What labs can find out about one another's accounts, by attacks on what they sent."""
    networks: set[str] = set()
    carriers: dict[str, dict[tuple[str, str], set[str]]] = {}
    secrets: set[str] = set()
    for lab in labs:
        own: dict[tuple[str, str], set[str]] = {}
        payments: set[str] = set()
        with lab.live.open() as lines:
            for event in map(json.loads, lines):
                payments.add(event.get("payment_fingerprint") or "")
                networks.add(event.get("ip_prefix") or "")
                if event["account_id"] not in lab.members:
                    for thing in attacks.things_of(event):
                        own.setdefault(thing, set()).add(event["account_id"])
        carriers[lab.name] = own
        secrets |= lab.accounts | payments
    sent = [one for lab in told for one in lab.indicators]
    return {
        "secrets_looked_for": len(secrets - {""}),
        "secrets_found_in_clear": attacks.names_in(told, secrets),
        "bytes_sent": sum(len(one.data) for one in told),
        "networks": attacks.invert_networks(sent, 1 / 256, networks - {""}),
        "hashes": {
            one.lab: attacks.carried_by_customers(equal_ones(one.indicators), carriers[one.lab])
            for one in told
        },
        "coverage_sent": sum(one.kind.value == "coverage" for one in sent),
        "membership": {
            f"{group} accounts": attacks.membership_inference(
                _contributions(labs[0]), group, TERMS.epsilon, TERMS.delta
            )
            for group in (20, 100)
        },
    }


def _contributions(lab: Lab) -> np.ndarray[Any, np.dtype[np.int64]]:
    """What each account of a lab would add to a coverage sketch: int64 of shape (n, 1024)."""
    with lab.live.open("rb") as lines:
        values = [line.rstrip(b"\n") for line in lines]
    batch = RecordBatch(str(lab.live), 0, np.arange(len(values)), values)
    config = load_config(lab.folder / "settings.yaml")
    manifest = (lab.folder / "bundle" / "manifest.json").read_bytes()
    bundle = VerifiedBundle(str(lab.folder / "bundle"), sha256(manifest).hexdigest())
    placed, _ = DecodeAndPlace(decoder(config), bundle, embeds_texts(config))(batch)
    sketches: dict[str, list[Any]] = {}
    for part in fold(placed.events, DAY_MS):
        sketches.setdefault(part.account, []).append(part.sketch)
    return np.stack([contribution(merge(sketches[name])) for name in sorted(sketches)])


def lines(found: Mapping[str, Any]) -> list[str]:
    """The report for people."""
    out = [
        "lab     campaign  requests  recall before  after  benign flagged  told  sighted (benign)"
        "  seconds"
    ]
    for lab in found["labs"]:
        wrong = f"{lab['benign_flagged_before']} → {lab['benign_flagged_after']}"
        sighted = f"{lab['sighted_accounts']} ({lab['sighted_benign']})"
        out.append(
            f"{lab['lab']:<8}{lab['campaign_accounts']:>8}{lab['campaign_requests']:>10.0%}"
            f"{lab['recall_before']:>15.0%}"
            f"{lab['recall_after']:>7.0%}{wrong:>16}{lab['told']:>6}{sighted:>18}"
            f"{lab['seconds_from_confirmation']:>9.0f}"
        )
    learnt = found["learnt"]
    networks = learnt["networks"]
    out += [
        "",
        f"Names in clear in {learnt['bytes_sent']:,} bytes: {learnt['secrets_found_in_clear']} of "
        f"{learnt['secrets_looked_for']:,} accounts and cards.",
        f"Hashes of networks that left: {networks['network_hashes']}; all "
        f"networks can be tried in {networks['seconds_for_all_networks']:.0f} s.",
        "Customers who carry what their lab shared: "
        + ", ".join(f"{n} {h['benign_accounts_touched']}" for n, h in learnt["hashes"].items()),
    ]
    out += [
        f"Coverage sketch of {group}: AUC {m['auc_who_knows_all_others']:.3f} for who knows all "
        f"others, {m['auc_who_knows_the_account']:.3f} for who knows the account; advantage "
        f"{m['advantage']:.3f}. The promise allows {m['auc_allowed']:.3f} and "
        f"{m['advantage_allowed']:.3f}, the noise {m['auc_of_the_noise']:.3f}."
        for group, m in learnt["membership"].items()
    ]
    return out
