"""How well lines of evidence and detectors rank accounts by themselves, on development traffic.

`python -m bench.detectors --corpus DIR --traces DIR` composes populations from the `fit` and
`choose` parts of the corpora, each also with attackers that ask what benign people ask, and one of
invented prompts. It trains on the benign days of each and prints the AUROC of the accounts of the
other days: for every line of evidence alone, for every detector on all lines, for every feature at
once, and for the ensemble, also without own pasts and kinds of use. The part of the corpora that is
reported on is not touched.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.metrics import auroc
from pipelines.simulate.compose import Simulation
from pipelines.simulate.scenario import Scenario, composed_scenario, demo_scenario
from transforms.coverage.features import COLUMNS, PAST_CHANGE, column_index
from transforms.coverage.fold import fold
from transforms.coverage.layout import DAY_MS
from transforms.coverage.sketch import CoverageSketch, encode, merge
from transforms.embedding.embed import place, vectors_of
from transforms.embedding.hashing import DIM, NAME, HashingEmbedder
from transforms.embedding.left_out import LeftOut, leave_out
from transforms.embedding.space import EmbeddingSpace, fit_space
from transforms.ingest.batch import Decoded, RecordBatch
from transforms.ingest.decode import Decoder
from transforms.ingest.pseudonyms import Pseudonymiser
from transforms.scoring.bundle import Bundle
from transforms.scoring.detectors import DEFAULT_DETECTORS, DetectorSpec, fit_ensemble
from transforms.scoring.evidence import ACCOUNT_LINES, Line, fit_evidence
from transforms.scoring.fit import PROFILE, BundleOptions, KeyedSketch, fit_bundle
from transforms.scoring.history import Part, TwoParts, middle_ms, two_parts, whole
from transforms.scoring.levels import rows_of_profiles
from transforms.scoring.model import FitOptions
from transforms.scoring.past import Past, changes
from transforms.scoring.rows import PeerGroups, sketch_rows

Float = NDArray[np.float64]

_BATCH = 2_000
_SAMPLE = 30_000
_LEAST_REQUESTS = 5
_SEED = 7
_OTHERS = (
    DetectorSpec("LOF", {"n_neighbors": 30, "novelty": True}),
    DetectorSpec("GMM", {"n_components": 4, "reg_covar": 1e-2}),
    DetectorSpec("IForest", {"n_estimators": 150}),
    DetectorSpec("PCA", {}),
)
_EVERY_FEATURE = tuple(Line(c.name, (c.name,), 1.0) for c in COLUMNS if c.name != "mmd2")


class Account(NamedTuple):
    """An account of the live days."""

    account: str
    sketch: CoverageSketch


@dataclass(frozen=True, slots=True)
class Population:
    """Standard scores of a population's accounts.

    Attributes:
      train: of the benign days, float64 of shape (n, f).
      live: of the days after, float64 of shape (m, f).
      without_past: the same when nobody has a past of his own.
      without_kinds: live, when kinds of use are not told apart.
      attack: bool of shape (m,), which of those attack.
    """

    train: Float
    live: Float
    without_past: Float
    without_kinds: Float
    attack: NDArray[np.bool_]


def scenarios(corpus: Path, traces: Path | None, seeds: Sequence[int]) -> dict[str, Scenario]:
    """Populations to compare on, by name."""
    found = {}
    for part in ("fit", "choose"):
        for swap in (False, True):
            for seed in seeds:
                plain = composed_scenario(corpus, traces, 200_000, seed, part)
                assert plain.corpus is not None
                chosen = replace(plain.corpus, source_swap=swap)
                found[f"{part}{' swap' * swap} {seed}"] = replace(plain, corpus=chosen)
    return found | {"invented": demo_scenario(seeds[0])}


def measure(scenario: Scenario) -> Population:
    """Simulates, sketches and conditions one population, without Beam."""
    simulation = Simulation(scenario)
    decoder = Decoder(Pseudonymiser(b"0" * 32), NAME, DIM)
    past: list[Decoded] = []
    live: list[Decoded] = []
    encoded = simulation.encoded()
    while several := list(islice(encoded, _BATCH)):
        records = [record for record, _ in several]
        decoded = decoder.decode(RecordBatch("bench", 0, np.arange(len(records)), records))
        # Events come in the order of time, so that one batch at most is of both periods.
        (live if several[-1][1] >= scenario.live_ms else past).append(decoded)
    attack = {str(label["account_id"]): label["label"] == "attack" for label in simulation.labels()}
    embedder = HashingEmbedder()
    vectors = np.concatenate([vectors_of(batch, embedder) for batch in past])
    chosen = np.random.default_rng(_SEED).permutation(len(vectors))[:_SAMPLE]
    space = fit_space(vectors[chosen], NAME, 1_024, _SEED)
    hashes = np.concatenate([batch.events.event_hash for batch in past])
    left_out = leave_out(space, hashes[chosen], vectors[chosen])
    before, after = parts_of(past, space, left_out), parts_of(live, space, LeftOut())
    found = {account: whole(parts) for account, parts in after.items()}
    accounts = [Account(a, s) for a, s in found.items() if s.events >= _LEAST_REQUESTS]
    peers = sorted({str(peer) for batch in past for peer in set(batch.events.peer)})
    with_kinds, plain = (_bundle(space, peers, before, kinds) for kinds in (6, 0))
    (train, live_z), (_, without_kinds) = (
        _standard(bundle, before, accounts) for bundle in (with_kinds, plain)
    )
    forgetful = replace(with_kinds, past=Past())
    return Population(
        train,
        live_z,
        _standard(forgetful, before, accounts)[1],
        without_kinds,
        np.array([attack[account.account] for account in accounts]),
    )


_Parts = Mapping[str, Sequence[Part]]


def parts_of(
    batches: Sequence[Decoded], space: EmbeddingSpace, left_out: LeftOut
) -> dict[str, list[Part]]:
    """What each account did on each day.

    Args:
      batches: of its requests.
      space: that they are placed in.
      left_out: of them, what the space was fitted to.
    """
    found: dict[tuple[str, int], list[CoverageSketch]] = {}
    for batch in batches:
        for piece in fold(left_out.measured(place(batch, space, HashingEmbedder())), DAY_MS):
            start = piece.sketch.first_ms // DAY_MS * DAY_MS
            found.setdefault((piece.account, start), []).append(piece.sketch)
    parts: dict[str, list[Part]] = {}
    for (account, start), sketches in sorted(found.items()):
        day = merge(sketches)
        parts.setdefault(account, []).append(Part(account, start, day.events, encode(day)))
    return parts


def _halves(history: _Parts) -> list[TwoParts]:
    middle = middle_ms(part for own in history.values() for part in own)
    assert middle is not None  # the history has days
    halves = (two_parts(own, middle, _LEAST_REQUESTS) for own in history.values())
    return [both for both in halves if both is not None]


def _bundle(space: EmbeddingSpace, peers: Sequence[str], history: _Parts, kinds: int) -> Bundle:
    sketches = {account: whole(parts) for account, parts in history.items()}
    keys = [KeyedSketch(account, sketch) for account, sketch in sketches.items()]
    # Groups of accounts are not looked at here.
    options = BundleOptions(FitOptions(kinds=kinds), null_groups=60, least_events=_LEAST_REQUESTS)
    return fit_bundle(
        space, peers, {PROFILE: keys}, {}, options, two_parts=_halves(history),
        accounts=sketches.items(),
    )  # fmt: skip


def _standard(bundle: Bundle, history: _Parts, accounts: Sequence[Account]) -> tuple[Float, Float]:
    """Standard scores of the history's and of the live accounts."""
    peers, model = PeerGroups(bundle.references), bundle.models[PROFILE]
    sketches = {account: whole(parts) for account, parts in history.items()}
    known = {a: s for a, s in sketches.items() if s.events >= _LEAST_REQUESTS}
    groups = [peers.of(sketch) for sketch in known.values()]
    rows = sketch_rows(list(known.values()), groups, bundle.references)
    moved = changes(_halves(history))
    column = [moved.get(account, math.nan) for account in known]
    rows.features[:, column_index()[PAST_CHANGE.name]] = column
    live = rows_of_profiles(accounts, bundle, peers)
    return model.standard_scores(rows), model.standard_scores(live)


