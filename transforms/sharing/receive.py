"""What others say, looked at before anything believes it.

An object is taken only when it is small and shallow, of a type that has a use here, valid by the
stix2 library and by OASIS's own schemas, signed by the lab in whose name it speaks, marked no
stricter than the feed may carry, and plausible in time. What is refused is refused by itself, with
a reason, and leaves the others alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
import stix2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.errors import DistilwatchError, printable
from transforms.sharing.canonical import EXTENSION, canonical, is_signed_by
from transforms.sharing.indicators import Indicator, Kind, Marking, indicator_id, moment_ms
from transforms.sharing.payloads import check_payload, decode_coverage
from transforms.sharing.stix import Stix, identity_id, indicator_object, stable_id
from transforms.sharing.tlp import MARKINGS

MAX_OBJECT_BYTES = 128 * 1024
MAX_DEPTH = 12
_TYPES = ("indicator", "campaign", "identity", "relationship", "sighting", "opinion", "note")
_MOST_PATTERN = 500
_SKEW_MS = 600_000
_SOON_MS = 86_400_000
TOO_EARLY = "too_early"
"""Reason for refusing what is from the future by a day at most. Perhaps our clock is late, or it
becomes valid later: whoever polls asks for it again."""
TOO_LARGE = "too_large"
"""Reason for refusing what is larger than anything honest."""
_HORIZON_MS = 2 * 366 * 86_400_000


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Whom a collection may carry.

    Attributes:
      name: of the feed; becomes the `source` of what comes from it.
      own: our own lab; what comes back from it is passed over.
      keys: name of a lab to the keys it signs with.
      strictest: marking that may travel on this feed at most.
    """

    name: str
    own: str
    keys: Mapping[str, list[Ed25519PublicKey]]
    strictest: Marking = Marking.AMBER_STRICT


class Refusal(NamedTuple):
    """An object that was not taken.

    Attributes:
      object_id: as far as it can be told; printable, as the detail is.
      reason: one stable word.
      detail: in words; never more than 200 characters of the object.
    """

    object_id: str
    reason: str
    detail: str


@dataclass(slots=True)
class Received:
    """What was taken, and what was not.

    Attributes:
      indicators: newest version of each.
      said: sightings, opinions and notes of others, as objects.
      campaigns: as objects.
      passed: objects without a use here: our own, identities, relationships, markings.
      refused: the rest.
    """

    indicators: list[Indicator] = field(default_factory=list)
    said: list[Stix] = field(default_factory=list)
    campaigns: list[Stix] = field(default_factory=list)
    passed: int = 0
    refused: list[Refusal] = field(default_factory=list)


class _Refused(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def receive(objects: Sequence[Any], feed: Feed, now_ms: int) -> Received:
    """Looks at objects of a feed.

    Args:
      objects: as parsed from JSON.
      feed: where they come from.
      now_ms: milliseconds UTC.
    """
    found = Received()
    for obj in objects:
        try:
            _take(obj, feed, now_ms, found)
        except _Refused as refused:
            name = str(obj.get("id", ""))[:100] if isinstance(obj, Mapping) else ""
            found.refused.append(
                Refusal(printable(name), refused.reason, printable(refused.detail[:200]))
            )
    return found


def _take(obj: Any, feed: Feed, now_ms: int, found: Received) -> None:
    _check_shape(obj)
    kind = obj.get("type")
    if kind in ("marking-definition", "extension-definition"):
        found.passed += 1  # the same for everybody, and known here
        return
    if not isinstance(kind, str) or kind not in _TYPES:
        raise _Refused("unknown_type", f"type {str(kind)[:50]!r}")
    lab = _signer(obj, feed)
    if lab in (feed.own, ""):
        found.passed += 1
        return
    _check_schema(obj)
    _check_marking(obj, feed)
    for name in ("created", "modified"):
        _check_time(moment_ms(stix2.utils.parse_into_datetime(obj[name])), now_ms, name)
    if kind == "indicator":
        found.indicators.append(_indicator(obj, lab, feed, now_ms))
    elif kind in ("sighting", "opinion", "note"):
        found.said.append(dict(obj))
    elif kind == "campaign":
        if obj["id"] != stable_id("campaign", lab, obj["name"]):
            raise _Refused("foreign_id", "its id is not made of its lab and name")
        found.campaigns.append(dict(obj))
    else:
        found.passed += 1


def _check_time(time_ms: int, now_ms: int, name: str) -> None:
    early_ms = time_ms - now_ms
    if early_ms > _SKEW_MS:
        reason = TOO_EARLY if early_ms <= _SOON_MS else "from_the_future"
        minutes = f"{early_ms // 60_000:,}"
        raise _Refused(reason, f"{name} is {minutes} minutes from now, by our clock")


def _check_shape(obj: Any) -> None:
    if not isinstance(obj, Mapping):
        raise _Refused("no_object", f"a {type(obj).__name__}")
    depth = 0
    layer: list[Any] = [obj]
    while layer:
        depth += 1
        if depth > MAX_DEPTH:
            raise _Refused("too_deep", f"more than {MAX_DEPTH} levels")
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
            if isinstance(inner, Mapping | list)
        ]
    try:
        size = len(canonical(obj))
    except (orjson.JSONEncodeError, TypeError) as error:
        raise _Refused("no_json", str(error)) from None
    if size > MAX_OBJECT_BYTES:
        raise _Refused(TOO_LARGE, f"{size:,} bytes")


