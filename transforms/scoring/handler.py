"""Beam's RunInference over a verified bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from apache_beam.ml.inference.base import ModelHandler
from numpy.typing import NDArray

from schemas.errors import DistilwatchError
from transforms.pickling import pickled_by_fields
from transforms.scoring.bundle import Bundle, read_verified
from transforms.scoring.model import FeatureRows, Scores
from transforms.scoring.reason import Reason
from transforms.scoring.rows import PeerGroups

_ITEM_BYTES = 2_000  # of a usual session's sketch
T = TypeVar("T")
S = TypeVar("S")
RowsOf = Callable[[Sequence[Any], Bundle, PeerGroups], FeatureRows]


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class Scored(Generic[T]):
    """An item with its score.

    Attributes:
      item: what was scored.
      peer_group: "" where the bundle knows none.
      score: of the ensemble; comparable within a level only.
      p_value: conformal, against the peer group.
      columns: feature names.
      features, z, low, high: float64 of shape (f,); value, robust z, and what is normal.
      reasons: largest first; only for items under the handler's `explain_below`.
      bundle_version: of the bundle that scored it.
    """

    item: T
    peer_group: str
    score: float
    p_value: float
    columns: tuple[str, ...]
    features: NDArray[np.float64]
    z: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    reasons: tuple[Reason, ...]
    bundle_version: str


@pickled_by_fields
@dataclass(frozen=True, slots=True, eq=False)
class ScoredRows:
    """Scores of n items in columns; see `Scored`.

    Attributes:
      peer_groups: one for each.
      columns: feature names.
      features: float64 of shape (n, f).
      scores: of each, and what is normal for it.
      reasons: of those that are explained.
      bundle_version: of the bundle that scored them.
    """

    peer_groups: list[str]
    columns: tuple[str, ...]
    features: NDArray[np.float64]
    scores: Scores
    reasons: Mapping[int, tuple[Reason, ...]]
    bundle_version: str

    def take(self, index: NDArray[np.intp]) -> ScoredRows:
        """Those of the items at `index`, in that order."""
        explained = [(place, self.reasons.get(int(i))) for place, i in enumerate(index)]
        return ScoredRows(
            [self.peer_groups[i] for i in index],
            self.columns,
            self.features[index],
            self.scores.take(index),
            {place: found for place, found in explained if found is not None},
            self.bundle_version,
        )

    def each(self, items: Iterable[T]) -> list[Scored[T]]:
        """The n items with their scores, one by one."""
        scores = self.scores
        values = zip(
            items, self.peer_groups, scores.score.tolist(), scores.p_value.tolist(), self.features,
            scores.z, scores.low, scores.high, strict=True,
        )  # fmt: skip
        return [
            Scored(
                item, group, score, p_value, self.columns, features, z, low, high,
                self.reasons.get(i, ()), self.bundle_version,
            )
            for i, (item, group, score, p_value, features, z, low, high) in enumerate(values)
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """A bundle that the launcher has verified.

    Attributes:
      folder: where workers find it.
      manifest_sha256: of the manifest whose signature the launcher has checked. Workers trust that
        very manifest and need no keys.
    """

    folder: str
    manifest_sha256: str

    def load(self) -> Bundle:
        """Loads the bundle on a worker.

        Raises:
          DistilwatchError: when it is missing, not what the launcher verified, or was changed.
        """
        path = Path(self.folder) / "manifest.json"
        if not path.is_file():
            raise DistilwatchError(
                "no bundle there", self.folder, "put it where every worker finds it under this name"
            )
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.manifest_sha256:
            raise DistilwatchError(
                "the bundle was replaced after the job had started",
                self.folder,
                "start the job again, or give every bundle a folder of its own",
            )
        stamps = tuple(
            (entry.name, entry.stat().st_mtime_ns, entry.stat().st_size)
            for entry in sorted(Path(self.folder).iterdir())
        )
        return _read_once(self.folder, data, stamps)

    def now(self, held: Bundle) -> Bundle:
        """The bundle to go on with; one that may change says which."""
        return held

    def failed(self, bundle: Bundle, error: Exception) -> Bundle | None:
        """What to go on with when a bundle cannot score; None: nothing."""
        return None

    def keep(self, level: str, items: Sequence[Any]) -> None:
        """Keeps items for trials of other bundles, where these may come."""

    def scored(self, held: Bundle, score: Callable[[Bundle], S]) -> S:
        """What `score` makes with the bundle to go on with, or if that cannot score, with the one
        before it."""
        bundle = self.now(held)
        try:
            return score(bundle)
        except Exception as error:
            other = self.failed(bundle, error)
            if other is None:
                raise
            return score(other)


@lru_cache(maxsize=1)
def _read_once(folder: str, manifest: bytes, stamps: tuple[tuple[str, int, int], ...]) -> Bundle:
    """One copy for all stages of a worker process, until a file of the bundle changes."""
    return read_verified(Path(folder), manifest)


class ScoringHandler(ModelHandler[T, Scored[T], Bundle], Generic[T]):  # type: ignore[misc]
    """Scores batches of items at one level of a bundle."""

    def __init__(
        self, bundle: VerifiedBundle, level: str, rows_of: RowsOf, explain_below: float = 0.0
    ) -> None:
        """Args:
        bundle: to load on each worker.
        level: of the items.
        rows_of: makes the feature rows of a batch of items.
        explain_below: items with a p-value up to this get reasons.
        """
        super().__init__()
        self._bundle = bundle
        self._level = level
        self._rows_of = rows_of
        self._explain_below = explain_below

    def load_model(self) -> Bundle:
        return self._bundle.load()

    def run_inference(
        self, batch: Sequence[T], model: Bundle, inference_args: Mapping[str, Any] | None = None
    ) -> Iterable[Scored[T]]:
        self._bundle.keep(self._level, batch)
        return self._bundle.scored(model, lambda bundle: self._score(batch, bundle))

    def _score(self, batch: Sequence[T], bundle: Bundle) -> list[Scored[T]]:
        return score_items(batch, bundle, self._level, self._rows_of, self._explain_below)

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        return {"min_batch_size": 16, "max_batch_size": 512}

    def get_num_bytes(self, batch: Sequence[T]) -> int:
        """A rough size for Beam's metrics; Beam itself would pickle every sketch to count it."""
        return _ITEM_BYTES * len(batch)

    def get_metrics_namespace(self) -> str:
        return f"distilwatch_{self._level}"


