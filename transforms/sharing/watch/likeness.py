"""How alike our clusters are to what other labs' campaigns ask and how they behave.

A likeness has no natural threshold, so each is put beside our own benign traffic, as the bundle
keeps it of the history: what counts is the share of benign groups that are at least as alike, a
conformal p-value, and only what few of them are is a match.

- A *coverage sketch* is compared with what the members ask together, as a direction. What everybody
  asks is taken out of the sketch first: what is left is at right angles to the history's mean. Its
  noise is one and the same for all that is compared with it, so the history's likenesses have it in
  them as ours do. Benign groups are random ones of as many accounts, and, since accounts that
  belong together ask alike, single accounts as well; the larger share counts.
- A *behavioural signature* is compared by the cosine of the two vectors of standard scores. Unusual
  groups are unusual in similar ways, so a cluster is put beside the benign groups that are about as
  unusual as it is; else a signature would only say again that it is unusual. And groups that share
  something are alike in more ways than that (hours, wording, volume), so it is put beside the
  linked ones of the history as well; the larger share counts. Too few of them can say nothing so
  seldom: then signatures are not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from transforms.clusters.signatures import Content
from transforms.coverage.layout import MAX_CELLS
from transforms.embedding.space import space_name
from transforms.sharing.payloads import Coverage, rounded_score
from transforms.sharing.watch.evidence import FromSource, of_family
from transforms.sharing.watch.listing import Watched, WatchList
from transforms.sharing.watch.matching import Standing

if TYPE_CHECKING:
    from transforms.scoring.bundle import Bundle

Float = NDArray[np.float64]
_CLUSTER = "cluster"  # level of the bundle
_LEAST_ASKED = 50  # requests of a cluster: fewer have no direction
_LEAST_HISTORY = 50  # accounts of the history to draw groups from
_DRAWN = 1_000  # random groups of a size
_LARGEST = 64  # accounts of a random group; larger ones differ little
_LEAST_FEATURES = 5  # that a signature and a cluster must both have
_NEAREST, _LEAST_NEAREST = 1 / 3, 200  # benign groups that are about as unusual


class Likeness:
    """Compares clusters with what is on a watch list, by one bundle; what the history says of a
    list is worked out once."""

    def __init__(self, bundle: Bundle, max_p: float) -> None:
        """Args:
        bundle: says what is normal.
        max_p: a cluster is like an indicator when so many benign groups are, at most.
        """
        self.bundle = bundle
        self._max_p = max_p
        self._list: WatchList | None = None
        self._sketches: dict[int, Float] = {}
        self._signatures: dict[int, Mapping[str, float]] = {}
        self._history = csr_matrix((0, MAX_CELLS))
        self._usual: dict[int, Float] = {}
        self._groups, self._unusual, self._linked = np.empty((0, 0)), np.empty(0), 0

    def of_cluster(
        self,
        watched: WatchList,
        contents: Sequence[Content],
        columns: Sequence[str],
        z: Float,
        score: float,
    ) -> dict[int, float]:
        """What of a list a cluster is like: place in the list to the p-value.

        Args:
          watched: the list.
          contents: what each member asks.
          columns: names of the cluster's features.
          z: their standard scores, float64 of shape (f,).
          score: of the cluster, by which benign groups are about as unusual.
        """
        self._prepare(watched)
        found = self._asked(contents) if self._sketches else {}
        if self._signatures and len(self._groups):
            found |= self._behaves(columns, z, score)
        return {i: p_value for i, p_value in sorted(found.items()) if p_value <= self._max_p}

    def comparable(self, one: Watched) -> bool:
        """Whether the bundle has what an indicator is compared with."""
        if not one.compared:
            return True
        payload = one.decoded()
        if isinstance(payload, Coverage):
            accounts = len(self.bundle.background.sizes)
            enough = accounts >= _LEAST_HISTORY and self._can_match(accounts)
            return enough and payload.space == space_name(self.bundle.space)
        return self._can_match(self.bundle.models[_CLUSTER].linked)

    def _can_match(self, known: int) -> bool:
        """Whether the least p-value that so many of the history give is small enough."""
        return 1 / (known + 1) <= self._max_p

    def _prepare(self, watched: WatchList) -> None:
        if watched is self._list:
            return
        self._list, self._sketches, self._signatures, self._usual = watched, {}, {}, {}
        compared = [
            (i, one.decoded())
            for i, one in enumerate(watched.watched)
            if one.compared and self.comparable(one)
        ]
        sketches = [(i, one) for i, one in compared if isinstance(one, Coverage)]
        if sketches:
            self._history = _directions(self.bundle.background.contents())
            mean = np.asarray(self._history.mean(axis=0)).ravel()
            self._sketches = {i: _without(one.sums(), mean) for i, one in sketches}
        self._signatures = {i: one.features for i, one in compared if not isinstance(one, Coverage)}
        if self._signatures:
            model = self.bundle.models[_CLUSTER]
            z = model.benign.astype(np.float64)
            self._unusual = model.ensemble.score(model.evidence.lines(z))
            self._groups = rounded_score(z)
            self._linked = model.linked

    def _asked(self, contents: Sequence[Content]) -> dict[int, float]:
        """P-values of coverage sketches."""
        if sum(int(one.counts.sum()) for one in contents) < _LEAST_ASKED:
            return {}
        own = np.asarray(_directions(contents).sum(axis=0)).ravel()
        own /= np.linalg.norm(own)
        usual = self._usual_of(min(len(contents), _LARGEST))
        found = {}
        for at, (i, direction) in enumerate(self._sketches.items()):
            value = np.array([float(own @ direction)])
            found[i] = max(float(_share_above(many[:, at], value)[0]) for many in usual)
        return found

    def _usual_of(self, size: int) -> tuple[Float, Float]:
        """Inner products with all sketches, of random groups of a size and of single accounts."""
        directions = np.stack(list(self._sketches.values()), axis=1)
        single = self._usual.get(1)
        if single is None:
            single = self._usual[1] = np.sort(self._history @ directions, axis=0)
        grouped = self._usual.get(size)
        if grouped is None:
            n = self._history.shape[0]
            # Drawn alike wherever it is: the same requests must give the same result.
            rng = np.random.default_rng([size, n])
            chosen = rng.integers(0, n, _DRAWN * size)
            drawn = csr_matrix(
                (np.ones(len(chosen)), (np.repeat(np.arange(_DRAWN), size), chosen)), (_DRAWN, n)
            )
            sums = (drawn @ self._history).toarray()
            lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
            grouped = self._usual[size] = np.sort(sums / lengths @ directions, axis=0)
        return grouped, single

    def _behaves(self, columns: Sequence[str], z: Float, score: float) -> dict[int, float]:
        """P-values of behavioural signatures."""
        beside = [self._beside(score, len(self._groups)), self._beside(score, self._linked)]
        known = {name: i for i, name in enumerate(columns) if i < len(z) and np.isfinite(z[i])}
        found = {}
        for i, signature in self._signatures.items():
            names = [name for name in signature if name in known]
            if len(names) < _LEAST_FEATURES:
                continue
            theirs = np.array([signature[name] for name in names])
            index = np.array([known[name] for name in names], np.intp)
            own = _cosine(rounded_score(z[index])[None], theirs)
            if own[0] > 0:
                cosines = _cosine(self._groups[:, index], theirs)
                found[i] = max(
                    float(_share_above(np.sort(cosines[some]), own)[0]) for some in beside
                )
        return found

    def _beside(self, score: float, first: int) -> NDArray[np.intp]:
        """Which of the first benign groups are about as unusual as a score says."""
        nearest = max(_LEAST_NEAREST, int(first * _NEAREST))
        apart = np.abs(self._unusual[:first] - score)
        return np.argsort(apart, kind="stable")[:nearest]


def said_of_likeness(
    found: Mapping[int, float], watched: WatchList, now: Standing
) -> list[FromSource]:
    """What sources say of a cluster that is like what they report.

    A source has a chance with each of its live indicators of a kind, which counts as in
    Bonferroni's inequality, so that many sketches have no better chances than one.

    Args:
      found: place in the list to p-value.
      watched: the list.
      now: how its indicators stand.
    """
    live: dict[tuple[str, str], list[int]] = {}
    for i, one in enumerate(watched.watched):
        if one.compared and now.weights[i] > 0:
            live.setdefault((one.source, one.kind), []).append(i)
    out = []
    for (source, kind), places in live.items():
        own = [i for i in places if i in found]
        if own:
            p_value = min(1.0, len(places) * min(found[i] for i in own))
            p_value = of_family(p_value, kind, now.families[source])
            out.append(FromSource(source, p_value, max(float(now.weights[i]) for i in own)))
    return out


def _directions(contents: Sequence[Content]) -> csr_matrix:
    """What n accounts ask, as vectors of length 1: sparse, of shape (n, 1024)."""
    owner = np.repeat(np.arange(len(contents)), [len(c.cells) for c in contents])
    counts = np.concatenate([np.empty(0), *(c.counts for c in contents)])
    cells = np.concatenate([np.empty(0, np.intp), *(c.cells for c in contents)]).astype(np.intp)
    total = np.bincount(owner, counts, len(contents))
    values = np.sqrt(counts / total[owner])
    return csr_matrix((values, (owner, cells)), (len(contents), MAX_CELLS))


def _without(vector: Float, mean: Float) -> Float:
    """What is left of a vector without its part along another one."""
    length = float(mean @ mean)
    left: Float = vector - (float(vector @ mean) / length if length else 0.0) * mean
    return left


def _cosine(rows: Float, other: Float) -> Float:
    """Cosine of each row with a vector: float64 of shape (n,); 0 where one of them is 0."""
    lengths = np.linalg.norm(rows, axis=1) * float(np.linalg.norm(other))
    cosines: Float = np.divide(rows @ other, lengths, out=np.zeros(len(rows)), where=lengths > 0)
    return cosines


def _share_above(ordered: Float, values: Float) -> Float:
    """Conformal p-values, (1 + #{of n ≥ value}) / (n + 1)."""
    above = len(ordered) - np.searchsorted(ordered, values, side="left")
    shares: Float = (1.0 + above) / (len(ordered) + 1)
    return shares