def _signer(obj: Mapping[str, Any], feed: Feed) -> str:
    """Lab that signed an object in its own name; "" for what distilwatch itself is."""
    author = obj.get("id") if obj["type"] == "identity" else obj.get("created_by_ref")
    if author == identity_id("distilwatch"):
        return ""
    if author == identity_id(feed.own):
        return feed.own
    for lab, keys in feed.keys.items():
        if author == identity_id(lab):
            if not is_signed_by(obj, keys):
                raise _Refused("bad_signature", f"it is not signed by {lab}")
            return lab
    raise _Refused("unknown_source", f"this feed trusts nobody called {str(author)[:60]}")


def _check_schema(obj: Mapping[str, Any]) -> None:
    from stix2validator import ValidationOptions, validate_parsed_json

    if len(str(obj.get("pattern", ""))) > _MOST_PATTERN:
        raise _Refused(TOO_LARGE, f"a pattern of more than {_MOST_PATTERN} characters")
    # Both libraries fail in ways of their own on what no honest lab sends.
    try:
        stix2.parse(dict(obj), allow_custom=False, version="2.1")
        result = validate_parsed_json(dict(obj), ValidationOptions(version="2.1"))
    except Exception as error:
        raise _Refused("not_stix", f"{type(error).__name__}: {error}") from None
    if not result.is_valid:
        raise _Refused("not_stix", "; ".join(str(error) for error in result.errors))


def _check_marking(obj: Mapping[str, Any], feed: Feed) -> None:
    if obj["type"] == "identity":
        return
    refs = obj.get("object_marking_refs") or []
    markings = [MARKINGS[ref] for ref in refs if ref in MARKINGS]
    if len(markings) != 1 or len(refs) != 1 or obj.get("granular_markings"):
        raise _Refused("no_marking", "it needs exactly one marking of TLP 2.0")
    if markings[0].strictness > feed.strictest.strictness:
        raise _Refused("marking_too_strict", f"TLP:{markings[0].value.upper()} on this feed")


def _indicator(obj: Mapping[str, Any], lab: str, feed: Feed, now_ms: int) -> Indicator:
    try:
        one = indicator_of(obj, lab, feed.name)
        check_payload(one)
        what = one.value or one.campaign
        if one.kind is Kind.COVERAGE:
            what = f"{one.campaign}/{decode_coverage(one.payload).space}"
        elif one.kind is Kind.BEHAVIOUR:
            what = f"{one.campaign}/"
    except DistilwatchError as error:
        raise _Refused("not_an_indicator", str(error)) from None
    if one.indicator_id != indicator_id(lab, one.kind, what):
        raise _Refused("foreign_id", "its id is not made of its lab and content")
    if indicator_object(one)["pattern"] != obj["pattern"]:
        raise _Refused("other_pattern", "its pattern says something else than its properties")
    _check_time(one.valid_from_ms, now_ms, "valid_from")
    if one.valid_until_ms is None or one.valid_until_ms > now_ms + _HORIZON_MS:
        raise _Refused("too_long", "it would hold for more than two years")
    return one


def indicator_of(obj: Mapping[str, Any], provider: str = "", source: str = "own") -> Indicator:
    """The indicator that `stix.indicator_object` made an object of.

    Args:
      obj: of type indicator.
      provider: lab that made it; "" to take its reference for a name, which says nothing.
      source: who brought it.

    Raises:
      DistilwatchError: when it is none of ours.
    """
    try:
        ours = obj["extensions"][EXTENSION]
        marking = MARKINGS[obj["object_marking_refs"][0]]
        until = obj.get("valid_until")
        return Indicator(
            obj["id"],
            Kind(ours["kind"]),
            _text(ours.get("value", "")),
            base64.b64decode(ours.get("payload", ""), validate=True),
            provider or obj["created_by_ref"],
            _text(ours["campaign"]),
            _whole(obj["confidence"]),
            marking,
            _text(obj.get("description", "")),
            _ms(obj["valid_from"]),
            None if until is None else _ms(until),
            _ms(obj["created"]),
            _ms(obj["modified"]),
            _whole(ours["revision"]),
            obj.get("revoked", False) is True,
            source,
        )
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
        raise DistilwatchError(
            f"an indicator lacks what distilwatch needs: {type(error).__name__} {error}"[:300],
            str(obj.get("id", ""))[:60],
            "refuse it",
        ) from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a value is no text")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("a value is no whole number")
    return value


def _ms(text: str) -> int:
    return moment_ms(stix2.utils.parse_into_datetime(text))
