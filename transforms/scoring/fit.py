"""Fits a bundle to benign history: peer groups, one model per level, and groups to compare with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DistilwatchError
from transforms.clusters.feature_table import CLUSTER_FEATURES
from transforms.clusters.features import Member, group_rows
from transforms.clusters.linkables import common_things, linkables
from transforms.clusters.links import LinkOptions, find_components, weighted_degree
from transforms.clusters.signatures import background_of
from transforms.coverage.features import (
    COLUMNS,
    PAST_CHANGE,
    Reference,
    column_index,
    stacked,
)
from transforms.coverage.layout import Items
from transforms.coverage.sketch import CoverageSketch, merge
from transforms.embedding.space import FOURIER, EmbeddingSpace, fourier_mean
from transforms.ingest.hashing import hash64
from transforms.scoring.bundle import Bundle
from transforms.scoring.conditioning import MIN_GROUP
from transforms.scoring.evidence import CLUSTER_LINES
from transforms.scoring.history import TwoParts
from transforms.scoring.model import (
    FeatureRows,
    FitOptions,
    Scores,
    ScoringModel,
    enough,
    fit_model,
)
from transforms.scoring.past import (
    Excuses,
    Past,
    changes,
    excuses_of_groups,
    joined,
    lasting_share,
    past_of,
)
from transforms.scoring.rows import PeerGroups, account_rows, sketch_rows
from transforms.scoring.usual import usual_of

ACCOUNT_SESSION = "session_account"
PAYMENT_SESSION = "session_payment"
PROFILE = "profile"
CLUSTER = "cluster"
LEAST_PROFILES = 60
_AT_ONCE = 4_096  # accounts whose sketches are in memory together: some tens of megabytes


@dataclass(frozen=True, slots=True, eq=False)
class KeyedSketch:
    """One training key of a level."""

    key: str
    sketch: CoverageSketch


@dataclass(frozen=True, slots=True)
class BundleOptions:
    """How a bundle is fitted.

    Attributes:
      fit: of each level's model.
      links: what links accounts, for the benign groups of the history.
      null_groups: random groups of benign accounts that clusters are compared with.
      least_events: keys with fewer requests teach nothing.
      seed: of the random groups.
      calibrating: accounts that calibrate, whatever their hash says: what people know to be benign
        although it was flagged must be among what is normal, and not be trimmed as an outlier.
    """

    fit: FitOptions = field(default_factory=FitOptions)
    links: LinkOptions = field(default_factory=LinkOptions)
    null_groups: int = 3_000
    least_events: int = 5
    seed: int = 7
    calibrating: frozenset[str] = frozenset()

    def held_out(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        """Which keys calibrate: bool of shape (len(keys),)."""
        by_hash = held_out(keys, self.fit.calibration_share)
        return by_hash | np.array([key in self.calibrating for key in keys], np.bool_)


Report = Callable[[str], None]


def fit_bundle(
    space: EmbeddingSpace,
    peer_names: Sequence[str],
    levels: Mapping[str, Sequence[KeyedSketch]],
    training: Mapping[str, Any],
    options: BundleOptions,
    report: Report = lambda text: None,
    two_parts: Sequence[TwoParts] = (),
    accounts: Iterable[tuple[str, CoverageSketch]] = (),
) -> Bundle:
    """Fits every level for which the history has enough keys.

    Args:
      space: that the sketches were made in.
      peer_names: peer groups seen in the history.
      levels: level to training keys; PROFILE must be among them.
      training: kept in the manifest.
      options: how to fit.
      report: told what is being done.
      two_parts: accounts before and after the middle of the history; without any, own pasts count
        for nothing.
      accounts: each account once with all that it did, for the bundle to remember.

    Raises:
      DistilwatchError: when there are too few accounts to learn from.
    """
    kept = {
        level: [k for k in keys if k.sketch.events >= options.least_events]
        for level, keys in levels.items()
    }
    profiles = kept.get(PROFILE, [])
    if len(profiles) < LEAST_PROFILES:
        raise DistilwatchError(
            f"{len(profiles)} accounts with {options.least_events} and more requests, "
            f"at least {LEAST_PROFILES} are needed",
            "training history",
            "give a longer history, or more of the traffic",
        )
    if not enough(options.held_out([k.key for k in profiles])):
        raise DistilwatchError(
            f"the {len(profiles)} profiles are of too few accounts: each is either learnt from or "
            "calibrates, in all its windows",
            "training history",
            "give more of the traffic, not a longer time",
        )
    references = _references(profiles, peer_names)
    peers = PeerGroups(references)
    models: dict[str, ScoringModel] = {}
    for level in (PROFILE, ACCOUNT_SESSION, PAYMENT_SESSION):
        keys = kept.get(level, [])
        apart = options.held_out([k.key for k in keys])
        if len(keys) < LEAST_PROFILES or not enough(apart):
            continue
        report(f"{level}: {len(keys):,} keys")
        rows = sketch_rows([k.sketch for k in keys], [peers.of(k.sketch) for k in keys], references)
        if level == PROFILE:
            moved = changes(two_parts)
            rows.features[:, column_index()[PAST_CHANGE.name]] = [
                moved.get(key.key, math.nan) for key in keys
            ]
        models[level] = fit_model(
            level,
            [c.name for c in COLUMNS],
            [c.suspicious for c in COLUMNS],
            rows,
            apart,
            options.fit,
        )
    report(f"{CLUSTER}: {options.null_groups:,} groups of benign accounts")
    common = common_things(_each_once(profiles), options.links)
    own = _OwnPast(models[PROFILE], peers, references, two_parts)
    # Also those that hardly asked: in a cluster nobody leaves them out.
    models[CLUSTER], groups = _fit_clusters(_busiest(levels[PROFILE]), own, common, options)
    summary = {
        **training,
        "keys": {level: len(keys) for level, keys in kept.items()},
        "peer_groups": sorted(name for name in references if name),
    }
    background = background_of([(k.key, k.sketch) for k in profiles])
    past = own.of(accounts, options.least_events)
    usual = usual_of((k.sketch for k in profiles), references, len(space.codebook))
    return Bundle(
        "", space, references, models, summary, common, background, past, groups=groups, usual=usual
    )


def held_out(keys: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Which keys calibrate: by hash, so an account is on one side in every level and every run."""
    of = (hash64("calibration\x1f" + key) % 10_000 < share * 10_000 for key in keys)
    return np.fromiter(of, np.bool_, len(keys))


