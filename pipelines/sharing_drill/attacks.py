"""What a curious lab learns from what it was sent, by trying."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.sharing_drill.exchange import Told, equal_ones
from transforms.ingest.hashing import hash64
from transforms.ingest.scaffold import scaffold_columns
from transforms.sharing.coverage import UNIT, noisy_coverage
from transforms.sharing.indicators import Indicator, Kind

Thing = tuple[str, str]
Float = NDArray[np.float64]
_SPACE = 1 << 24  # networks of 24 bits


def things_of(event: Mapping[str, Any]) -> Iterator[Thing]:
    """What an event shows of its account, as indicators name it."""
    for kind, name in (("network", "ip_prefix"), ("client", "client_fingerprint")):
        if event.get(name):
            yield kind, f"{hash64(event[name]) >> 8:014x}"
    if event.get("prompt_text"):
        columns = scaffold_columns([event["prompt_text"]])
        for kind, column in zip(("prefix_scaffold", "suffix_scaffold"), columns, strict=True):
            if column[0]:
                yield kind, f"{int(column[0]) >> 8:014x}"


def names_in(told: Sequence[Told], secrets: Iterable[str]) -> int:
    """How many accounts, payment fingerprints and other secrets stand in clear in what was sent."""
    data = b"\n".join(one.data for one in told)
    return sum(secret.encode() in data for secret in set(secrets) if secret)


def invert_networks(
    indicators: Sequence[Indicator], share: float, known: Iterable[str]
) -> dict[str, Any]:
    """Looks for the networks behind hashes by hashing networks.

    The hash has no key, because labs must agree on it: whoever has it can try. A share of all
    networks of 24 bits is tried, and those that are known to be right among them.

    Args:
      indicators: of any kind.
      share: of the space, for the measurement of time.
      known: networks of the campaign, by which success is told without trying all the others.
    """
    wanted = {one.value for one in indicators if one.kind is Kind.NETWORK}
    began, tries = time.perf_counter(), max(1, int(_SPACE * share))
    for i in range(tries):
        network = f"{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}.0/24"
        _ = _name(network) in wanted
    seconds = time.perf_counter() - began
    return {
        "network_hashes": len(wanted),
        "inverted": len(wanted & {_name(network) for network in known}),
        "seconds_for_all_networks": seconds / tries * _SPACE,
    }


def _name(network: str) -> str:
    """As indicators have it; not through the cache of `hash64`, which is not for attackers."""
    return f"{int.from_bytes(blake2b(network.encode(), digest_size=8).digest(), 'big') >> 8:014x}"


def carried_by_customers(
    indicators: Sequence[Indicator], carriers: dict[tuple[str, str], set[str]]
) -> dict[str, int]:
    """Customers who carry what was shared, though they are not of the campaign: who would be taken
    for members by whoever has the hashes and sees their traffic.

    Args:
      indicators: that a lab sent.
      carriers: of each thing, its benign accounts there.
    """
    touched: set[str] = set()
    for one in equal_ones(indicators):
        touched |= carriers.get((one.kind.value, one.value), set())
    return {"indicators": len(equal_ones(indicators)), "benign_accounts_touched": len(touched)}


def membership_inference(
    contributions: NDArray[np.int64], group: int, epsilon: float, delta: float,
    rounds: int = 200, seed: int = 3,
) -> dict[str, float]:  # fmt: skip
    """Whether one account was among those of a coverage sketch, by two attackers.

    The strong one knows what every other account of the cluster contributed, and what the account
    in question would: nobody can know more. The other one knows the account in question only, and
    compares it with accounts that it knows not to be in.

    Args:
      contributions: int64 of shape (n, 1024), of accounts.
      group: accounts of a cluster.
      epsilon, delta: of the sketch.
      rounds: clusters that are drawn.
      seed: of the draws; the noise is not seeded.

    Returns:
      Area under the curve of both, the largest advantage (true minus false positives) of the strong
      one, and what differential privacy allows.
    """
    rng = np.random.default_rng(seed)
    strong: tuple[list[float], list[float]] = ([], [])
    weak: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds):
        drawn = rng.choice(len(contributions), group + 1, replace=False)
        target, rest = contributions[drawn[0]], contributions[drawn[1:]]
        inside = i % 2
        total = rest[: group - 1].sum(axis=0) + (target if inside else rest[group - 1])
        noisy = noisy_coverage(total, "", "", epsilon, delta).sums()
        own = target / UNIT
        known = rest[: group - 1].sum(axis=0) / UNIT
        strong[inside].append(float((noisy - known) @ own))
        weak[inside].append(float(noisy @ own) / max(float(np.linalg.norm(own)), 1e-9))
    bound = (math.exp(epsilon) - 1 + 2 * delta) / (math.exp(epsilon) + 1)
    return {
        "auc_who_knows_all_others": _auc(*strong),
        "auc_who_knows_the_account": _auc(*weak),
        "advantage": _advantage(*strong),
        "advantage_allowed": bound,
        "rounds": rounds,
    }


def _auc(out: Sequence[float], inside: Sequence[float]) -> float:
    a, b = np.array(out), np.array(inside)
    above: Float = (b[:, None] > a[None]) + 0.5 * (b[:, None] == a[None])
    return float(above.mean())


def _advantage(out: Sequence[float], inside: Sequence[float]) -> float:
    a, b = np.array(out), np.array(inside)
    return float(max((b >= t).mean() - (a >= t).mean() for t in np.concatenate([a, b])))
