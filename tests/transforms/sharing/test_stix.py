"""STIX objects: valid, the same for the same statement, and read back as what they were."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import stix2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from stix2validator import ValidationOptions, validate_parsed_json

from tests.transforms.sharing.strategies import indicators
from transforms.sharing.canonical import EXTENSION, canonical, is_signed_by, signed
from transforms.sharing.indicators import Indicator, Kind, Marking, indicator_id
from transforms.sharing.payloads import Behaviour
from transforms.sharing.receive import Feed, indicator_of, receive
from transforms.sharing.stix import (
    bundle_of,
    campaign_object,
    extension_object,
    indicator_object,
    note_object,
    objects_of,
    opinion_object,
    sighting_object,
    signed_objects,
    stable_id,
)
from transforms.sharing.tlp import IDS, marking_object

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOW_MS = 1_790_000_000_000
GOLDEN = Path(__file__).parent / "golden_bundle.json"


def an_indicator(kind: Kind = Kind.CLIENT, value: str = "0123456789abcd") -> Indicator:
    payload = Behaviour({"overlap": -1.5, "synchrony": 3.0}).encode() if kind.compared else b""
    return Indicator(
        indicator_id("lab-a", kind, "campaign-1/" if kind.compared else value), kind,
        "" if kind.compared else value, payload, "lab-a", "campaign-1", 80, Marking.AMBER_STRICT,
        "how it was made", NOW_MS, NOW_MS + 86_400_000, NOW_MS, NOW_MS + 5,
    )  # fmt: skip


def everything() -> list[dict[str, object]]:
    """One object of each type."""
    one, other = an_indicator(), an_indicator(Kind.BEHAVIOUR)
    objects = objects_of([other, one], ["hydra"])
    about = one.indicator_id
    objects.append(
        sighting_object("lab-a", about, NOW_MS, NOW_MS + 1, 1_234, Marking.GREEN, NOW_MS, NOW_MS)
    )
    objects.append(
        opinion_object("lab-a", about, "agree", "seen here", Marking.GREEN, NOW_MS, NOW_MS)
    )
    objects.append(note_object("lab-a", [about], "note", "words", Marking.GREEN, NOW_MS))
    return signed_objects(objects, KEY)


def test_the_same_statement_is_the_same_bytes_as_ever() -> None:
    # Another byte would be a new version of every object at every lab: change it knowingly.
    data = bundle_of(everything())
    assert (
        orjson.dumps(orjson.loads(data), option=orjson.OPT_INDENT_2) == GOLDEN.read_bytes().strip()
    )


def test_order_of_indicators_does_not_matter() -> None:
    one, other = an_indicator(), an_indicator(Kind.BEHAVIOUR)
    assert bundle_of(objects_of([one, other])) == bundle_of(objects_of([other, one]))


def test_everything_is_valid_by_library_and_schemas() -> None:
    data = bundle_of(everything())
    types = {o["type"] for o in stix2.parse(data.decode(), allow_custom=False)["objects"]}
    assert types == {
        "identity", "extension-definition", "marking-definition", "campaign", "indicator",
        "relationship", "sighting", "opinion", "note",
    }  # fmt: skip
    result = validate_parsed_json(json.loads(data), ValidationOptions(version="2.1"))
    assert result.is_valid, result.errors


@pytest.mark.parametrize("marking", list(Marking))
def test_markings_are_those_of_oasis(marking: Marking) -> None:
    stix2.parse(marking_object(marking), allow_custom=False)
    result = validate_parsed_json(marking_object(marking), ValidationOptions(version="2.1"))
    assert result.is_valid
    assert marking_object(marking)["id"] == IDS[marking]


@settings(max_examples=60)
@given(indicators())
def test_an_indicator_survives_stix(one: Indicator) -> None:
    wire = json.loads(stix2.parse(indicator_object(one)).serialize())
    assert indicator_of(wire, one.provider, one.source) == one
    assert canonical(indicator_object(one)) == canonical(indicator_object(one))


@settings(max_examples=30)
@given(indicators())
def test_what_one_lab_makes_another_takes(one: Indicator) -> None:
    if one.valid_until_ms is None or one.marking.strictness > Marking.AMBER_STRICT.strictness:
        return
    what = one.value or one.campaign
    space = "/" + "ab" * 16 if one.kind is Kind.COVERAGE else "/" if one.kind.compared else ""
    one = replace(one, indicator_id=indicator_id(one.provider, one.kind, what + space))
    feed = Feed("forum", "me", {one.provider: [KEY.public_key()]})
    now_ms = max(one.modified_ms, one.valid_from_ms, one.valid_until_ms - 86_400_000, NOW_MS)
    got = receive(signed_objects(objects_of([one]), KEY), feed, now_ms)
    assert got.refused == []
    assert got.indicators == [replace(one, source="forum")]


def test_a_signature_is_of_every_byte_but_not_of_their_order() -> None:
    obj = signed(indicator_object(an_indicator()), KEY)
    keys = [KEY.public_key()]
    assert is_signed_by(obj, keys)
    assert is_signed_by(dict(reversed(obj.items())), keys)
    assert not is_signed_by({**obj, "confidence": 81}, keys)
    assert not is_signed_by({**obj, "lang": "en"}, keys)
    assert not is_signed_by(obj, [Ed25519PrivateKey.generate().public_key()])
    bare = json.loads(json.dumps(obj))
    del bare["extensions"][EXTENSION]["signature"]
    assert not is_signed_by(bare, keys)


@pytest.mark.parametrize(
    ("count", "told"), [(1, 1), (9, 9), (19, 10), (999, 900), (1_234, 1_000), (10**12, 999_999_999)]
)
def test_a_sighting_tells_little(count: int, told: int) -> None:
    made = sighting_object(
        "lab-b", an_indicator().indicator_id, NOW_MS + 1, NOW_MS + 2, count, Marking.GREEN, 1, 2
    )
    assert made["count"] == told
    assert made["first_seen"] == "2026-09-21T14:00:00Z"
    assert made["last_seen"] == "2026-09-21T15:00:00Z"
    assert made["id"] == stable_id("sighting", "lab-b", an_indicator().indicator_id)


def test_a_campaign_is_revoked_when_all_its_indicators_are() -> None:
    one, other = an_indicator(), an_indicator(Kind.BEHAVIOUR)
    for revoked in (True, False):
        objects = objects_of([replace(one, revoked=True), replace(other, revoked=revoked)])
        [campaign] = [o for o in objects if o["type"] == "campaign"]
        assert campaign["revoked"] is revoked if revoked else not campaign.get("revoked")


def test_versions_keep_their_id_and_time_of_making() -> None:
    one = an_indicator()
    later = replace(one, confidence=90, modified_ms=one.modified_ms + 1, revision=2)
    before, after = indicator_object(one), indicator_object(later)
    assert before["id"] == after["id"]
    assert before["created"] == after["created"]
    assert before["modified"] < after["modified"]
    assert stix2.versioning.new_version(stix2.parse(before), modified=after["modified"])


def test_the_definition_of_our_properties_is_a_constant() -> None:
    assert extension_object()["id"] == EXTENSION
    assert extension_object() == extension_object()
    assert (
        campaign_object("a", "c", Marking.RED, 1, 2)["id"]
        != campaign_object("b", "c", Marking.RED, 1, 2)["id"]
    )
