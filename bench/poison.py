"""What poisoned indicators do: benign accounts that become flagged because of them.

Each poison is a watch list of a source that is fully trusted, with indicators that are sure, fresh
and past their quarantine: what remains are the limits inside detection. What is compared is made by
somebody who knows our benign groups as well as we do, without noise, and is matched by a laxer
setting than the default (`LAX`), so that a small history can match at all. Run as
`python -m bench.poison --folder DIR`; docs/matching.md has the figures.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import yaml

from bench.gathered import Group, compared, gathered
from pipelines.sharing_drill.attacks import Thing, things_of
from pipelines.sharing_drill.exchange import HUNT
from pipelines.sharing_drill.labs import command, together
from transforms.sharing.payloads import Behaviour, Coverage
from transforms.sharing.watch.listing import LIVE, Watched, write_watch_list

SOURCE = "hostile"
LAX = {"watch": {"likeness_max_p": 0.05}}
_BIG = 40  # accounts of a carrier's network, and of a popular framework


@dataclass
class Traffic:
    """A stream with its truth.

    Attributes:
      path: of the events.
      benign: accounts that are.
      carriers: of each thing, the benign accounts that carry it.
    """

    path: Path
    benign: frozenset[str]
    carriers: dict[Thing, set[str]] = field(default_factory=dict)


def read_traffic(path: Path, labels: Path) -> Traffic:
    """Events with what each benign account carries."""
    rows = [json.loads(line) for line in labels.read_text().splitlines()]
    benign = frozenset(row["account_id"] for row in rows if row["label"] != "attack")
    traffic = Traffic(path, benign)
    for event in _events(path):
        if event["account_id"] not in benign:
            continue
        for thing in things_of(event):
            traffic.carriers.setdefault(thing, set()).add(event["account_id"])
    return traffic


def _events(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as lines:
        yield from map(json.loads, lines)


NETWORK, FRAMEWORK = "198.18.0.0/15", "You are an assistant of the Popular SDK, release 4. "


def crowds(accounts: Iterable[str], seed: int = 11) -> tuple[frozenset[str], frozenset[str]]:
    """Forty accounts behind one network, and forty others that use one framework."""
    drawn = np.random.default_rng(seed).permutation(sorted(accounts)).tolist()
    most = min(_BIG, len(drawn) // 4)
    return frozenset(drawn[:most]), frozenset(drawn[most : 2 * most])


def with_crowds(source: Path, out: Path, behind: frozenset[str], using: frozenset[str]) -> None:
    """A copy of a stream in which some accounts sit behind `NETWORK` and some use `FRAMEWORK`."""
    with out.open("w") as file:
        for event in _events(source):
            if event["account_id"] in behind:
                event["ip_prefix"] = NETWORK
            if event["account_id"] in using and event.get("prompt_text"):
                event["prompt_text"] = FRAMEWORK + event["prompt_text"]
            file.write(json.dumps(event) + "\n")


def crowd_things() -> tuple[Thing, Thing]:
    """The network and the framework's wording, as indicators name them."""
    shown = {"ip_prefix": NETWORK, "prompt_text": FRAMEWORK + "What is the tallest tree?"}
    found = dict(things_of(shown))
    return ("network", found["network"]), ("prefix_scaffold", found["prefix_scaffold"])


def poisons(
    traffic: Traffic, crowd: tuple[Thing, Thing], clusters: Iterable[Iterable[str]], seed: int = 5
) -> dict[str, list[Thing]]:
    """Watch lists of a hostile source, by name.

    Args:
      traffic: that they are meant for.
      crowd: a network and a scaffold of many.
      clusters: benign accounts that detection has linked; the last poison knows what they share.
    """
    rng = np.random.default_rng(seed)
    few = sorted(thing for thing, who in traffic.carriers.items() if 2 <= len(who) <= 10)
    some = [few[i] for i in rng.choice(len(few), min(300, len(few)), replace=False)]
    common = Counter({thing: len(who) for thing, who in traffic.carriers.items()})
    targeted = {
        thing
        for members in map(set, clusters)
        for thing, who in traffic.carriers.items()
        if len(who & members) >= 2
    }
    return {
        "network of many": [crowd[0]],
        "popular framework": [crowd[1]],
        "the 100 most common things": [thing for thing, _ in common.most_common(100)],
        "300 things of two to ten accounts": some,
        "all that benign groups share": sorted(targeted),
    }


def watched(things: Iterable[Thing]) -> list[Watched]:
    """Live indicators of the hostile source."""
    return [
        Watched(f"indicator--{kind}-{value}", kind, value, SOURCE, 1.0, 1 << 42, None, LIVE)
        for kind, value in things
    ]


def groups_of(database: Path, benign: frozenset[str]) -> list[Group]:
    """Benign groups of a run that tells of every cluster, the oddest one first."""
    return [
        group
        for group in gathered(database)
        if len(group.accounts) > 1 and group.accounts <= benign
    ]