def score_items(
    batch: Sequence[T], bundle: Bundle, level: str, rows_of: RowsOf, explain_below: float
) -> list[Scored[T]]:
    """Scores a batch; see `score_rows`."""
    rows = rows_of(batch, bundle, PeerGroups(bundle.references))
    return score_rows(rows, bundle, level, explain_below).each(batch)


def score_rows(rows: FeatureRows, bundle: Bundle, level: str, explain_below: float) -> ScoredRows:
    """Scores n keys by their features; those of a level that the bundle lacks get p = 1 and say
    nothing.

    Args:
      rows: of the keys.
      bundle: to score with.
      level: of the keys.
      explain_below: keys with a p-value up to this get reasons.
    """
    model, n = bundle.models.get(level), len(rows.groups)
    if model is None:
        nothing = np.empty((n, 0))
        scores = Scores(np.zeros(n), np.ones(n), nothing, nothing, nothing)
        return ScoredRows(rows.groups, (), nothing, scores, {}, bundle.version)
    scores, groups = model.score(rows), model.peer_groups(rows)
    explained = np.flatnonzero(scores.p_value <= explain_below)
    reasons: dict[int, tuple[Reason, ...]] = {}
    if len(explained):
        told = model.explain(rows.take(explained), scores.take(explained))
        for i, found in zip(explained, told, strict=True):
            reasons[int(i)] = tuple(found)
    return ScoredRows(groups, model.columns, rows.features, scores, reasons, bundle.version)
