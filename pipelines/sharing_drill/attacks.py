"""What a curious lab learns from what it was sent, by trying."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from pipelines.sharing_drill.exchange import Told, equal_ones
from transforms.ingest.hashing import hash64
from transforms.ingest.scaffold import scaffolds
from transforms.sharing.coverage import UNIT, noisy_coverage
from transforms.sharing.indicators import Indicator, Kind
from transforms.sharing.privacy import sigma_for

Thing = tuple[str, str]
Float = NDArray[np.float64]
_SPACE = 1 << 24  # networks of 24 bits


def things_of(event: Mapping[str, Any]) -> Iterator[Thing]:
    """What an event shows of its account, as indicators name it."""
    for kind, name in (("network", "ip_prefix"), ("client", "client_fingerprint")):
        if event.get(name):
            yield kind, f"{hash64(event[name]) >> 8:014x}"
    if event.get("prompt_text"):
        hashes = scaffolds(event["prompt_text"])
        kinds = "prefix_scaffold", "suffix_scaffold", "opening_sentence", "closing_sentence"
        for kind, value in zip(kinds, hashes, strict=True):
            if value:
                yield kind, f"{value >> 8:014x}"


def names_in(told: Sequence[Told], secrets: Iterable[str]) -> int:
    """How many accounts, payment fingerprints and other secrets stand in clear in what was sent."""
    data = b"\n".join(one.data for one in told)
    return sum(secret.encode() in data for secret in set(secrets) if secret)


def invert_networks(
    indicators: Sequence[Indicator], share: float, known: Iterable[str]
) -> dict[str, Any]:
    """Looks for the networks behind hashes by hashing networks, as far as hashes of some have left.

    The hash has no key, because labs must agree on it: whoever has it can try. A share of all
    networks of 24 bits is tried, and those that are known to be right among them. So no hash of a
    network leaves; what is measured is that none has, and how long it would have lasted.

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
    rounds: int = 1_000, seed: int = 3,
) -> dict[str, float]:  # fmt: skip
    """Whether one account was among those of a coverage sketch, by two attackers.

    The strong one knows what every other account of the cluster contributed, and what the account
    in question would: nobody can know more. The other one knows the account in question only.

    What is compared is what the promise is about: the others with the account, and without it.

    Args:
      contributions: int64 of shape (n, 1024), of accounts.
      group: accounts of a cluster that the account in question is in; one fewer without it.
      epsilon, delta: of the sketch.
      rounds: clusters that are drawn, the account in question in every second one.
      seed: of the draws; the noise is not seeded.

    Returns:
      Area under the curve of both, the largest advantage (true minus false positives) of the strong
      one, and what is allowed: by (ε, δ) see `advantage_allowed` and `auc_allowed`, by noise of
      standard deviation σ Φ(1 / (σ √2)) is the largest area (Dong, Roth and Su, "Gaussian
      Differential Privacy", JRSS B 2022: it is 1/σ-GDP).
    """
    rng = np.random.default_rng(seed)
    strong: tuple[list[float], list[float]] = ([], [])
    weak: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds):
        drawn = rng.choice(len(contributions), group, replace=False)
        target, others = contributions[drawn[0]], contributions[drawn[1:]].sum(axis=0)
        inside = i % 2
        sketch = noisy_coverage(others + inside * target, "", "", epsilon, delta)
        own = target / UNIT
        strong[inside].append(float((sketch.sums() - others / UNIT) @ own))
        weak[inside].append(float(sketch.sums() @ own) / max(float(np.linalg.norm(own)), 1e-9))
    return {
        "auc_who_knows_all_others": _auc(*strong),
        "auc_who_knows_the_account": _auc(*weak),
        "advantage": _advantage(*strong),
        "advantage_allowed": advantage_allowed(epsilon, delta),
        "auc_allowed": auc_allowed(epsilon, delta),
        "auc_of_the_noise": float(norm.cdf(1 / (sigma_for(epsilon, delta) * math.sqrt(2)))),
        "rounds": rounds,
    }


def advantage_allowed(epsilon: float, delta: float) -> float:
    """The largest difference of true and false positives under (ε, δ): 1 − 2x, x of `auc_allowed`.

    Kairouz, Oh and Viswanath, "The Composition Theorem for Differential Privacy", ICML 2015.
    """
    return 1 - 2 * (1 - delta) / (1 + math.exp(epsilon))


def auc_allowed(epsilon: float, delta: float) -> float:
    """The largest area under the curve of any test of membership under (ε, δ).

    True positives t and false positives f of whatever test obey t ≤ e^ε f + δ and
    1 − f ≤ e^ε (1 − t) + δ (Kairouz, Oh and Viswanath). The area under these two lines, which meet
    at (x, 1 − x) with x = (1 − δ) / (1 + e^ε), is
    δ + x (δ + 1 − x) / 2 + (1 − δ − x) (2 − x) / 2, which is e^ε / (1 + e^ε) for δ = 0.
    """
    x = (1 - delta) / (1 + math.exp(epsilon))
    return delta + x * (delta + 1 - x) / 2 + (1 - delta - x) * (2 - x) / 2


def chance_of_auc(rounds: int, chance: float) -> float:
    """By how much a measured area may exceed its expectation, but for a chance.

    Hoeffding's inequality for two-sample U-statistics (JASA 1963, section 5): with n rounds of each
    kind, P(measured − expected ≥ t) ≤ exp(−2 n t²), so t = √(ln(1 / chance) / 2n).

    Args:
      rounds: of both kinds together, half of each.
      chance: that it is more.
    """
    return math.sqrt(math.log(1 / chance) / (2 * (rounds // 2)))


def chance_of_advantage(rounds: int, chance: float) -> float:
    """By how much a measured advantage may exceed the true one, but for a chance.

    It is the largest distance of two empirical distributions of n rounds each; each is within t of
    its own everywhere on one side but for exp(−2 n t²) (Massart, "The Tight Constant in the
    Dvoretzky–Kiefer–Wolfowitz Inequality", Annals of Probability 1990): 2 t, with half the chance
    for each.
    """
    return 2 * math.sqrt(math.log(2 / chance) / (2 * (rounds // 2)))


def _auc(out: Sequence[float], inside: Sequence[float]) -> float:
    a, b = np.array(out), np.array(inside)
    above: Float = (b[:, None] > a[None]) + 0.5 * (b[:, None] == a[None])
    return float(above.mean())


def _advantage(out: Sequence[float], inside: Sequence[float]) -> float:
    a, b = np.array(out), np.array(inside)
    return float(max((b >= t).mean() - (a >= t).mean() for t in np.concatenate([a, b])))
