"""How often live benign clusters and accounts have small p-values, against what these promise.

`python -m bench.calibration --seeds 1 2 3` makes worlds of benign accounts only, trains on the
first days of each and scores the days after, without Beam. Printed are the shares with a p-value up
to 0.1, 1, 5 and 10 %, and how many customers would be flagged. With --corpus and --part prompts are
those of a part of the corpora.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.detectors import parts_of
from pipelines.settings.clusters import ClustersConfig
from pipelines.simulate.compose import Simulation
from pipelines.simulate.scenario import Scenario, composed_scenario
from transforms.alerts.discoveries import BatchBH
from transforms.clusters.features import Member, group_row
from transforms.clusters.linkables import linkable
from transforms.clusters.links import (
    LinkOptions,
    find_components,
    weighted_degree,
    with_matches,
)
from transforms.clusters.transforms import CLUSTER_LEVEL, cluster_rows
from transforms.coverage.layout import DAY_MS
from transforms.coverage.sketch import CoverageSketch
from transforms.embedding.embed import vectors_of
from transforms.embedding.hashing import DIM, NAME, HashingEmbedder
from transforms.embedding.left_out import LeftOut, leave_out
from transforms.embedding.space import EmbeddingSpace, fit_space
from transforms.ingest.batch import Decoded, RecordBatch
from transforms.ingest.decode import Decoder
from transforms.ingest.pseudonyms import Pseudonymiser
from transforms.scoring.bundle import Bundle
from transforms.scoring.fit import PROFILE, BundleOptions, KeyedSketch, fit_bundle
from transforms.scoring.history import Part, middle_ms, profiles, two_parts, whole
from transforms.scoring.levels import rows_of_profiles
from transforms.scoring.model import FeatureRows
from transforms.scoring.rows import PeerGroups

Float = NDArray[np.float64]

LEVELS = (0.001, 0.01, 0.05, 0.1)
_BATCH, _LEAST_REQUESTS, _SEED = 2_000, 5, 7
_WINDOW_MS = 28 * DAY_MS
_RATE, _MAX_P = 0.2, 0.01  # the defaults of alerts


class Account(NamedTuple):
    """An account of the live days."""

    account: str
    sketch: CoverageSketch


@dataclass(frozen=True, slots=True)
class Judged:
    """What was said of the live days.

    Attributes:
      clusters: p-values of clusters.
      accounts: p-values of accounts, each by itself, in the order of their ids.
      flagged: accounts that are discoveries, or in a cluster that is one.
      linked: groups of the history that share something, of those that calibrate.
    """

    clusters: Float
    accounts: Float
    flagged: int
    linked: int


@dataclass(frozen=True, slots=True)
class World:
    """The two periods of a population in the space of the first one."""

    space: EmbeddingSpace
    peers: Sequence[str]
    history: Mapping[str, Sequence[Part]]
    live: Mapping[str, Sequence[Part]]


def world(scenario: Scenario, cells: int = 1_024, sample: int = 60_000) -> World:
    """Makes a population's requests and sketches them."""
    decoder, embedder = Decoder(Pseudonymiser(b"0" * 32), NAME, DIM), HashingEmbedder()
    history: list[Decoded] = []
    live: list[Decoded] = []
    encoded = Simulation(scenario).encoded()
    while several := list(islice(encoded, _BATCH)):
        for period, later in ((history, False), (live, True)):
            records = [record for record, at in several if (at >= scenario.live_ms) == later]
            if records:
                batch = RecordBatch("bench", 0, np.arange(len(records)), records)
                period.append(decoder.decode(batch))
    vectors = np.concatenate([vectors_of(batch, embedder) for batch in history])
    hashes = np.concatenate([batch.events.event_hash for batch in history])
    chosen = np.sort(np.argsort(hashes)[:sample])
    space = fit_space(vectors[chosen], NAME, cells, _SEED)
    left_out = leave_out(space, hashes[chosen], vectors[chosen])
    peers = sorted({str(peer) for batch in history for peer in set(batch.events.peer)})
    return World(space, peers, parts_of(history, space, left_out), parts_of(live, space, LeftOut()))


