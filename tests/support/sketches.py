"""Made-up accounts with topics, hours and shared things; their sketches, and bundles from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.events import START_MS
from transforms.coverage import layout
from transforms.coverage.fold import fold
from transforms.coverage.sketch import CoverageSketch, empty, merge
from transforms.embedding.space import AXES, UNIT, EmbeddingSpace, random_signs
from transforms.ingest.batch import Events
from transforms.ingest.hashing import hash64
from transforms.scoring.bundle import Bundle, verify_bundle
from transforms.scoring.detectors import DetectorSpec
from transforms.scoring.fit import BundleOptions, KeyedSketch, fit_bundle
from transforms.scoring.handler import VerifiedBundle
from transforms.scoring.model import FitOptions

SLICE_MS = 300_000
TOPICS = 96
PEERS = ("api|business", "consumer|")
FAST_DETECTORS = (
    DetectorSpec("KNN", {"n_neighbors": 5}),
    DetectorSpec("IForest", {"n_estimators": 20}),
)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def to_int8(unit: np.ndarray) -> np.ndarray:
    """Unit rows, float (n, 64), as coordinates, int8 (n, 64)."""
    return np.clip(np.rint(unit * UNIT), -127, 127).astype(np.int8)


def topic_space(topics: int = TOPICS) -> EmbeddingSpace:
    """A space whose cells are random directions, the topics of `topic_coordinates`."""
    centres = _unit(np.random.default_rng(42).standard_normal((topics, AXES)))
    return EmbeddingSpace("made-up", 16, random_signs(16), np.zeros(AXES), to_int8(centres))


SPACE = topic_space()


def topic_coordinates(
    topics: np.ndarray, rng: np.random.Generator, spread: float = 0.6
) -> np.ndarray:
    """Coordinates of events on given topics, int8 (n, 64); `spread` is the share of noise."""
    noise = rng.standard_normal((len(topics), AXES)) * spread / AXES**0.5
    return to_int8(_unit(SPACE.codebook[topics] / UNIT + noise))


def events_of(account: str, time_ms: np.ndarray, coordinates: np.ndarray, **columns: Any) -> Events:
    """Events of one account; a column that is not given says nothing.

    Args:
      account: its id.
      time_ms: int64 of shape (n,).
      coordinates: int8 of shape (n, 64).
      columns: other columns of `Events`, a value each or one for all.
    """
    n = len(time_ms)
    cells, nearness = SPACE.nearest(coordinates)
    zero, word = np.zeros(n, np.int64), np.array([""] * n, object)
    hashes = np.zeros(n, np.uint64)
    given: dict[str, Any] = {
        "event_hash": np.arange(1, n + 1, dtype=np.uint64),
        "time_ms": np.asarray(time_ms, np.int64),
        "account": np.array([account] * n, object),
        "payment": word,
        "organization": hashes,
        "credential": hashes,
        "network": hashes,
        "client": hashes,
        "model": hashes,
        "conversation": hashes,
        "turn": np.full(n, -1, np.int32),
        "system_prompt": hashes,
        "prefix_scaffold": hashes,
        "suffix_scaffold": hashes,
        "opening": hashes,
        "closing": hashes,
        "prompt": hashes,
        "peer": word,
        "account_created_ms": zero,
        "input_tokens": zero,
        "output_tokens": zero,
        "reasoning_tokens": zero,
        "max_output_tokens": zero,
        "tools": zero.astype(np.int32),
        "structured": np.zeros(n, bool),
        "status": np.full(n, 200, np.int32),
        "cost_microusd": zero,
        "prompt_chars": zero.astype(np.int32),
        "code": np.zeros(n, np.int8),
        "coordinates": coordinates,
        "cells": cells,
        "nearness": nearness,
        "capability": np.full(n, -1, np.int8),
        "intent": np.full(n, -1, np.int8),
        "known": np.full(n, -1, np.int8),
    }
    for name, value in columns.items():
        like = given[name]
        given[name] = (
            np.array([value] * n, object) if isinstance(value, str) else np.zeros_like(like) + value
        )
    return Events(**given)


def sketch_of(events: Events, slice_ms: int = SLICE_MS) -> CoverageSketch:
    """One sketch of all the events."""
    return merge([partial.sketch for partial in fold(events, slice_ms)])


def token(name: str) -> np.uint64:
    """A hash column's value for a name."""
    return np.uint64(hash64(name))


