"""How well lines of evidence and detectors rank accounts by themselves, on development traffic.

`python -m bench.detectors --corpus DIR --traces DIR` composes populations from the `fit` and
`choose` parts of the corpora, each also with attackers that ask what benign people ask, and one of
invented prompts. It trains on the benign days of each and prints the AUROC of the accounts of the
other days: for every line of evidence alone, for every detector on all lines, for every feature at
once, and for the ensemble. The part of the corpora that is reported on is not touched.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.metrics import auroc
from pipelines.simulate.compose import Simulation
from pipelines.simulate.scenario import Scenario, composed_scenario, demo_scenario
from transforms.coverage.features import COLUMNS
from transforms.coverage.fold import fold
from transforms.coverage.layout import DAY_MS
from transforms.coverage.sketch import CoverageSketch, merge
from transforms.embedding.embed import place, vectors_of
from transforms.embedding.hashing import DIM, NAME, HashingEmbedder
from transforms.embedding.space import EmbeddingSpace, fit_space
from transforms.ingest.batch import Decoded, RecordBatch
from transforms.ingest.decode import Decoder
from transforms.ingest.pseudonyms import Pseudonymiser
from transforms.scoring.conditioning import fit_conditioner
from transforms.scoring.detectors import DEFAULT_DETECTORS, DetectorSpec, fit_ensemble
from transforms.scoring.evidence import ACCOUNT_LINES, Line, fit_evidence
from transforms.scoring.rows import sketch_rows

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


@dataclass(frozen=True, slots=True)
class Population:
    """Standard scores of a population's accounts.

    Attributes:
      train: of the benign days, float64 of shape (n, f).
      live: of the days after, float64 of shape (m, f).
      attack: bool of shape (m,), which of those attack.
    """

    train: Float
    live: Float
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
    before, after = (_profiles(batches, space) for batches in (past, live))
    train, rows = (
        sketch_rows(list(found.values()), [""] * len(found), {}) for found in (before, after)
    )
    conditioner = fit_conditioner(train.features, train.covariates, train.groups)
    return Population(
        conditioner.standardise(train.features, train.covariates, train.groups),
        conditioner.standardise(rows.features, rows.covariates, rows.groups),
        np.array([attack[account] for account in after]),
    )


def _profiles(batches: Sequence[Decoded], space: EmbeddingSpace) -> dict[str, CoverageSketch]:
    parts: dict[str, list[CoverageSketch]] = {}
    for batch in batches:
        for partial in fold(place(batch, space, HashingEmbedder()), DAY_MS):
            parts.setdefault(partial.account, []).append(partial.sketch)
    merged = {account: merge(several) for account, several in parts.items()}
    return {a: sketch for a, sketch in merged.items() if sketch.events >= _LEAST_REQUESTS}


def rank(population: Population, lines: Sequence[Line], detectors: Sequence[DetectorSpec]) -> float:
    """AUROC of the accounts by an ensemble on lines of evidence."""
    sides = np.array([column.suspicious.value for column in COLUMNS])
    names = [column.name for column in COLUMNS]
    evidence = fit_evidence(population.train, names, sides, lines)
    ensemble = fit_ensemble(evidence.lines(population.train), detectors, _SEED)
    return auroc(ensemble.score(evidence.lines(population.live)), population.attack)


def table(populations: Mapping[str, Population]) -> list[str]:
    """Lines for people: a row for each way to rank, a column for each population."""
    ways: dict[str, tuple[Sequence[Line], Sequence[DetectorSpec]]] = {
        f"line {line.name}": ([line], [DetectorSpec("EvidenceSum", {})]) for line in ACCOUNT_LINES
    }
    for spec in (*DEFAULT_DETECTORS, *_OTHERS):
        ways[f"lines, {spec.name}"] = (ACCOUNT_LINES, [spec])
    ways["every feature, ensemble"] = (_EVERY_FEATURE, DEFAULT_DETECTORS)
    ways["lines, ensemble"] = (ACCOUNT_LINES, DEFAULT_DETECTORS)
    head = "| AUROC | " + " | ".join(populations) + " | mean |"
    out = [head, "|---|" + "---:|" * (len(populations) + 1)]
    for name, (lines, detectors) in ways.items():
        found = [rank(population, lines, detectors) for population in populations.values()]
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
