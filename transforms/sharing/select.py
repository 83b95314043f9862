"""Which indicators a confirmed cluster gives, and which may leave to whom.

Every candidate comes out with a verdict in words: what stays at home is said as clearly as what
leaves. Nothing is decided here by what cannot be written down: limits and terms are the policy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from transforms.sharing.indicators import Indicator, Kind, Marking, indicator_id
from transforms.sharing.payloads import MAX_FEATURES, Behaviour, Coverage, rounded_score

_DAY_MS = 86_400_000
_LIKENESS = 60  # confidence of what is compared: a likeness is no identity
_LEAST_SIGMAS = 4.0  # members that a coverage sketch needs, in standard deviations of its noise


@dataclass(frozen=True, slots=True)
class Terms:
    """What may leave to one recipient.

    Attributes:
      recipient: its name.
      kinds: that it may have.
      marking: that everything gets.
      least_confidence: of indicators below it nothing leaves.
      least_accounts: clusters with fewer accounts give nothing.
      least_members: members that must have a shared thing.
      most_others: accounts outside the cluster that may have it, by kind.
      valid_ms: how long indicators hold.
      epsilon, delta: of one coverage sketch, for each account in it.
      epsilon_total: for each account, over all sketches ever made of it.
      tactics: whether names of what the campaign seems to do may leave.
    """

    recipient: str
    kinds: frozenset[Kind]
    marking: Marking
    least_confidence: int
    least_accounts: int
    least_members: int
    most_others: Mapping[Kind, int]
    valid_ms: int
    epsilon: float
    delta: float
    epsilon_total: float
    tactics: bool = False


class Candidate(NamedTuple):
    """Something that could be told.

    Attributes:
      kind: of the indicator.
      what: in words.
      indicator: to leave; None for what stays.
      why: it leaves, or stays.
    """

    kind: Kind
    what: str
    indicator: Indicator | None
    why: str


class Case(NamedTuple):
    """A confirmed cluster.

    Attributes:
      evidence: its row of `cluster_evidence`.
      lab: our name.
      campaign: pseudonym of the cluster.
      seen_ms: last request of a member, milliseconds UTC.
      now_ms: when indicators are made.
    """

    evidence: Mapping[str, Any]
    lab: str
    campaign: str
    seen_ms: int
    now_ms: int


def candidates(case: Case, terms: Terms, draw: Callable[[], Coverage | str]) -> list[Candidate]:
    """All that a cluster could tell, each with a verdict.

    Args:
      case: the cluster.
      terms: of the recipient.
      draw: gives the coverage sketch, or says why there is none; called at most once, and only when
        it may leave.
    """
    accounts = case.evidence["account_count"]
    why = _too_old(case, terms)
    if accounts < terms.least_accounts:
        why = f"the cluster has {accounts} accounts, fewer than {terms.least_accounts}"
    found = [_of_thing(case, terms, thing) for thing in case.evidence["things"]]
    found.append(_of_behaviour(case, terms))
    found.append(_of_coverage(case, terms, (lambda: why) if why else draw))
    if why:
        found = [one._replace(indicator=None, why=why) for one in found]
    return found


def _too_old(case: Case, terms: Terms) -> str:
    """An indicator holds from the last request of its campaign on: what was confirmed long after it
    would be over before anybody has it, and is not made to look new."""
    if case.now_ms < case.seen_ms + terms.valid_ms:
        return ""
    day = datetime.fromtimestamp(case.seen_ms / 1000, UTC).date()
    days = terms.valid_ms // _DAY_MS
    return (
        f"it was last seen on {day}, and what {terms.recipient} gets holds for {days} days from "
        "then: it would be over already (valid_for in the policy)"
    )


def thing_confidence(members: int, others: int) -> int:
    """How sure it is that an account with a thing belongs to the campaign, in steps of 5.

    The mean of a Beta distribution after members and others were seen, from Jeffreys' prior; at
    most 95, because the past does not bind.
    """
    return int(95 * (members + 0.5) / (members + others + 1)) // 5 * 5


def _of_thing(case: Case, terms: Terms, thing: Mapping[str, Any]) -> Candidate:
    kind, members, others = Kind(thing["kind"]), thing["members"], thing["others"]
    what = f"{thing['thing']}, of {members} accounts and {others} others"
    confidence = thing_confidence(members, others)
    why = _refused(terms, kind, confidence)
    if not why and members < terms.least_members:
        why = f"only {members} members have it, fewer than {terms.least_members}"
    if not why and others > terms.most_others.get(kind, 0):
        why = f"{others} accounts that are not of the cluster have it, too"
    if why:
        return Candidate(kind, what, None, why)
    method = (
        "Shared by accounts of one confirmed campaign, and by few or none outside; what ordinary "
        "accounts share is left out. Hash: BLAKE2b-64, first 56 bits."
    )
    one = _indicator(case, terms, kind, thing["thing"], b"", confidence, method)
    return Candidate(kind, what, one, "may leave")


def _of_behaviour(case: Case, terms: Terms) -> Candidate:
    kind = Kind.BEHAVIOUR
    known = [f for f in case.evidence["features"][:MAX_FEATURES] if f["z"] is not None]
    scores = rounded_score(np.array([f["z"] for f in known], np.float64)).tolist()
    features = dict(zip((f["name"] for f in known), scores, strict=True))
    what = f"{len(features)} features of the cluster as a whole, in halves of a standard score"
    why = _refused(terms, kind, _LIKENESS)
    if not why and not features:
        why = "no feature is known"
    if why:
        return Candidate(kind, what, None, why)
    method = (
        "Features of the accounts taken together, as standard scores against benign groups of "
        "their size and volume; rounded to halves, at most 10."
    )
    payload = Behaviour(features).encode()
    return Candidate(
        kind, what, _indicator(case, terms, kind, "", payload, _LIKENESS, method), "may leave"
    )


def _of_coverage(case: Case, terms: Terms, draw: Callable[[], Coverage | str]) -> Candidate:
    kind, accounts = Kind.COVERAGE, case.evidence["account_count"]
    what = f"what {accounts} accounts ask, with noise (ε = {terms.epsilon:g}, δ = {terms.delta:g})"
    why = _refused(terms, kind, _LIKENESS)
    if not why and accounts < terms.least_accounts:
        why = "too few accounts"
    if not why and not case.evidence.get("coverage"):
        why = "no coverage is known"
    if not why:
        from transforms.sharing.privacy import sigma_for

        least = _LEAST_SIGMAS * sigma_for(terms.epsilon, terms.delta)
        if accounts < least:
            needed = f"ε = {terms.epsilon:g} needs {math.ceil(least)} accounts"
            why = f"the noise would drown it: {needed}"
    if why:
        return Candidate(kind, what, None, why)
    drawn = draw()
    if isinstance(drawn, str):
        return Candidate(kind, what, None, drawn)
    method = (
        f"Sum over accounts of the square root of each one's share of requests per codebook cell, "
        f"discrete Gaussian noise of {drawn.sigma:.3g} accounts; each account has "
        f"({terms.epsilon:g}, {terms.delta:g})-differential privacy."
    )
    one = _indicator(case, terms, kind, "", drawn.encode(), _LIKENESS, method, drawn.space)
    return Candidate(kind, what, one, "may leave")


def _refused(terms: Terms, kind: Kind, confidence: int) -> str:
    if kind not in terms.kinds:
        return f"{terms.recipient} may not have this kind"
    if confidence < terms.least_confidence:
        return f"confidence {confidence} is below {terms.least_confidence}"
    return ""


def _indicator(
    case: Case, terms: Terms, kind: Kind, value: str, payload: bytes, confidence: int,
    method: str, space: str = "",
) -> Indicator:  # fmt: skip
    what = value or f"{case.campaign}/{space}"
    return Indicator(
        indicator_id(case.lab, kind, what), kind, value, payload, case.lab, case.campaign,
        confidence, terms.marking, method, case.seen_ms, case.seen_ms + terms.valid_ms,
        case.now_ms, case.now_ms,
    )  # fmt: skip
