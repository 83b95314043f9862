"""Baselines that judge whole accounts, computed from the very events that `detect` reads."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from pipelines.protocol.baselines import distance, kernel
from schemas.errors import DistilwatchError
from transforms.embedding.hashing import HashingEmbedder
from transforms.embedding.space import UNIT, EmbeddingSpace
from transforms.ingest.scaffold import scaffolds

Float = NDArray[np.float64]
_DAY_MS = 86_400_000
_MOST_ROWS = 400  # prompts of an account that the pairwise baselines look at
_LEAST_ROWS = 8


@dataclass(slots=True)
class Traffic:
    """What the baselines look at, by account.

    Attributes:
      days: requests by day.
      texts: the first prompts.
      payments: payment fingerprints.
      scaffolds: hashes of first and of last words, with counts.
      times: times of all requests, milliseconds UTC.
    """

    days: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    texts: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    payments: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    scaffolds: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    times: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


def read_traffic(path: Path) -> Traffic:
    """Reads events of contract 1, one JSON object a line.

    Raises:
      DistilwatchError: when a line cannot be read.
    """
    found = Traffic()
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                event = orjson.loads(line)
                account, time_ms = event["account_id"], event_time_ms(event["event_time"])
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                raise DistilwatchError(
                    "not an event", f"{path}, line {number}", "give what `simulate` wrote"
                ) from None
            found.days[account][time_ms // _DAY_MS] += 1
            found.times[account].append(time_ms)
            text = event.get("prompt_text")
            if text:
                if len(found.texts[account]) < _MOST_ROWS:
                    found.texts[account].append(text)
                for kind, value in enumerate(scaffolds(text)[:2]):
                    if value:
                        found.scaffolds[account][value ^ kind] += 1
            if event.get("payment_fingerprint"):
                found.payments[account].add(event["payment_fingerprint"])
    return found


def event_time_ms(value: object) -> int:
    """Milliseconds UTC of a time as events have it."""
    if isinstance(value, int):
        return value
    return round(datetime.fromisoformat(str(value)).timestamp() * 1000)


def volumes(traffic: Traffic, accounts: Sequence[str]) -> Float:
    """Log of the mean and of the highest number of requests a day: float64 of shape (n, 2)."""
    out = np.zeros((len(accounts), 2))
    for row, account in zip(out, accounts, strict=True):
        days = traffic.days.get(account)
        if days:
            row[:] = np.log1p([sum(days.values()) / len(days), max(days.values())])
    return out


def shared_payments(traffic: Traffic, accounts: Sequence[str]) -> Float:
    """How many accounts share the account's most widely used payment fingerprint."""
    users = Counter(p for own in traffic.payments.values() for p in own)
    return np.array(
        [max((users[p] for p in traffic.payments.get(a, ())), default=0) for a in accounts], float
    )


def shared_scaffolds(traffic: Traffic, history: Traffic, accounts: Sequence[str]) -> Float:
    """How many accounts share the account's most widely used wording that the history has not.

    A wording counts for an account that used it at least twice.
    """
    known = {s for own in history.scaffolds.values() for s in own}
    users = Counter(
        s for own in traffic.scaffolds.values() for s, n in own.items() if n > 1 and s not in known
    )
    return np.array(
        [
            max(
                (users[s] for s, n in traffic.scaffolds.get(a, Counter()).items() if n > 1),
                default=0,
            )
            for a in accounts
        ],
        float,
    )


def scores(
    live: Traffic, history: Traffic, space: EmbeddingSpace, accounts: Sequence[str]
) -> Mapping[str, Float]:
    """Scores of every baseline, larger is more suspicious, float64 of shape (n,) each.

    Args:
      live: what is judged.
      history: benign traffic of before, which the reference of MMD and ECOD's volumes come from.
      space: coordinates and cells of the bundle.
      accounts: n accounts to be judged; one without traffic scores lowest.
    """
    from pyod.models.ecod import ECOD

    past = sorted(history.days)
    volume = volumes(live, accounts)
    ecod = ECOD(n_jobs=1)
    ecod.fit(volumes(history, past))
    out: dict[str, Float] = {
        "rate limit": volume[:, 1],
        "ECOD on volume": np.asarray(ecod.decision_function(volume), np.float64),
        "payment links alone": shared_payments(live, accounts),
        "scaffold count alone": shared_scaffolds(live, history, accounts),
    }
    return out | _content(live, history, space, accounts)


def _content(
    live: Traffic, history: Traffic, space: EmbeddingSpace, accounts: Sequence[str]
) -> dict[str, Float]:
    embedder = HashingEmbedder()

    def unit(texts: Sequence[str]) -> NDArray[np.int8]:
        rows = space.coordinates(embedder.embed(texts))
        return rows[rows.any(axis=1)]

    sample = [text for own in history.texts.values() for text in own[:20]]
    rng = np.random.default_rng(7)
    chosen = [sample[i] for i in rng.permutation(len(sample))[:1_500].tolist()]
    names = ("MMD", "PRADA", "CAP")
    out = {name: np.full(len(accounts), -1.0) for name in names}
    if len(chosen) < _LEAST_ROWS:
        return out
    reference = unit(chosen).astype(np.float32) / np.float32(UNIT)
    median = kernel.median_distance(reference)
    whole = np.ones((1, len(reference)), np.float32)
    within = float(kernel.within(whole, kernel.kernel(reference, reference, median))[0])
    for row, account in enumerate(accounts):
        coordinates = unit(live.texts.get(account, []))
        if len(coordinates) < _LEAST_ROWS:
            continue
        own = coordinates.astype(np.float32) / np.float32(UNIT)
        pairs = kernel.within(np.ones((1, len(own)), np.float32), kernel.kernel(own, own, median))
        cross = kernel.mean_kernel(own, reference, median).mean()
        out["MMD"][row] = float(kernel.mmd2(pairs, within, np.array([cross]))[0])
        out["PRADA"][row] = distance.prada(own)
        out["CAP"][row] = len(np.unique(space.nearest(coordinates)[0])) / space.cells
    return out
