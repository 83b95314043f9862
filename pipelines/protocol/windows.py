"""The window protocol: windows of one benign source with a share of attack prompts in them.

For each benign corpus, seed and window size: its prompts are divided at random into A (70 %) and a
test pool (30 %). A corpus too small for disjoint pools of a window's size is left out at that size:
windows drawn with repeats would be told apart by their repeats. Windows to calibrate on come from
A, which is divided again and again into a reference and a pool to draw from, so that no window
holds a prompt of the reference that it is compared with. Test windows come from the test pool, and
attack prompts from each attack corpus of the same part. All methods see the same windows, and a
window is flagged when its conformal p-value among the benign calibration windows is at most the
level: one rule for all, fixed on benign windows only.

The embedding space and the directions in which sources differ are fitted to the benign corpora of
*other* parts and never see the corpora that are judged, nor any attack.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.console import Console
from pipelines.protocol.baselines import distance, kernel
from pipelines.protocol.power import BENIGN, WindowRow
from pipelines.protocol.prompts import (
    Prompts,
    embed,
    join,
    place,
    read_texts,
    space_of,
    topic_blocks,
)
from pipelines.protocol.scorers import Bench, Others, Scorer, finisher, fit_scorer
from pipelines.protocol.wording import feature_counts
from pipelines.simulate.corpora import SPLITS, corpus_files, part_of
from schemas.errors import DistilwatchError
from transforms.embedding.hashing import NAME
from transforms.embedding.space import EmbeddingSpace

Float = NDArray[np.float64]
Ids = NDArray[np.int64]
Rows = NDArray[np.float32]

LEVELS = (0.05, 0.01, 0.0029, 0.001, 0.0005)
"""Levels of the conformal p-value; 0.05 is the published rule, 0.0029 the share it flagged."""
_PARTS_BEFORE = {"fit": ("choose",), "choose": ("fit",), "report": ("fit", "choose")}
_POOL = 0.3


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """How much is drawn.

    Attributes:
      sizes: prompts in a window.
      mixtures: shares of attack prompts.
      seeds: of the divisions and draws.
      draws: benign windows to calibrate on, for each corpus, seed and size.
      benign, attack: windows to test, for each corpus, seed and size, and for each mixture.
      refits: divisions of A into reference and pool.
      most: prompts of a benign corpus.
      least: prompts below which a corpus is not used.
      cells: of the codebook.
      baselines: whether to run them, too; they take most of the time.
    """

    sizes: tuple[int, ...] = (100, 1_500)
    mixtures: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 1.0)
    seeds: tuple[int, ...] = (1, 2, 3)
    draws: int = 2_000
    benign: int = 1_000
    attack: int = 60
    refits: int = 50
    most: int = 12_000
    least: int = 400
    cells: int = 1_024
    baselines: bool = True


def conformal_p(calibration: Float, scores: Float) -> Float:
    """(1 + #{calibration ≥ s}) / (n + 1) for each score s: float64 of the scores' shape."""
    ordered = np.sort(calibration)
    above = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return np.asarray((1 + above) / (len(ordered) + 1))


def run_windows(
    folder: Path, part: str, options: WindowOptions, console: Console
) -> list[WindowRow]:
    """Runs the protocol on the corpora of one part.

    Raises:
      DistilwatchError: the folder has no benign and attack corpora for this part, or no benign
        corpora of another part.
    """
    corpora = _read(folder, part, console)
    space, others = _population(corpora, part, options)
    benign = {
        name: prompts
        for name, prompts in corpora[part].items()
        if not name.startswith(("atk_", "seed_")) and len(prompts) >= options.least
    }
    attacks = {
        name: prompts
        for name, prompts in corpora[part].items()
        if name.startswith("atk_") and len(prompts) >= options.least
    }
    if not benign or not attacks:
        raise DistilwatchError(
            f"the {part} part has {len(benign)} benign and {len(attacks)} attack corpora with at "
            f"least {options.least} prompts",
            str(folder),
            "add ben_….jsonl and atk_….jsonl files, or name another --part",
        )
    rows: list[WindowRow] = []
    done, total = 0, len(benign) * len(options.seeds) * len(options.sizes)
    for source, prompts in benign.items():
        for seed in options.seeds:
            trial = _divide(prompts, attacks, space, others, seed, options)
            for size in options.sizes:
                done += 1
                if size > _pool_size(len(prompts), options):
                    continue
                found = _judge(trial, size, seed, options)
                rows += [
                    WindowRow(
                        part, source, f.attack, size, f.mixture, seed, f.method, f.level,
                        f.flagged, f.windows,
                    )
                    for f in found
                ]  # fmt: skip
                console.progress(done, total, "sets of windows")
    return rows


def _read(folder: Path, part: str, console: Console) -> dict[str, dict[str, Prompts]]:
    files = corpus_files(folder)
    wanted = {part, *_PARTS_BEFORE[part]}
    found: dict[str, dict[str, Prompts]] = {name: {} for name in SPLITS}
    chosen = [n for n in files if part_of(n) in wanted and "meta_prompts" not in n]
    for done, name in enumerate(chosen):
        if part_of(name) == part or not name.startswith(("atk_", "seed_")):
            found[part_of(name)][name] = embed(read_texts(files[name]))
        console.progress(done + 1, len(chosen), "corpora read")
    return found


def _population(
    corpora: dict[str, dict[str, Prompts]], part: str, options: WindowOptions
) -> tuple[EmbeddingSpace, Others]:
    """The space, and other benign sources."""
    history = [
        prompts
        for other in _PARTS_BEFORE[part]
        for prompts in corpora[other].values()
        if len(prompts)
    ]
    if not history:
        raise DistilwatchError(
            "there is no benign corpus of another part to fit the embedding space to",
            f"--part {part}",
            "add ben_….jsonl files; the part of a corpus follows from its name",
        )
    most = 6_000
    space = space_of(history, NAME, options.cells, most, seed=7)
    rng = np.random.default_rng(7)
    sampled = join([p.take(rng.permutation(len(p))[:most]) for p in history])
    topics = topic_blocks(place(sampled, space), 150, seed=7)
    return space, Others(topics, feature_counts(sampled.words))


# --- one benign corpus, one seed -----------------------------------------------------------------


@dataclass(slots=True)
class _Trial:
    """One division of one benign corpus.

    Attributes:
      known: A, to be divided into reference and pool to draw from.
      fresh: test pool, followed by the attack corpora.
      test: rows of `fresh` that are benign.
      attacks: rows of `fresh` of each attack corpus.
    """

    known: Bench
    fresh: Bench
    test: Ids
    attacks: dict[str, Ids]
    others: Others
    rng: np.random.Generator


def _pool_size(prompts: int, options: WindowOptions) -> int:
    """Prompts to draw windows from, to calibrate and again to test."""
    kept = min(prompts, options.most)
    return max(round(kept * _POOL), min(max(options.sizes), kept // 3))


def _divide(
    prompts: Prompts,
    attacks: dict[str, Prompts],
    space: EmbeddingSpace,
    others: Others,
    seed: int,
    options: WindowOptions,
) -> _Trial:
    rng = np.random.default_rng((seed, 0xD1))
    order = rng.permutation(len(prompts))[: options.most]
    cut = len(order) - _pool_size(len(prompts), options)
    most = max(options.sizes)
    chosen = {name: p.take(rng.permutation(len(p))[:most]) for name, p in attacks.items()}
    known = place(prompts.take(order[:cut]), space)
    fresh = place(join([prompts.take(order[cut:]), *chosen.values()]), space)
    ends = np.cumsum([len(order) - cut, *(len(p) for p in chosen.values())])
    medians = (
        kernel.median_distance(known.prompts.vectors),
        kernel.median_distance(known.unit),
    )
    # SEAT's limit is tuned on its own training set; here: what 1 % of benign pairs pass.
    limit = distance.similarity_limit(known.unit, 0.01)
    return _Trial(
        Bench(known, medians, limit),
        Bench(fresh, medians, limit),
        np.arange(ends[0]),
        {name: np.arange(ends[i], ends[i + 1]) for i, name in enumerate(chosen)},
        others,
        rng,
    )


def draw(pool: Ids, size: int, count: int, rng: np.random.Generator) -> Ids:
    """Rows of `count` windows, each row at most once in a window: int64 of shape (count, size)."""
    return np.stack([rng.permutation(pool)[:size] for _ in range(count)])


class _Found(NamedTuple):
    """Fields of a `WindowRow`."""

    attack: str
    mixture: float
    method: str
    level: float
    flagged: float
    windows: int


def _judge(trial: _Trial, size: int, seed: int, options: WindowOptions) -> list[_Found]:
    """Flagged shares: attack, mixture, method, level, flagged, windows."""
    rng = np.random.default_rng((seed, 0xB0, size))
    known = np.arange(len(trial.known.pool))
    cut = len(known) - len(trial.test)
    each = -(-options.draws // options.refits)
    calibration: list[dict[str, Float]] = []
    for _ in range(options.refits):
        order = rng.permutation(known)
        scorer = _scorer(trial, order[:cut], options)
        calibration.append(scorer(trial.known, draw(order[cut:], size, each, rng)))
    base = {name: np.concatenate([c[name] for c in calibration]) for name in calibration[0]}
    finish = finisher(base)
    limits = finish(base)

    scorer = _scorer(trial, rng.permutation(known)[:cut], options)
    found: list[_Found] = []

    def note(attack: str, mixture: float, windows: Ids) -> None:
        scores = finish(scorer(trial.fresh, windows))
        for method, values in scores.items():
            p = conformal_p(limits[method], values)
            found.extend(
                _Found(attack, mixture, method, level, float((p <= level).mean()), len(p))
                for level in LEVELS
            )

    note(BENIGN, 0.0, draw(trial.test, size, options.benign, rng))
    for name, pool in trial.attacks.items():
        for mixture in options.mixtures:
            foreign = max(1, round(mixture * size))
            if foreign > len(pool):
                continue
            windows = draw(pool, foreign, options.attack, rng)
            if foreign < size:
                own = draw(trial.test, size - foreign, options.attack, rng)
                # Prompts of an attack come anywhere in a window; PRADA looks at their order.
                windows = rng.permuted(np.concatenate([own, windows], axis=1), axis=1)
            note(name, mixture, windows)
    return found


def _scorer(trial: _Trial, reference: Ids, options: WindowOptions) -> Scorer:
    return fit_scorer(trial.known, trial.others, reference, options.baselines, options.cells)
