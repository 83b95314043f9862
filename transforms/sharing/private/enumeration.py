"""What it costs to try every identifier, from how many there are and what the quota allows."""

from __future__ import annotations

import math
from typing import NamedTuple

_DAYS_A_YEAR = 365.25


class Space(NamedTuple):
    """A kind of identifier: how many values an attacker would have to try to find half of them.

    Attributes:
      name: for people.
      values: float; the bits are its logarithm.
    """

    name: str
    values: float

    @property
    def bits(self) -> float:
        return math.log2(self.values)


SPACES = (
    # 16 digits: 8 name the issuer, 1 is a check digit (ISO/IEC 7812-1).
    Space("card number, issuer known", 1e7),
    Space("card number, one of 1,000 issuers", 1e10),
    # 29 characters, of which 4 name who controls the range, the others are of 36 (EMVCo PAR).
    Space("payment account reference", 36.0**25),
    Space("device: the 10,000 most used of TLS and browser", 1e4),
    Space("device: fingerprint of 33 bits", 2.0**33),
    Space("network: /24 of IPv4", 2.0**24),
    Space("network: /48 of IPv6, of a known /32", 2.0**16),
)


def years(space: Space, quota: int, period_days: float = 1.0, peers: int = 1) -> float:
    """Years until all values were evaluated, at the full quota.

    Args:
      space: of the identifiers.
      quota: points a period and peer.
      period_days: of the quota.
      peers: that do it together.
    """
    return space.values / (quota * peers) * period_days / _DAYS_A_YEAR


def found_a_year(space: Space, confirmed: int, quota: int, period_days: float = 1.0) -> float:
    """How many of the confirmed identifiers a peer finds a year by guessing at the full quota, when
    it knows only the space: confirmed · guesses / values."""
    guesses = min(quota * _DAYS_A_YEAR / period_days, space.values)
    return confirmed * guesses / space.values
