"""Scoring alone, beside streaming detectors of others: PySAD's and River's, a session at a time.

`python -m bench.scoring` makes the feature rows of the sessions of Zipf traffic once, and times how
each scores them: ours all at once, with every detector of the bundle and calibrated p-values; the
others as their guides have it, one instance after the other, each scored and then learnt from. It
is about time, not about who finds more: that is `python -m bench.detectors`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.case import prepare_zipf
from bench.limit import sessions_without_beam
from bench.needs import missing_packages
from bench.throughput import ONE_THREAD, machine
from bench.zipf import Traffic, settings
from pipelines.config import load_config
from transforms.scoring.fit import ACCOUNT_SESSION
from transforms.scoring.model import FeatureRows, ScoringModel
from transforms.scoring.rows import PeerGroups, sketch_rows
from transforms.sessions.identity import ACCOUNT, SessionKey

Float = NDArray[np.float64]
_SEED = 7


@dataclass(frozen=True)
class Scorer:
    """One way to score.

    Attributes:
      name: of it.
      session_us: processor time of a session in each run, microseconds.
    """

    name: str
    session_us: tuple[float, ...]


def rows_and_model(folder: Path, events: int, keys: int) -> tuple[FeatureRows, ScoringModel]:
    """Feature rows of the accounts' sessions, and the bundle's model of them."""
    traffic = Traffic(events, keys)
    case = prepare_zipf(folder, traffic, load_config(None, settings(traffic)))
    bundle, sessions = case.verified().load(), sessions_without_beam(case)
    own = [i for i, name in enumerate(sessions.names) if SessionKey.decode(name).kind == ACCOUNT]
    stack = sessions.stack.take(np.array(own))
    groups = PeerGroups(bundle.references).of_all(stack)
    return sketch_rows(stack, groups, bundle.references), bundle.models[ACCOUNT_SESSION]


def pysad_scorers(known: Float) -> dict[str, Callable[[Float], object]]:
    """PySAD's detectors that need no look ahead."""
    from pysad.models import LODA, HalfSpaceTrees, RSHash, xStream

    low, high = known.min(axis=0), known.max(axis=0) + 1e-9
    models = {
        "PySAD xStream": xStream(),
        "PySAD RSHash": RSHash(low, high),
        "PySAD HalfSpaceTrees": HalfSpaceTrees(low, high, random_state=_SEED),
        "PySAD LODA": LODA(),
    }
    return {name: model.fit_score_partial for name, model in models.items()}


def river_scorers(names: Sequence[str]) -> dict[str, Callable[[Float], object]]:
    """River's half-space trees, behind a scaler, because they want features from 0 to 1."""
    from river import anomaly, compose, preprocessing

    model = compose.Pipeline(preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(seed=_SEED))

    def score(row: Float) -> float:
        features = dict(zip(names, row.tolist(), strict=True))
        found: float = model.score_one(features)
        model.learn_one(features)
        return found

    return {"River HalfSpaceTrees": score}


def measure(rows: FeatureRows, model: ScoringModel, most: int, runs: int) -> list[Scorer]:
    """Times all ways.

    Args:
      rows: to score.
      model: ours.
      most: rows that the others score, because they take long.
      runs: of each way, in turn.
    """
    spent: dict[str, list[float]] = {}
    few = np.nan_to_num(rows.features[:most])
    names = [str(i) for i in range(few.shape[1])]
    for _ in range(runs):
        began = time.process_time()
        model.score(rows)
        each = (time.process_time() - began) / len(rows.features) * 1e6
        spent.setdefault("ours: all detectors of the bundle, p-values", []).append(each)
        for name, score in (pysad_scorers(few) | river_scorers(names)).items():
            began = time.process_time()
            for row in few:
                score(row)
            each = (time.process_time() - began) / max(len(few), 1) * 1e6
            spent.setdefault(name, []).append(each)
    return [Scorer(name, tuple(sorted(each))) for name, each in spent.items()]


def table(found: Sequence[Scorer]) -> list[str]:
    """A table in Markdown."""
    ours = median(found[0].session_us)
    lines = ["| scorer | µs a session | least to most | times ours |", "|---|---:|---:|---:|"]
    lines += [
        f"| {s.name} | {median(s.session_us):,.0f} "
        f"| {s.session_us[0]:,.0f} to {s.session_us[-1]:,.0f} | {median(s.session_us) / ours:.1f} |"
        for s in found
    ]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 2 when a package is missing."""
    parser = argparse.ArgumentParser("python -m bench.scoring", description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--keys", type=int, default=1_000)
    parser.add_argument("--most", type=int, default=1_000, help="sessions others score (1000)")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args(argv)
    if lacks := missing_packages(["pysad", "river"]):
        print("\n".join(lacks))
        return 2
    with tempfile.TemporaryDirectory(prefix="distilwatch-scoring-") as folder:
        os.environ.update(ONE_THREAD, DISTILWATCH_HOME=folder)
        rows, model = rows_and_model(Path(folder), args.events, args.keys)
        # The environment is read when numpy is loaded, which it is by now.
        with threadpool_limits(1):
            found = measure(rows, model, args.most, args.runs)
    print(f"{machine()}; {len(rows.features):,} sessions, {rows.features.shape[1]} features\n")
    print("\n".join(table(found)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