class _OwnPast:
    """Turns what accounts did into what is usual for them; see `past`.

    Attributes:
      model: of profiles.
      two_parts: by account.
    """

    def __init__(
        self,
        model: ScoringModel,
        peers: PeerGroups,
        references: Mapping[str, Reference],
        two_parts: Sequence[TwoParts],
    ) -> None:
        self.model = model
        self.two_parts = {parts.account: parts for parts in two_parts}
        self.peers, self.references = peers, references
        earlier = self._standard([parts.earlier for parts in two_parts])
        later = self._standard([parts.later for parts in two_parts])
        self._lasting = lasting_share(earlier, later)
        self._lasting[np.setdiff1d(np.arange(len(self._lasting)), model.evidence.used)] = 0
        self._earlier = past_of(
            list(self.two_parts), [p.earlier for p in two_parts], earlier, *self._directions
        )

    @property
    def _directions(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        return self._lasting, self.model.directions

    def _standard(self, sketches: Sequence[CoverageSketch]) -> NDArray[np.float64]:
        groups = [self.peers.of(s) for s in sketches]
        return self.model.standard_scores(sketch_rows(sketches, groups, self.references))

    def of(self, accounts: Iterable[tuple[str, CoverageSketch]], least_events: int) -> Past:
        """The past of accounts; of nobody when no history says what lasts."""
        if len(self.two_parts) < LEAST_PROFILES:
            return Past()
        known = ((name, sketch) for name, sketch in accounts if sketch.events >= least_events)
        pasts = []
        while some := list(islice(known, _AT_ONCE)):
            names, sketches = [name for name, _ in some], [sketch for _, sketch in some]
            pasts.append(past_of(names, sketches, self._standard(sketches), *self._directions))
        return joined(pasts)

    def score(self, profiles: Sequence[KeyedSketch]) -> Scores:
        """Scores of accounts as they will be scored: the later part, knowing the earlier one."""
        parts = [self.two_parts.get(k.key) for k in profiles]
        sketches = [
            k.sketch if p is None else p.later for k, p in zip(profiles, parts, strict=True)
        ]
        groups = [self.peers.of(s) for s in sketches]
        names = [k.key for k in profiles]
        return self.model.score(
            account_rows(names, sketches, groups, self.references, self._earlier)
        )


def _references(profiles: Sequence[KeyedSketch], peer_names: Sequence[str]) -> dict[str, Reference]:
    """Mean Fourier features of everyone ("") and of each peer group of some size.

    Every account counts the same, up to 200 requests: the busiest must not be the norm.
    """
    peers = PeerGroups(peer_names)
    totals: dict[str, NDArray[np.float64]] = {}
    weights: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for key in profiles:
        n = key.sketch.vectors
        group = peers.of(key.sketch)
        sizes[group] += 1
        if not n:
            continue
        mean, weight = fourier_mean(key.sketch.dense_moments()[2], n), min(n, 200)
        for name in {"", group}:
            totals[name] = totals.get(name, np.zeros(FOURIER)) + weight * mean
            weights[name] += weight
    models = np.unique(np.concatenate([key.sketch.items(Items.MODEL)[0] for key in profiles]))
    found = {"": Reference(np.zeros(FOURIER), 0.0, models)}
    for name, total in totals.items():
        if not name or sizes[name] >= MIN_GROUP:
            found[name] = Reference(total / weights[name], float(weights[name]), models)
    return found


def _each_once(profiles: Sequence[KeyedSketch]) -> list[CoverageSketch]:
    """What each account did in all windows, in the order of the accounts' ids."""
    found: dict[str, list[CoverageSketch]] = {}
    for key in profiles:
        found.setdefault(key.key, []).append(key.sketch)
    return [merge(found[account]) for account in sorted(found)]


def _busiest(profiles: Sequence[KeyedSketch]) -> list[KeyedSketch]:
    """Each account once, in the window in which it asked most; of equal ones in the newest.

    An account that is in several windows is no group, though its profiles share everything.
    """
    found: dict[str, KeyedSketch] = {}
    for key in profiles:
        before = found.get(key.key)
        if before is None or _volume(before) < _volume(key):
            found[key.key] = key
    return [found[account] for account in sorted(found)]


def _volume(key: KeyedSketch) -> tuple[int, int]:
    return key.sketch.events, key.sketch.first_ms


def _fit_clusters(
    profiles: Sequence[KeyedSketch],
    own: _OwnPast,
    common: NDArray[np.uint64],
    options: BundleOptions,
) -> tuple[ScoringModel, Excuses]:
    """Fits the cluster level to linked and to random groups of benign accounts, each of them once.

    A company, a household and a reseller are linked groups of the history; they are few, so random
    groups of the same kinds of account stand beside them. Groups are made within the training and
    within the calibration accounts, never across.

    Returns:
      The model, and what is usual for the linked groups of the whole history.
    """
    groups = [own.peers.of(k.sketch) for k in profiles]
    scores = own.score(profiles)
    members = [
        Member(k.key, k.sketch, float(p), z)
        for k, p, z in zip(profiles, scores.p_value, scores.z, strict=True)
    ]
    side = options.held_out([k.key for k in profiles])
    rng = np.random.default_rng(options.seed)

    def rows_of(at: NDArray[np.intp], chosen: Sequence[Sequence[tuple[int, float]]]) -> FeatureRows:
        found = group_rows(
            [[replace(members[at[i]], degree=degree) for i, degree in group] for group in chosen],
            own.references.get(""),
        )
        return FeatureRows(
            np.array([r.features for r in found]).reshape(-1, len(CLUSTER_FEATURES)),
            np.array([r.covariates for r in found]).reshape(-1, 2),
            [""] * len(found),
        )

    sides, counts = [], []
    for is_calibration in (False, True):
        at = np.flatnonzero(side == is_calibration)
        share = (
            options.fit.calibration_share if is_calibration else 1 - options.fit.calibration_share
        )
        index = _linked_groups([profiles[int(i)] for i in at], options.links, common)
        drawn = _random_groups([groups[i] for i in at], int(options.null_groups * share), rng)
        sides.append(rows_of(at, [*index, *([(i, math.nan) for i in g] for g in drawn)]))
        counts.append(len(index))
    model = fit_model(
        CLUSTER,
        [f.name for f in CLUSTER_FEATURES],
        [f.suspicious for f in CLUSTER_FEATURES],
        sides[0].followed_by(sides[1]),
        np.repeat([False, True], [len(rows) for rows in sides]),
        replace(options.fit, kinds=0),
        CLUSTER_LINES,
    )
    linked = _linked_groups(profiles, options.links, common)
    z = model.standard_scores(rows_of(np.arange(len(profiles)), linked))
    benign = model.standard_scores(sides[1]).astype(np.float32)
    model = replace(model, benign=benign, linked=counts[1])
    names = [[profiles[i].key for i, _ in group] for group in linked]
    return model, excuses_of_groups(names, z, model.directions)


def _linked_groups(
    profiles: Sequence[KeyedSketch], links: LinkOptions, common: NDArray[np.uint64]
) -> list[list[tuple[int, float]]]:
    """Indices of the linked accounts of each group, with their weighted degrees."""
    position = {k.key: i for i, k in enumerate(profiles)}
    stack = stacked([k.sketch for k in profiles])
    accounts = linkables([k.key for k in profiles], stack, links, common).each()
    found = find_components(list(accounts), links)
    return [
        [
            (position[account], weighted_degree(own))
            for account, own in zip(component.accounts, component.links, strict=True)
        ]
        for component in found
    ]


def _random_groups(
    groups: Sequence[str], count: int, rng: np.random.Generator, largest: int = 64
) -> list[list[int]]:
    """Groups of 2 to `largest`, half of them of one peer group.

    Of s and more accounts are 2 / s of them (Zipf's law): a third are pairs, as most of what is
    linked is small, and the fewer the members, the farther from the middle is their mean by chance.
    """
    by_group: dict[str, list[int]] = {}
    for i, name in enumerate(groups):
        by_group.setdefault(name, []).append(i)
    several = [rows for rows in by_group.values() if len(rows) > 1]
    everyone = list(range(len(groups)))
    top = min(largest, max(2, len(groups) // 3))
    out = []
    for turn in range(count):
        pool = everyone
        if turn % 2 and several:
            sizes = np.array([len(rows) for rows in several], float)
            pool = several[int(rng.choice(len(several), p=sizes / sizes.sum()))]
        size = min(top, int(2 / (1 - rng.random())))
        chosen = rng.choice(len(pool), size=min(size, len(pool)), replace=False)
        out.append([pool[int(i)] for i in chosen])
    return out
