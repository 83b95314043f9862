"""What is around the requests: networks, programs, models and prices.

Much of it is shared by people who have nothing to do with each other (carrier NATs, cloud ranges,
VPN exits, popular browsers and SDKs), and all accounts choose from it in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.simulate.prompts import zipf_weights
from pipelines.simulate.timing import DAY_MS

Cover = Literal["consumer", "api", "enterprise"]

# Country, hours from UTC, share of accounts.
COUNTRIES: tuple[tuple[str, float, float], ...] = (
    ("US", -6, 0.27), ("IN", 5.5, 0.11), ("DE", 1, 0.08), ("GB", 0, 0.08), ("BR", -3, 0.07),
    ("JP", 9, 0.06), ("FR", 1, 0.06), ("CA", -5, 0.05), ("SG", 8, 0.05), ("ES", 1, 0.05),
    ("KR", 9, 0.04), ("MX", -6, 0.04), ("AU", 10, 0.04),
)  # fmt: skip
TIERS: dict[Cover, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "consumer": (("free", "plus", "pro"), (0.4, 0.45, 0.15)),
    "api": (("tier1", "tier2", "tier3", "tier4"), (0.3, 0.35, 0.25, 0.1)),
    "enterprise": (("team", "scale", "custom"), (0.5, 0.35, 0.15)),
}
SEGMENTS: dict[Cover, str] = {
    "consumer": "consumer",
    "api": "developer",
    "enterprise": "enterprise",
}


@dataclass(frozen=True, slots=True)
class Model:
    """A model on sale; prices in US dollars per million tokens."""

    name: str
    input_price: float
    output_price: float
    reasons: bool


MODELS = (
    Model("atlas-large-3", 3.0, 15.0, False),
    Model("atlas-mini-3", 0.25, 1.25, False),
    Model("atlas-think-3", 4.0, 20.0, True),
    Model("atlas-large-4", 4.0, 20.0, True),
)
NEW_MODEL = 3
"""Index of the model that is released during the live period."""


@dataclass(slots=True)
class World:
    """Networks and clients that accounts have, by index.

    Attributes:
      prefixes, asns, countries: of each network.
      clients: fingerprints.
    """

    rng: np.random.Generator
    prefixes: list[str] = field(default_factory=list)
    asns: list[int] = field(default_factory=list)
    countries: list[str] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)
    _carriers: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    _cloud: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    _vpn: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    _browsers: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    _programs: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        for country, _, _ in COUNTRIES:
            self._carriers[country] = np.array([self._network(country, 4) for _ in range(6)])
        places = [country for country, _, _ in COUNTRIES[:6]]
        self._cloud = np.array([self._network(places[i % 6], 3) for i in range(36)])
        self._vpn = np.array([self._network(places[i % 6], 2) for i in range(16)])
        self._browsers = np.array([self.new_client() for _ in range(70)])
        self._programs = np.array([self.new_client() for _ in range(40)])

    def _network(self, country: str, providers: int) -> int:
        a, b, c, version = (int(v) for v in self.rng.integers(1, 250, 4))
        if version < 50:
            self.prefixes.append(f"2a{a:02x}:{b:x}{c:02x}:{self.rng.integers(4096, 65535):x}::/48")
        else:
            self.prefixes.append(f"{a}.{b}.{c}.0/24")
        base = 1000 + 97 * [place for place, _, _ in COUNTRIES].index(country)
        self.asns.append(base + 7 * providers + int(self.rng.integers(0, providers)))
        self.countries.append(country)
        return len(self.prefixes) - 1

    def own_network(self, country: str) -> int:
        """A new prefix of a home or an office."""
        return self._network(country, 9)

    def carrier(self, country: str) -> int:
        """A carrier's NAT, shared by many."""
        return int(self.rng.choice(self._carriers[country], p=zipf_weights(6)))

    def cloud(self) -> int:
        """A range of a cloud provider, shared by many."""
        return int(self.rng.choice(self._cloud, p=zipf_weights(36, 0.8)))

    def vpn(self) -> int:
        """An exit of a VPN provider, shared by many."""
        return int(self.rng.choice(self._vpn, p=zipf_weights(16, 0.6)))

    def new_client(self) -> int:
        """A fingerprint that nobody has yet."""
        self.clients.append(self.rng.bytes(8).hex())
        return len(self.clients) - 1

    def client(self, cover: Cover) -> int:
        """A client as that kind of account has: popular, or now and then of one's own."""
        if self.rng.random() < 0.08:
            return self.new_client()
        popular = self._browsers if cover == "consumer" else self._programs
        return int(self.rng.choice(popular, p=zipf_weights(len(popular), 0.9)))

    def networks(self, cover: Cover, country: str) -> list[int]:
        """Networks of one account, the usual one first."""
        rng = self.rng
        if cover == "consumer":
            first = self.carrier(country) if rng.random() < 0.3 else self.own_network(country)
            found = [first]
            if rng.random() < 0.6:
                found.append(self.carrier(country))
            if rng.random() < 0.3:
                found.append(self.own_network(country))
            if rng.random() < 0.12:
                found = [self.vpn() for _ in range(int(rng.integers(2, 6)))]
        else:
            found = [self.cloud() if rng.random() < 0.6 else self.own_network(country)]
            if rng.random() < 0.4:
                found.append(self.cloud())
            if rng.random() < 0.1:  # services that call from wherever their workers run
                found += [self.own_network(country) for _ in range(int(rng.integers(3, 20)))]
        return found


def country(rng: np.random.Generator) -> tuple[str, float]:
    """A country and its offset from UTC in hours."""
    shares = np.array([share for _, _, share in COUNTRIES])
    name, zone, _ = COUNTRIES[int(rng.choice(len(COUNTRIES), p=shares / shares.sum()))]
    return name, zone


def created_ms(start_ms: int, rng: np.random.Generator) -> int:
    """When an account was opened that is first seen about `start_ms`: days to years before."""
    return start_ms - int(rng.lognormal(np.log(60), 1.6) * DAY_MS) - int(rng.integers(0, DAY_MS))