def fitted(made: World, options: BundleOptions) -> Bundle:
    """The bundle of a world's history, as `distilwatch train` makes it, but for sessions."""
    history = made.history
    keys = [
        KeyedSketch(account, sketch)
        for account in sorted(history)
        for sketch in profiles(history[account], _WINDOW_MS)
    ]
    middle = middle_ms(part for own in history.values() for part in own)
    assert middle is not None  # the history has days
    halves = (two_parts(history[a], middle, _LEAST_REQUESTS) for a in sorted(history))
    return fit_bundle(
        made.space, made.peers, {PROFILE: keys}, {}, options,
        two_parts=[both for both in halves if both is not None],
        accounts=((account, whole(parts)) for account, parts in history.items()),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Cluster:
    members: Sequence[Member]
    row: Any


def judged(made: World, options: BundleOptions) -> Judged:
    """Scores the live days of a world as one window."""
    bundle = fitted(made, options)
    model = bundle.models[CLUSTER_LEVEL]
    accounts = [Account(name, whole(parts)) for name, parts in sorted(made.live.items())]
    scores = bundle.models[PROFILE].score(
        rows_of_profiles(accounts, bundle, PeerGroups(bundle.references))
    )
    known = {
        account.account: Member(account.account, account.sketch, float(p), z)
        for account, p, z in zip(accounts, scores.p_value, scores.z, strict=True)
    }
    candidates = [
        linkable(m.account, m.sketch, options.links, bundle.common, m.p_value)
        for m in known.values()
    ]
    components = with_matches(
        candidates, find_components(candidates, options.links), bundle.background, options.links
    )
    clusters = []
    for component in components:
        members = [
            replace(known[account], degree=weighted_degree(links))
            for account, links in zip(component.accounts, component.links, strict=True)
        ]
        clusters.append(_Cluster(members, group_row(members, bundle.reference(""))))
    p_values = model.score(_rows(clusters, bundle)).p_value if clusters else np.empty(0)
    inside = {member.account for cluster in clusters for member in cluster.members}
    alone = np.array([m.p_value for m in known.values() if m.account not in inside])
    cut = min(_MAX_P, BatchBH(_RATE).test(np.concatenate([p_values, alone])).cut)
    sizes = np.array([len(cluster.members) for cluster in clusters], np.int64)
    flagged = int(sizes[p_values <= cut].sum()) + int((alone <= cut).sum())
    return Judged(p_values, scores.p_value, flagged, model.linked)


def _rows(clusters: Sequence[_Cluster], bundle: Bundle) -> FeatureRows:
    return cluster_rows(clusters, bundle, PeerGroups(bundle.references))


def table(found: Mapping[str, Judged]) -> dict[str, Any]:
    """Shares of the clusters and accounts of all worlds together, and the flagged of each."""

    def shares(values: Float) -> dict[str, float]:
        return {f"{x:g}": round(float((values <= x).mean()), 4) for x in LEVELS}

    clusters = np.concatenate([judged.clusters for judged in found.values()])
    accounts = np.concatenate([judged.accounts for judged in found.values()])
    return {
        "clusters": len(clusters), "clusters_at_most": shares(clusters),
        "accounts": len(accounts), "accounts_at_most": shares(accounts),
        "flagged": {name: judged.flagged for name, judged in found.items()},
        "linked_groups_that_calibrate": {name: judged.linked for name, judged in found.items()},
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Prints what was measured as JSON."""
    parser = argparse.ArgumentParser("python -m bench.calibration", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--accounts", type=int, default=600)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--corpus", type=Path, help="folder of corpora; invented prompts without")
    parser.add_argument("--part", choices=("fit", "choose"), default="fit")
    parser.add_argument("--cells", type=int, default=1_024)
    parser.add_argument("--null-groups", type=int, default=ClustersConfig().null_groups)
    args = parser.parse_args(argv)
    options = BundleOptions(links=LinkOptions(), null_groups=args.null_groups)
    found = {}
    for seed in args.seeds:
        scenario = Scenario(seed)
        if args.corpus is not None:
            scenario = composed_scenario(args.corpus, None, args.events, seed, args.part)
        scenario = replace(scenario, accounts=args.accounts, events=args.events, campaigns=())
        found[str(seed)] = judged(world(scenario, args.cells), options)
    print(json.dumps(table(found), indent=1))


if __name__ == "__main__":
    main()
