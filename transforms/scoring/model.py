"""One level's scoring model: condition, detect, calibrate, explain.

A level is what a feature row describes: a session of an account, a session of a payment
fingerprint, an account's profile over the long window, or a cluster's pooled members. All are
scored alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from transforms.coverage.features import Suspicious
from transforms.scoring.calibration import Calibration, calibrate
from transforms.scoring.conditioning import Conditioner, fit_conditioner
from transforms.scoring.detectors import DEFAULT_DETECTORS, DetectorSpec, Ensemble, fit_ensemble
from transforms.scoring.evidence import ACCOUNT_LINES, Evidence, Line, fit_evidence
from transforms.scoring.kinds import Kinds, fit_kinds
from transforms.scoring.reason import Reason

Float = NDArray[np.float64]


_EXPLAINED_AT_ONCE = 64  # keys, each with a row for every feature


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRows:
    """Feature rows of n keys.

    Attributes:
      features: float64 of shape (n, f), NaN where unknown.
      covariates: float64 of shape (n, c), what "normal" depends on; c is 1 or 2.
      groups: peer group of each key.
      excused: float64 of shape (n, f), what of its standard scores a key's own past explains; None:
        nothing.
    """

    features: Float
    covariates: Float
    groups: list[str]
    excused: Float | None = None

    def __len__(self) -> int:
        return len(self.groups)

    def followed_by(self, other: FeatureRows) -> FeatureRows:
        """These rows, then the other ones; what pasts excuse is left out."""
        return FeatureRows(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.covariates, other.covariates]),
            [*self.groups, *other.groups],
        )

    def take(self, index: NDArray[np.intp]) -> FeatureRows:
        """The rows at `index`."""
        return FeatureRows(
            self.features[index],
            self.covariates[index],
            [self.groups[i] for i in index],
            None if self.excused is None else self.excused[index],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Result for n keys: score and p-value of shape (n,); z, low, high of shape (n, f)."""

    score: Float
    p_value: Float
    z: Float
    low: Float
    high: Float

    def take(self, index: NDArray[np.intp]) -> Scores:
        """Those of the keys at `index`."""
        return Scores(
            self.score[index], self.p_value[index], self.z[index], self.low[index], self.high[index]
        )