def person(
    name: str,
    seed: int,
    events: int = 40,
    topics: Sequence[int] | None = None,
    days: int = 7,
    peer: str = PEERS[1],
    **columns: Any,
) -> Events:
    """A benign account: few topics, conversations of some turns, days and nights."""
    rng = np.random.default_rng([seed, hash64(name)])
    own = np.asarray(rng.choice(TOPICS, 4, replace=False) if topics is None else topics)
    talk = np.sort(rng.integers(0, max(1, events // 4), events))
    topic = own[rng.integers(0, len(own), events)[talk]]
    start = rng.integers(0, days, events) * layout.DAY_MS
    start += np.clip(rng.normal(13, 3, events), 0, 23).astype(np.int64) * layout.HOUR_MS
    time = START_MS + start[talk] + rng.integers(0, 20 * layout.MINUTE_MS, events)
    given: dict[str, Any] = {
        "conversation": np.array([token(f"{name}/{i}") for i in talk]),
        "prompt": np.array([token(f"{name}/p{i}") for i in rng.integers(0, 10**6, events)]),
        "network": token(f"net/{name}"),
        "client": token(f"client/{name}"),
        "payment": f"pay/{name}",
        "credential": token(f"cred/{name}"),
        "peer": peer,
        "turn": rng.integers(0, 4, events),
        "input_tokens": rng.integers(5, 900, events),
        "output_tokens": rng.integers(5, 900, events),
        "code": rng.random(events) < 0.2,
        "cost_microusd": 1_000,
    }
    return events_of(name, time, topic_coordinates(topic, rng), **(given | columns))


def harvester(
    name: str, seed: int, events: int = 60, topics: Sequence[int] | None = None, **columns: Any
) -> Events:
    """An attacker's account: each prompt on a fresh topic, round the clock, no conversation."""
    rng = np.random.default_rng([seed, hash64(name), 1])
    pool = np.asarray(range(TOPICS) if topics is None else topics)
    topic = rng.permutation(np.resize(rng.permutation(pool), events))
    time = START_MS + np.sort(rng.integers(0, 7 * layout.DAY_MS, events))
    given: dict[str, Any] = {
        "conversation": np.array([token(f"{name}/{i}") for i in range(events)]),
        "prompt": np.array([token(f"{name}/p{i}") for i in range(events)]),
        "network": token(f"net/{name}"),
        "client": token(f"client/{name}"),
        "payment": f"pay/{name}",
        "credential": token(f"cred/{name}"),
        "peer": PEERS[1],
        "turn": 0,
        "input_tokens": rng.integers(100, 200, events),
        "output_tokens": rng.integers(800, 900, events),
        "cost_microusd": 1_000,
    }
    return events_of(name, time, topic_coordinates(topic, rng), **(given | columns))


def population(accounts: int, seed: int = 0, prefix: str = "a") -> dict[str, CoverageSketch]:
    """Benign accounts of both peer groups with 10 to 150 requests each, by name."""
    rng = np.random.default_rng(seed)
    found = {}
    for i in range(accounts):
        size = int(np.exp(rng.uniform(np.log(10), np.log(150))))
        topics = rng.choice(TOPICS, int(rng.integers(2, 9)), replace=False)
        found[f"{prefix}{i:04d}"] = sketch_of(
            person(f"{prefix}{i:04d}", seed, size, topics, peer=PEERS[i % 2])
        )
    return found


@lru_cache(maxsize=4)
def small_bundle(seed: int = 0, accounts: int = 160) -> Bundle:
    """A bundle with the levels "profile", "session_account" and "cluster", fitted in seconds."""
    keys = [KeyedSketch(name, sketch) for name, sketch in population(accounts, seed).items()]
    options = BundleOptions(FitOptions(FAST_DETECTORS), null_groups=120)
    levels = {"profile": keys, "session_account": keys}
    return fit_bundle(SPACE, PEERS, levels, {"accounts": accounts}, options)


def verified(folder: Path) -> VerifiedBundle:
    """A saved bundle as the launcher of a job hands it to workers."""
    verify_bundle(folder)
    digest = sha256((folder / "manifest.json").read_bytes()).hexdigest()
    return VerifiedBundle(str(folder), digest)


def sketch_of_cells(cells: Mapping[int, int]) -> CoverageSketch:
    """A sketch that has nothing but requests in some codebook cells, by number."""
    index = np.array(sorted(cells), np.uint16)
    counts = np.array([cells[int(i)] for i in index], np.int64)
    return replace(empty(), bin_index=index, bin_count=counts)
