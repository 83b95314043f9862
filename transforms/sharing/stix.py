"""Indicators and what is said about them as STIX 2.1 objects.

Ids are UUIDv5 of what an object says and who says it, and nothing depends on a clock or on chance:
the same statement is the same bytes. A changed statement keeps its id and has a later `modified`.
The stix2 library makes every object and refuses what the standard does not allow.

Shared values have no STIX type of their own, so patterns speak of `x-distilwatch-thing`; what is
compared instead of equal is in a property extension, whose definition travels along.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal

import stix2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from transforms.sharing.canonical import EXTENSION, canonical, digest, signed
from transforms.sharing.indicators import NAMESPACE, Indicator, Kind, Marking
from transforms.sharing.tlp import IDS, marking_object

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)  # of objects that say nothing of a time
_HOUR_MS = 3_600_000
_MOST_COUNT = 999_999_999
_NAMES = {
    Kind.PREFIX_SCAFFOLD: "Beginning that its prompts share",
    Kind.SUFFIX_SCAFFOLD: "Ending that its prompts share",
    Kind.OPENING_SENTENCE: "First sentence that its prompts share",
    Kind.CLOSING_SENTENCE: "Last sentence that its prompts share",
    Kind.NETWORK: "Network that its accounts share",
    Kind.CLIENT: "Client software that its accounts share",
    Kind.BEHAVIOUR: "How its accounts behave together",
    Kind.COVERAGE: "What its accounts cover together",
}
Agreement = Literal["strongly-disagree", "disagree", "neutral", "agree", "strongly-agree"]
Stix = dict[str, Any]


def stable_id(kind: str, *parts: str) -> str:
    """STIX id of a type, from what makes the object that object."""
    return f"{kind}--{uuid.uuid5(NAMESPACE, chr(31).join((kind, *parts)))}"


def identity_id(lab: str) -> str:
    """Id of the identity of a lab."""
    return stable_id("identity", lab)


def signed_objects(objects: Iterable[Mapping[str, Any]], key: Ed25519PrivateKey) -> list[Stix]:
    """Objects with signatures; what is the same for everybody needs none."""
    return [dict(obj) if is_constant(obj) else signed(obj, key) for obj in objects]


def is_constant(obj: Mapping[str, Any]) -> bool:
    """Whether an object is, to the last property, one that is the same for everybody: a marking,
    the definition of our own properties, or who defined them."""
    return any(obj == constant for constant in _constants())


@cache
def _constants() -> tuple[Stix, ...]:
    definitions = (extension_object(), identity_object("distilwatch"))
    return (*definitions, *(marking_object(marking) for marking in Marking))


def identity_object(lab: str) -> Stix:
    """The identity of a lab."""
    return _plain(
        stix2.Identity(
            id=identity_id(lab), created=_EPOCH, modified=_EPOCH, name=lab,
            identity_class="organization",
        )
    )  # fmt: skip


def extension_object() -> Stix:
    """The definition of our properties."""
    return _plain(
        stix2.ExtensionDefinition(
            id=EXTENSION,
            created=_EPOCH,
            modified=_EPOCH,
            created_by_ref=identity_id("distilwatch"),
            name="distilwatch",
            description="What tells a campaign of adversarial distillation: hashes of shared "
            "things, or a payload that is compared; a signature of the lab that made the object.",
            schema="docs/sharing.md in distilwatch",
            version="1.0.0",
            extension_types=["property-extension"],
        )
    )


def campaign_object(
    lab: str,
    campaign: str,
    marking: Marking,
    created_ms: int,
    modified_ms: int,
    tactics: Sequence[str] = (),
    revoked: bool = False,
) -> Stix:
    """A campaign under its pseudonym.

    Args:
      lab: that names it.
      campaign: pseudonym.
      marking: to whom it may be passed on.
      created_ms, modified_ms: milliseconds UTC.
      tactics: names of what it seems to do.
      revoked: whether the lab took it back.
    """
    said = {"description": "Seems to do: " + ", ".join(tactics)} if tactics else {}
    return _plain(
        stix2.Campaign(
            id=stable_id("campaign", lab, campaign), created_by_ref=identity_id(lab),
            created=_time(created_ms), modified=_time(modified_ms), name=campaign,
            object_marking_refs=[IDS[marking]], revoked=revoked, **said,
        )
    )  # fmt: skip


def indicator_object(one: Indicator) -> Stix:
    """An indicator, without a signature."""
    ours: dict[str, Any] = {
        "extension_type": "property-extension",
        "kind": one.kind.value,
        "campaign": one.campaign,
        "revision": one.revision,
    }
    if one.kind.compared:
        ours["payload"] = base64.b64encode(one.payload).decode()
        pattern, language = f"{one.kind.value} like the payload of {EXTENSION}", "distilwatch"
    else:
        ours["value"] = one.value
        thing = "x-distilwatch-thing"
        pattern = f"[{thing}:kind = '{one.kind.value}' AND {thing}:value = '{one.value}']"
        language = "stix"
    until = {} if one.valid_until_ms is None else {"valid_until": _time(one.valid_until_ms)}
    return _plain(
        stix2.Indicator(
            id=one.indicator_id,
            created_by_ref=identity_id(one.provider),
            created=_time(one.created_ms),
            modified=_time(one.modified_ms),
            revoked=one.revoked,
            name=_NAMES[one.kind],
            description=one.method or "not said",
            indicator_types=["malicious-activity"],
            pattern=pattern,
            pattern_type=language,
            pattern_version="2.1" if language == "stix" else "1",
            valid_from=_time(one.valid_from_ms),
            confidence=one.confidence,
            object_marking_refs=[IDS[one.marking]],
            extensions={EXTENSION: ours},
            **until,
        )
    )


def relationship_object(one: Indicator) -> Stix:
    """That an indicator indicates its campaign."""
    campaign = stable_id("campaign", one.provider, one.campaign)
    return _plain(
        stix2.Relationship(
            id=stable_id("relationship", one.indicator_id, campaign),
            created_by_ref=identity_id(one.provider), created=_time(one.created_ms),
            modified=_time(one.created_ms), relationship_type="indicates",
            source_ref=one.indicator_id, target_ref=campaign,
            object_marking_refs=[IDS[one.marking]],
        )
    )  # fmt: skip


def sighting_object(
    lab: str, indicator: str, first_ms: int, last_ms: int, count: int, marking: Marking,
    created_ms: int, modified_ms: int,
) -> Stix:  # fmt: skip
    """That a lab has seen an indicator; one object for each, versions as it is seen again.

    Says nothing of accounts: times are rounded to the hour, the count to its first digit.

    Args:
      lab: that has seen it.
      indicator: its id.
      first_ms, last_ms: when; milliseconds UTC.
      count: requests that matched.
      marking: to whom it may be passed on.
      created_ms, modified_ms: of the object.
    """
    return _plain(
        stix2.Sighting(
            id=stable_id("sighting", lab, indicator),
            created_by_ref=identity_id(lab), created=_time(created_ms),
            modified=_time(modified_ms), sighting_of_ref=indicator,
            first_seen=_time(first_ms // _HOUR_MS * _HOUR_MS),
            last_seen=_time(-(-(last_ms + 1) // _HOUR_MS) * _HOUR_MS),
            count=min(_first_digit(count), _MOST_COUNT),
            where_sighted_refs=[identity_id(lab)], object_marking_refs=[IDS[marking]],
        )
    )  # fmt: skip


def opinion_object(
    lab: str, about: str, agreement: Agreement, why: str, marking: Marking, created_ms: int,
    modified_ms: int,
) -> Stix:  # fmt: skip
    """What a lab thinks of an object of another; one object, versions as it changes its mind."""
    return _plain(
        stix2.Opinion(
            id=stable_id("opinion", lab, about), created_by_ref=identity_id(lab),
            created=_time(created_ms), modified=_time(modified_ms), opinion=agreement,
            explanation=why, object_refs=[about], object_marking_refs=[IDS[marking]],
        )
    )  # fmt: skip


def note_object(
    lab: str, about: Sequence[str], abstract: str, content: str, marking: Marking, created_ms: int
) -> Stix:
    """What a lab has to say about objects, in words."""
    return _plain(
        stix2.Note(
            id=stable_id("note", lab, *sorted(about), abstract, content),
            created_by_ref=identity_id(lab), created=_time(created_ms),
            modified=_time(created_ms), abstract=abstract, content=content,
            object_refs=sorted(about), object_marking_refs=[IDS[marking]],
        )
    )  # fmt: skip


def objects_of(
    indicators: Iterable[Indicator], tactics: Sequence[str] = (), campaigns: bool = True
) -> list[Stix]:
    """All that others need to understand some indicators, in the order in which it refers.

    Args:
      indicators: of one lab.
      tactics: of the campaign, where they may be told.
      campaigns: whether to tell of the campaigns, too; they are revoked when all of their
        indicators here are.
    """
    ordered = sorted(indicators, key=lambda one: (one.campaign, one.kind.value, one.indicator_id))
    found: dict[str, Stix] = {}
    for one in ordered:
        found.setdefault(identity_id("distilwatch"), identity_object("distilwatch"))
        found.setdefault(EXTENSION, extension_object())
        found.setdefault(identity_id(one.provider), identity_object(one.provider))
        found.setdefault(IDS[one.marking], marking_object(one.marking))
    for one in ordered:
        if not one.campaign or not campaigns:
            continue
        same = [other for other in ordered if other.campaign == one.campaign]
        campaign = campaign_object(
            one.provider, one.campaign, max((s.marking for s in same), key=lambda m: m.strictness),
            min(s.created_ms for s in same), max(s.modified_ms for s in same), tactics,
            all(s.revoked for s in same),
        )  # fmt: skip
        found.setdefault(campaign["id"], campaign)
    for one in ordered:
        found[one.indicator_id] = indicator_object(one)
        if one.campaign and campaigns and not one.revoked:
            relation = relationship_object(one)
            found[relation["id"]] = relation
    return list(found.values())


def bundle_of(objects: Sequence[Mapping[str, Any]]) -> bytes:
    """A bundle as canonical JSON; its id follows from what is in it."""
    name = uuid.uuid5(NAMESPACE, digest(canonical(list(objects))))
    return canonical({"type": "bundle", "id": f"bundle--{name}", "objects": list(objects)})


def _first_digit(count: int) -> int:
    """A count with all but its first digit zero: 1,234 is 1,000."""
    unit: int = 10 ** (len(str(count)) - 1)
    return count // unit * unit


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _plain(obj: Any) -> Stix:
    plain: Stix = json.loads(obj.serialize())
    return plain
