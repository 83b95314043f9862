"""The ensemble of PyOD outlier models behind one score."""

from __future__ import annotations

import difflib
import importlib
import inspect
import io
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from pyod.models.base import BaseDetector

from schemas.errors import DistilwatchError
from transforms.scoring.density import faster

Float = NDArray[np.float64]

_TOP_QUANTILE = 0.9


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """A PyOD model by its class name, and the arguments of its constructor."""

    name: str
    params: Mapping[str, Any]


DEFAULT_DETECTORS = (
    DetectorSpec("KNN", {"n_neighbors": 15, "method": "mean"}),
    DetectorSpec("KDE", {"bandwidth": 0.5}),
    DetectorSpec("EvidenceSum", {}),
)


class EvidenceSum(BaseDetector):  # type: ignore[misc]
    """The sum of the lines of evidence, as a PyOD model.

    Stouffer et al., "The American Soldier", 1949: independent standard scores add up. Detectors
    that look for neighbours ask how far a key is from all others; this one asks how much speaks
    against it, and is the stronger where several lines are raised a little.
    """

    def __init__(self, contamination: float = 0.1) -> None:
        super().__init__(contamination=contamination)

    def fit(self, X: Float, y: None = None) -> EvidenceSum:  # noqa: N803 (PyOD's own name)
        """Learns nothing but PyOD's threshold."""
        self._set_n_classes(y)
        self.decision_scores_ = self.decision_function(X)
        self._process_decision_scores()
        return self

    def decision_function(self, X: Float) -> Float:  # noqa: N803
        """Sums of n rows, float64 of shape (n,)."""
        total: Float = np.asarray(X, np.float64).sum(axis=1)
        return total


_OWN: Mapping[str, type[Any]] = {"evidencesum": EvidenceSum}


@lru_cache(maxsize=1)
def _modules() -> dict[str, str]:
    import pyod.models

    return {m.name: m.name for m in pkgutil.iter_modules(pyod.models.__path__)}


def detector_class(name: str) -> type[Any]:
    """Finds a PyOD model class, or our own, by name, in any case.

    Raises:
      DistilwatchError: when PyOD has no such model, or it needs a package that is not installed.
    """
    if name.lower() in _OWN:
        return _OWN[name.lower()]
    modules = _modules()
    module = modules.get(name.lower())
    if module is None:
        near = difflib.get_close_matches(name.lower(), [*modules, *_OWN], n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "see pyod.models for the names"
        raise DistilwatchError(f"PyOD has no detector {name!r}", "scoring.detectors", hint)
    try:
        loaded = importlib.import_module(f"pyod.models.{module}")
    except ImportError as error:
        raise DistilwatchError(
            f"detector {name!r} cannot be loaded: {error}",
            "scoring.detectors",
            "install what it needs, or take the detector out of the list",
        ) from error
    for label, value in vars(loaded).items():
        if label.lower() == name.lower() and inspect.isclass(value):
            return value
    raise DistilwatchError(f"PyOD has no detector {name!r}", "scoring.detectors", "check the name")


@dataclass(frozen=True, slots=True, eq=False)
class RowByRow:
    """Scores every row by itself, for models that compare the rows of a batch with each other.

    ECOD and COPOD rank a batch together with the training keys: a key's score would depend on what
    happened to arrive with it. Costs a pass over the training keys for each row.
    """

    model: Any

    def decision_function(self, rows: Float) -> Float:
        """Scores of n rows, float64 of shape (n,)."""
        return np.array([_decide(self.model, rows[i : i + 1])[0] for i in range(len(rows))])


def _decide(model: Any, rows: Float) -> Float:
    return np.asarray(model.decision_function(rows), np.float64).ravel()


@dataclass(frozen=True, eq=False)  # no slots: the models are unpickled when first asked for
class Ensemble:
    """Fitted detectors and the scale of each one's scores.

    Attributes:
      pickled: the fitted models as they were before they scored anything: some count their calls,
        and a bundle's version must not depend on what was scored before it was saved.
      middle, reach: float64 of shape (models,), median of a detector's scores on the training keys
        and the distance from there to the 90th percentile.
    """

    pickled: bytes
    middle: Float
    reach: Float

    @cached_property
    def models(self) -> tuple[Any, ...]:
        """Fitted PyOD models, or `RowByRow` around one, or a faster way to the same scores."""
        return tuple(faster(model) for model in joblib.load(io.BytesIO(self.pickled)))

    def score(self, rows: Float) -> Float:
        """Mean over detectors of the log-compressed standard score: float64 of shape (n,).

        Each detector counts the same whatever its units, and none can outvote the others by a
        single huge value: the part beyond the training keys' 90th percentile grows as a logarithm.
        Rounded to 1e-6, because linear algebra on a batch of another size differs in the last bits.
        """
        total = np.zeros(len(rows))
        if not len(rows):
            return total
        for model, middle, reach in zip(self.models, self.middle, self.reach, strict=True):
            excess = (_decide(model, rows) - middle) / reach
            total += np.where(excess > 1, 1 + np.log(np.maximum(excess, 1)), excess)
        return np.round(total / len(self.models), 6)


def fit_ensemble(rows: Float, detectors: Sequence[DetectorSpec], seed: int) -> Ensemble:
    """Fits every detector to standardised features, float64 of shape (n, f).

    Raises:
      DistilwatchError: when a detector is unknown, refuses its arguments, or cannot score one row.
    """
    models, middle, reach = [], [], []
    for spec in detectors:
        kind = detector_class(spec.name)
        params = dict(spec.params)
        accepted = inspect.signature(kind).parameters
        if "random_state" in accepted:
            params.setdefault("random_state", seed)
        try:
            for name in ("n_neighbors", "n_components"):
                if isinstance(params.get(name), int):  # n_components may be a share, or a word
                    params[name] = max(1, min(int(params[name]), len(rows) // 2))
            fitted = kind(**params).fit(rows)
        except (TypeError, ValueError) as error:
            raise DistilwatchError(
                f"detector {spec.name} refused its arguments: {error}",
                "scoring.detectors",
                f"it accepts: {', '.join(accepted)}",
            ) from error
        model = _independent(spec.name, fitted, rows)
        models.append(model)
    buffer = io.BytesIO()
    joblib.dump(tuple(models), buffer)
    for model in models:
        scores = _decide(faster(model), rows)
        low, high = np.quantile(scores, [0.5, _TOP_QUANTILE])
        middle.append(low)
        reach.append(max(high - low, 1e-9))
    return Ensemble(buffer.getvalue(), np.array(middle), np.array(reach))


def _independent(name: str, model: Any, rows: Float) -> Any:
    """The model, or a wrapper of it, such that a row's score does not depend on its batch."""
    probe = rows[:: max(1, len(rows) // 8)][:8]
    single = RowByRow(model)
    try:
        alone = single.decision_function(probe)
    except (IndexError, ValueError) as error:
        alone = np.array([np.nan])
        reason: Exception | None = error
    else:
        reason = None
    if not np.isfinite(alone).all():
        raise DistilwatchError(
            f"detector {name} compares the rows of a batch and cannot score one alone",
            "scoring.detectors",
            "take another detector",
        ) from reason
    together = _decide(model, probe)
    # Matrix products of another size differ in their last bits, and a distance near zero is the
    # root of such a difference; ranks that shift with the batch differ by far more.
    return model if np.allclose(alone, together, rtol=1e-5, atol=1e-5) else single