@dataclass(frozen=True, slots=True, eq=False)
class ScoringModel:
    """A fitted model of one level.

    Attributes:
      level: its name.
      columns: feature names, in the order of the rows.
      directions: +1, −1 or 0 for each column, the side that counts.
      kinds: of use, within the peer groups.
      evidence: what the detectors see of the columns.
      benign: standard scores of benign keys that no model was fitted to, float32 of shape (n, f),
        to compare what other labs report with; none where that is not kept.
      linked: so many of these, the first ones, are groups that share something, as live ones do;
        the others are drawn at random.
    """

    level: str
    columns: tuple[str, ...]
    directions: NDArray[np.int64]
    kinds: Kinds
    evidence: Evidence
    conditioner: Conditioner
    ensemble: Ensemble
    calibration: Calibration
    benign: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    linked: int = 0

    def score(self, rows: FeatureRows) -> Scores:
        """Scores and calibrates n keys."""
        groups = self.peer_groups(rows)
        median, spread = self.conditioner.normal(rows.covariates, groups)
        if rows.excused is not None:
            median = median + rows.excused * spread
        z = self.standard_scores(rows)
        score = self.ensemble.score(self.evidence.lines(z))
        p_value = self.calibration.p_values(score, groups)
        return Scores(score, p_value, z, median - spread, median + spread)

    def standard_scores(self, rows: FeatureRows) -> Float:
        """Robust deviations of n keys from what is normal for them: float64 of shape (n, f)."""
        z = self.conditioner.standardise(rows.features, rows.covariates, self.peer_groups(rows))
        return z if rows.excused is None else z - rows.excused

    def peer_groups(self, rows: FeatureRows) -> list[str]:
        """The kind of use, within its peer group, that each key is compared with."""
        return self.kinds.refine(rows.features, rows.groups)

    def explain(self, rows: FeatureRows, scores: Scores, most: int = 5) -> list[list[Reason]]:
        """The features that made the difference, for each key, largest contribution first.

        A feature's contribution is the fall of the score when it alone is put to what is normal.
        """
        used = self.evidence.used
        out: list[list[Reason]] = []
        for start in range(0, len(rows), _EXPLAINED_AT_ONCE):
            some = slice(start, start + _EXPLAINED_AT_ONCE)
            z = scores.z[some]
            variants = np.repeat(z[:, None], len(used), axis=1)
            variants[:, np.arange(len(used)), used] = 0.0
            lines = self.evidence.lines(variants.reshape(-1, z.shape[1]))
            falls = scores.score[some, None] - self.ensemble.score(lines).reshape(len(z), -1)
            for i, own in enumerate(falls, start):
                order = [
                    j for j in np.argsort(-own) if own[j] > 0 and abs(scores.z[i, used[j]]) > 1
                ]
                out.append(
                    [self._reason(rows, scores, i, int(used[j]), own[j]) for j in order[:most]]
                )
        return out

    def _reason(self, rows: FeatureRows, scores: Scores, i: int, at: int, fall: float) -> Reason:
        return Reason(
            self.columns[at],
            float(rows.features[i, at]),
            float(scores.low[i, at]),
            float(scores.high[i, at]),
            float(scores.z[i, at]),
            float(fall),
        )


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How a model is fitted.

    Attributes:
      detectors: the ensemble.
      calibration_share: share of the keys kept for calibration alone.
      trim_share: share of the training keys, the most outlying by consensus, left out of the
        second fit, because no history is clean.
      kinds: of use that are told apart, at most.
      seed: of the detectors, and of the search for kinds.
    """

    detectors: tuple[DetectorSpec, ...] = DEFAULT_DETECTORS
    calibration_share: float = 0.4
    trim_share: float = 0.02
    kinds: int = 6
    seed: int = 7


def enough(held_out: NDArray[np.bool_]) -> bool:
    """Whether there are keys enough on both sides, of shape (n,): who calibrates, and who not."""
    calibrating = int(np.count_nonzero(held_out))
    return len(held_out) - calibrating >= 20 and calibrating >= 10


def fit_model(
    level: str,
    columns: Sequence[str],
    directions: Sequence[Suspicious],
    rows: FeatureRows,
    held_out: NDArray[np.bool_],
    options: FitOptions,
    lines: Sequence[Line] = ACCOUNT_LINES,
) -> ScoringModel:
    """Fits a level's model to benign history.

    Args:
      level: its name.
      columns, directions: of the feature rows.
      rows: n keys.
      held_out: bool of shape (n,), the calibration keys; disjoint from training by account.
      options: how to fit.
      lines: of evidence.

    Raises:
      ValueError: when there are fewer than 20 keys to train on or 10 to calibrate with.
    """
    kinds = fit_kinds(rows.features, columns, options.kinds, options.seed)
    rows = replace(rows, groups=kinds.refine(rows.features, rows.groups))
    train, calibration = rows.take(np.flatnonzero(~held_out)), rows.take(np.flatnonzero(held_out))
    if not enough(held_out):
        raise ValueError(f"{len(train)} keys to train on and {len(calibration)} to calibrate with")
    sides = np.array([side.value for side in directions], np.int64)
    for last in (False, True):
        conditioner = fit_conditioner(train.features, train.covariates, train.groups)
        z = conditioner.standardise(train.features, train.covariates, train.groups)
        evidence = fit_evidence(z, columns, sides, lines)
        seen = evidence.lines(z)
        ensemble = fit_ensemble(seen, options.detectors, options.seed)
        if last or options.trim_share <= 0:
            break
        keep = np.argsort(ensemble.score(seen))[
            : int(np.ceil(len(train) * (1 - options.trim_share)))
        ]
        train = train.take(np.sort(keep))
    z = conditioner.standardise(calibration.features, calibration.covariates, calibration.groups)
    scores = ensemble.score(evidence.lines(z))
    return ScoringModel(
        level,
        tuple(columns),
        sides,
        kinds,
        evidence,
        conditioner,
        ensemble,
        calibrate(scores, calibration.groups),
    )