def likenesses(groups: Sequence[Group]) -> dict[str, list[Watched]]:
    """Watch lists of a hostile source that are compared, by name.

    Args:
      groups: benign ones, the oddest one first.
    """
    every = np.sum([group.coverage.values for group in groups], axis=0)
    everybody = replace(groups[0].coverage, values=every)
    return {
        "what benign groups ask, all together": [_compared(everybody, 0)],
        "what each benign group asks": [_compared(g.coverage, i) for i, g in enumerate(groups)],
        "how each benign group behaves": [_compared(g.behaviour, i) for i, g in enumerate(groups)],
        "the oddest benign group, both": [
            _compared(groups[0].coverage, 0), _compared(groups[0].behaviour, 0),
        ],
    }  # fmt: skip


def _compared(payload: Behaviour | Coverage, number: int) -> Watched:
    return compared(payload, str(number), SOURCE, 1.0)


def flagged(database: Path) -> set[str]:
    """Accounts of clusters that are flagged."""
    with duckdb.connect(str(database), read_only=True) as connection:
        rows = connection.execute(
            "SELECT m.account_id FROM current_clusters c JOIN cluster_members m "
            "USING (cluster_id, window_start, revision) WHERE c.status <> 'resolved'"
        ).fetchall()
    return {account for (account,) in rows}


def benign_groups(database: Path, benign: frozenset[str]) -> list[set[str]]:
    """Accounts that were linked, flagged or not, in groups that are benign."""
    with duckdb.connect(str(database), read_only=True) as connection:
        rows = connection.execute(
            "SELECT cluster_id, list(DISTINCT key) FROM session_scores "
            "WHERE level = 'profile' AND cluster_id IS NOT NULL GROUP BY ALL"
        ).fetchall()
    return [set(members) for _, members in rows if set(members) <= benign]


def measure(
    folder: Path,
    accounts: int = 200,
    events: int = 14_000,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Simulates, trains, and detects without a watch list and with every poison.

    Returns:
      Benign accounts, groups of them, p-values of the oddest ones that are not flagged, and for
      each poison its size, sightings, and how many benign accounts are flagged that were not.
    """
    home, bundle = folder / "home", folder / "bundle"
    command(
        home, "simulate", "--out", folder / "live0.jsonl", "--history", folder / "history0.jsonl",
        "--labels", folder / "labels.jsonl", "--accounts", accounts, "--events", events,
        "--days", 8, "--history-days", 5, "--attack", "hydra-disjoint:m=12,rate=46,links=1",
    )  # fmt: skip
    # The framework has been in use before; the network is new, so that only limits know its size.
    benign = read_traffic(folder / "live0.jsonl", folder / "labels.jsonl").benign
    behind, using = crowds(benign)
    with_crowds(folder / "history0.jsonl", folder / "history.jsonl", frozenset(), using)
    with_crowds(folder / "live0.jsonl", folder / "live.jsonl", behind, using)
    base = dict(settings or {})
    config = folder / "settings.yaml"
    config.write_text(yaml.safe_dump(base))
    command(
        home, "train", "--input", folder / "history.jsonl", "--bundle", bundle, "--config", config
    )
    traffic = read_traffic(folder / "live.jsonl", folder / "labels.jsonl")

    def detect(name: str, changes: Mapping[str, Any]) -> Path:
        out, config = folder / f"{name}.duckdb", folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(together(base, changes)))
        command(
            home, "detect", "--input", traffic.path, "--bundle", bundle, "--config", config,
            "--output", f"duckdb:///{out}",
        )  # fmt: skip
        return out

    bare = detect("bare", {})
    before, groups = flagged(bare), benign_groups(bare, traffic.benign)
    # Tells of every cluster, so that the hostile lab knows the benign ones to the last digit.
    every = groups_of(detect("every", together(HUNT, {"alerts": {"max_p": 1.0}})), traffic.benign)
    unflagged = [group for group in every if not group.accounts & before]
    result: dict[str, Any] = {
        "benign_accounts": len(traffic.benign), "benign_groups": len(groups),
        "benign_flagged_before": len(before & traffic.benign),
        "oddest_not_flagged": [group.p_value for group in unflagged[:3]], "poisons": {},
    }  # fmt: skip
    lists: dict[str, tuple[list[Watched], Mapping[str, Any]]] = {
        name: (watched(things), {})
        for name, things in poisons(traffic, crowd_things(), groups).items()
    } | {name: (listed, LAX) for name, listed in likenesses(unflagged).items()}
    for i, (name, (things, changes)) in enumerate(lists.items()):
        listed = folder / f"watch-{i}.json"
        write_watch_list(listed, things)
        watch = {"list": str(listed), "sources": [{"name": SOURCE, "trust": 1.0}]}
        out = detect(f"poison-{i}", together(changes, {"watch": watch}))
        with duckdb.connect(str(out), read_only=True) as connection:
            [(seen, who)] = connection.execute(
                "SELECT count(*), count(DISTINCT account_id) FROM sightings"
            ).fetchall()
        after = flagged(out)
        result["poisons"][name] = {
            "indicators": len(things), "sightings": seen, "accounts_sighted": who,
            "benign_newly_flagged": len((after - before) & traffic.benign),
            "benign_flagged": len(after & traffic.benign),
        }  # fmt: skip
    return result


def main() -> None:
    """Prints what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--accounts", type=int, default=700)
    parser.add_argument("--events", type=int, default=60_000)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(json.dumps(measure(options.folder, options.accounts, options.events), indent=1))


if __name__ == "__main__":
    main()