def rank(
    population: Population,
    lines: Sequence[Line],
    detectors: Sequence[DetectorSpec],
    live: Float | None = None,
) -> float:
    """AUROC of the accounts by an ensemble on lines of evidence.

    Args:
      population: to train on and, where `live` is not given, to rank.
      lines, detectors: of the ensemble.
      live: other scores of the same accounts.
    """
    live = population.live if live is None else live
    sides = np.array([column.suspicious.value for column in COLUMNS])
    names = [column.name for column in COLUMNS]
    evidence = fit_evidence(population.train, names, sides, lines)
    ensemble = fit_ensemble(evidence.lines(population.train), detectors, _SEED)
    return auroc(ensemble.score(evidence.lines(live)), population.attack)


def table(populations: Mapping[str, Population]) -> list[str]:
    """Lines for people: a row for each way to rank, a column for each population."""
    total = [DetectorSpec("EvidenceSum", {})]
    ways: dict[str, Callable[[Population], float]] = {
        f"line {line.name}": partial(rank, lines=[line], detectors=total) for line in ACCOUNT_LINES
    }
    for spec in (*DEFAULT_DETECTORS, *_OTHERS):
        ways[f"lines, {spec.name}"] = partial(rank, lines=ACCOUNT_LINES, detectors=[spec])
    ensemble = partial(rank, lines=ACCOUNT_LINES, detectors=DEFAULT_DETECTORS)
    ways |= {
        "every feature, ensemble": partial(rank, lines=_EVERY_FEATURE, detectors=DEFAULT_DETECTORS),
        "lines, ensemble": ensemble,
        "the same without own pasts": lambda p: ensemble(p, live=p.without_past),
        "the same without kinds of use": lambda p: ensemble(p, live=p.without_kinds),
    }
    head = "| AUROC | " + " | ".join(populations) + " | mean |"
    out = [head, "|---|" + "---:|" * (len(populations) + 1)]
    for name, way in ways.items():
        found = [way(population) for population in populations.values()]
        cells = " | ".join(f"{value:.3f}" for value in [*found, float(np.mean(found))])
        out.append(f"| {name} | {cells} |")
    return out


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser("python -m bench.detectors", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of corpora")
    parser.add_argument("--traces", type=Path, help="folder of traces")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], help="of populations (1 2)")
    args = parser.parse_args(argv)
    wanted = scenarios(args.corpus, args.traces, args.seeds)
    print("\n".join(table({name: measure(scenario) for name, scenario in wanted.items()})))


if __name__ == "__main__":
    main()
