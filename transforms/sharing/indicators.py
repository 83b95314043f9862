"""What labs tell one another: indicators of a campaign, and sightings of them.

An indicator is the same thing in memory, in the table `indicators`, and as a STIX object; here is
what it is in memory. It names no customer: a campaign goes by a pseudonym that only the lab which
made it can resolve.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from schemas.errors import DistilwatchError
from schemas.tables import TABLES, normalise_row
from transforms.coverage.layout import HASH_BITS, Items

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:distilwatch:sharing:1")
MAX_PAYLOAD_BYTES = 64 * 1024
MAX_TEXT = 500
_LATEST_MS = 253_402_300_799_999  # the end of year 9999
_HEX = re.compile(r"[0-9a-f]{14}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,99}")
_ID = re.compile(r"indicator--[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
Direction = Literal["shared", "received"]


class Kind(StrEnum):
    """What an indicator is about. Values of the first six are compared for equality."""

    PREFIX_SCAFFOLD = "prefix_scaffold"
    SUFFIX_SCAFFOLD = "suffix_scaffold"
    OPENING_SENTENCE = "opening_sentence"
    CLOSING_SENTENCE = "closing_sentence"
    NETWORK = "network"
    CLIENT = "client"
    BEHAVIOUR = "behaviour"
    COVERAGE = "coverage"

    @property
    def compared(self) -> bool:
        """Whether it has a payload that is compared, instead of a value that is equal or not."""
        return self in (Kind.BEHAVIOUR, Kind.COVERAGE)


class Marking(StrEnum):
    """Traffic light protocol, version 2.0 (FIRST, 2022)."""

    CLEAR = "clear"
    GREEN = "green"
    AMBER = "amber"
    AMBER_STRICT = "amber+strict"
    RED = "red"

    @property
    def strictness(self) -> int:
        """0 for what everybody may have, 4 for what stays with the people it was told to."""
        return list(Marking).index(self)


@dataclass(frozen=True, slots=True)
class Indicator:
    """One thing that tells a campaign.

    Attributes:
      indicator_id: `indicator--` and a UUID; see `indicator_id`.
      kind: what it is about.
      value: of kinds that are equal or not, 14 hex digits, as `CoverageSketch.items` has them; ""
        of compared ones.
      payload: of compared kinds, as `transforms.sharing.payloads` writes it; b"" of others.
      provider: name of the lab that made it.
      campaign: the provider's pseudonym of the cluster; indicators of one campaign have the same.
      confidence: 0 to 100, of the provider.
      marking: to whom it may be passed on.
      method: how it was made, in words; at most 500 characters.
      valid_from_ms, valid_until_ms: milliseconds UTC; until None it holds for ever.
      created_ms, modified_ms: of the object; a newer version has a later `modified_ms`.
      revision: 1, 2, … with every version.
      revoked: whether the provider took it back.
      source: who brought it here: "own", or the name of a feed.
    """

    indicator_id: str
    kind: Kind
    value: str
    payload: bytes
    provider: str
    campaign: str
    confidence: int
    marking: Marking
    method: str
    valid_from_ms: int
    valid_until_ms: int | None
    created_ms: int
    modified_ms: int
    revision: int = 1
    revoked: bool = False
    source: str = "own"

    def __post_init__(self) -> None:
        if problem := _problem(self):
            raise DistilwatchError(problem, f"indicator {self.indicator_id[:60]}", "refuse it")

    def item(self) -> int | None:
        """The shared thing as `CoverageSketch.item_key` has it; None for compared kinds."""
        if self.kind.compared:
            return None
        return int(Items[self.kind.name]) << int(HASH_BITS) | int(self.value, 16)

    def holds_at(self, time_ms: int) -> bool:
        """Whether it is valid at a time, and not taken back."""
        until = _LATEST_MS if self.valid_until_ms is None else self.valid_until_ms
        return not self.revoked and self.valid_from_ms <= time_ms < until

    def to_row(self, direction: Direction) -> dict[str, Any]:
        """Its row of the table `indicators`."""
        return normalise_row(
            TABLES["indicators"],
            {
                "indicator_id": self.indicator_id,
                "direction": direction,
                "kind": self.kind.value,
                "value": self.value or None,
                "sketch": self.payload or None,
                "provider": self.provider,
                "cluster_id": self.campaign,
                "confidence": self.confidence,
                "marking": self.marking.value,
                "valid_from": self.valid_from_ms,
                "valid_until": self.valid_until_ms,
                "revoked": self.revoked,
                "created": self.created_ms,
                "modified": self.modified_ms,
                "revision": self.revision,
                "method": self.method,
                "source": self.source,
            },
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Indicator:
        """Of a row of the table `indicators`; times are milliseconds or datetimes.

        Raises:
          DistilwatchError: when the row is no indicator.
        """
        known = {c.name: row.get(c.name) for c in TABLES["indicators"].columns}
        full = normalise_row(TABLES["indicators"], known)
        try:
            kind, marking = Kind(full["kind"]), Marking(full["marking"])
        except ValueError as error:
            raise DistilwatchError(
                str(error), "table indicators", "update distilwatch, or delete the row"
            ) from None
        return cls(
            full["indicator_id"],
            kind,
            full["value"] or "",
            full["sketch"] or b"",
            full["provider"] or "",
            full["cluster_id"] or "",
            full["confidence"] or 0,
            marking,
            full["method"] or "",
            full["valid_from"],
            full["valid_until"],
            full["valid_from"] if full["created"] is None else full["created"],
            full["valid_from"] if full["modified"] is None else full["modified"],
            full["revision"] or 1,
            bool(full["revoked"]),
            full["source"] or "own",
        )


@dataclass(frozen=True, slots=True)
class Sighting:
    """An indicator seen in our own traffic; account and cluster stay here.

    Attributes:
      sighting_id: the same for the same match.
      indicator_id: that matched.
      account_id, cluster_id: in which it was seen; "" where unknown.
      first_seen_ms, last_seen_ms: milliseconds UTC.
      count: requests that matched.
      similarity: of compared kinds, 0 to 1; 1 where values are equal.
      run_id: of the run that saw it.
    """

    sighting_id: str
    indicator_id: str
    account_id: str
    cluster_id: str
    first_seen_ms: int
    last_seen_ms: int
    count: int
    similarity: float = 1.0
    run_id: str = ""

    def to_row(self) -> dict[str, Any]:
        """Its row of the table `sightings`."""
        return normalise_row(
            TABLES["sightings"],
            {
                "sighting_id": self.sighting_id,
                "indicator_id": self.indicator_id,
                "account_id": self.account_id or None,
                "cluster_id": self.cluster_id or None,
                "first_seen": self.first_seen_ms,
                "last_seen": self.last_seen_ms,
                "match_count": self.count,
                "similarity": float(self.similarity),
                "run_id": self.run_id or None,
            },
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Sighting:
        """Of a row of the table `sightings`."""
        known = {c.name: row.get(c.name) for c in TABLES["sightings"].columns}
        full = normalise_row(TABLES["sightings"], known)
        return cls(
            full["sighting_id"],
            full["indicator_id"],
            full["account_id"] or "",
            full["cluster_id"] or "",
            full["first_seen"],
            full["last_seen"],
            full["match_count"] or 0,
            1.0 if full["similarity"] is None else full["similarity"],
            full["run_id"] or "",
        )


def indicator_id(provider: str, kind: Kind, what: str) -> str:
    """The id of what a provider says of one thing: the same whenever it says it.

    Args:
      provider: name of the lab.
      kind: of the indicator.
      what: the value of kinds that are equal or not; of compared ones the campaign, and the space
        of a coverage sketch.
    """
    return f"indicator--{uuid.uuid5(NAMESPACE, _joined('indicator', provider, kind.value, what))}"


def sighting_id(indicator: str, account: str, window_start_ms: int) -> str:
    """The id of a match, the same however often it is found."""
    name = _joined("sighting", indicator, account, str(window_start_ms))
    return f"sighting--{uuid.uuid5(NAMESPACE, name)}"


def newest(indicators: list[Indicator]) -> dict[str, Indicator]:
    """Of each id the version that counts: the latest one; a revocation is never undone."""
    found: dict[str, Indicator] = {}
    for one in indicators:
        known = found.get(one.indicator_id)
        if known is None or _version(one) > _version(known):
            found[one.indicator_id] = one
    return found


def _version(one: Indicator) -> tuple[bool, int, int]:
    return one.revoked, one.modified_ms, one.revision


def _joined(*parts: str) -> str:
    return "\x1f".join(parts)


def moment_ms(value: datetime) -> int:
    """Milliseconds UTC of a datetime that has a zone."""
    return round(value.timestamp() * 1000)


def _problem(one: Indicator) -> str:
    """What is wrong with an indicator; "" for nothing."""
    times = (one.valid_from_ms, one.created_ms, one.modified_ms, one.valid_until_ms or 0)
    if not _ID.fullmatch(one.indicator_id):
        return "its id is none"
    if not _NAME.fullmatch(one.provider) or not _NAME.fullmatch(one.source):
        return "the name of its provider or source has other signs than letters, digits and ._:/-"
    if one.campaign and not _NAME.fullmatch(one.campaign):
        return "the name of its campaign has other signs than letters, digits and ._:/-"
    if one.kind.compared and (one.value or not one.payload):
        return f"kind {one.kind} needs a payload and has no value"
    if not one.kind.compared and (one.payload or not _HEX.fullmatch(one.value)):
        return f"the value of kind {one.kind} must be 14 hex digits, without a payload"
    if len(one.payload) > MAX_PAYLOAD_BYTES or len(one.method) > MAX_TEXT:
        return "payload or method is too long"
    if not 0 <= one.confidence <= 100:
        return "confidence is not from 0 to 100"
    if one.revision < 1 or any(not 0 <= t <= _LATEST_MS for t in times):
        return "a revision or time is out of range"
    if one.modified_ms < one.created_ms:
        return "it was modified before it was created"
    if one.valid_until_ms is not None and one.valid_until_ms <= one.valid_from_ms:
        return "it ends before it begins"
    return ""
