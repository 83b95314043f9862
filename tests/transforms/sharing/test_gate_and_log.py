"""The gate lets only through what is on its list; the log shows every change to it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import DistilwatchError
from tests.transforms.sharing.test_stix import KEY, NOW_MS, an_indicator
from transforms.sharing.canonical import EXTENSION, canonical
from transforms.sharing.gate import check_outgoing, words_of
from transforms.sharing.indicators import Kind, Marking
from transforms.sharing.log import ShareLog
from transforms.sharing.misp import misp_event
from transforms.sharing.select import Terms, thing_confidence
from transforms.sharing.stix import bundle_of, objects_of, signed_objects

TERMS = Terms(
    "forum", frozenset({Kind.CLIENT, Kind.BEHAVIOUR}), Marking.AMBER_STRICT, 60, 5, 3, {},
    86_400_000, 1.0, 1e-6, 4.0,
)  # fmt: skip
Change = Callable[[dict[str, Any]], None]


def bundle(change: Change = lambda _: None, of: str = "indicator") -> bytes:
    objects = signed_objects(objects_of([an_indicator(), an_indicator(Kind.BEHAVIOUR)]), KEY)
    for obj in objects:
        if obj["type"] == of:
            change(obj)
    return bundle_of(objects)


def test_what_the_policy_allows_may_leave() -> None:
    objects = check_outgoing(bundle(), TERMS, ["account-17", "a1", "c-0123456789abcdef"])
    assert len(objects) == 9


@pytest.mark.parametrize(
    ("change", "of", "why"),
    [
        (lambda o: o.update(external_references=[]), "indicator", "external_references"),
        (lambda o: o.update(lang="en"), "campaign", "lang"),
        (lambda o: o.update(contact_information="x"), "identity", "contact_information"),
        (lambda o: o.update(type="observed-data"), "campaign", "never leave"),
        (lambda o: o.update(name="who paid"), "marking-definition", "never leave"),
        (lambda o: o.update(description="x"), "extension-definition", "never leave"),
        (lambda o: o["extensions"].update(other={}), "indicator", "extensions"),
        (lambda o: o.update(extensions={}), "campaign", "not signed"),
        (lambda o: o.update(object_marking_refs=[]), "campaign", "not marked"),
        (lambda o: o.update(description="hydra"), "campaign", "tactics"),
        (lambda o: o.update(confidence=59), "indicator", "confidence"),
        (lambda o: o.update(valid_until="2030-01-01T00:00:00Z"), "indicator", "longer"),
        (lambda o: o.update(description="seen at account-17 first"), "indicator", "the name of"),
        (lambda o: o.update(description="seen at a17 first"), "indicator", "the name of"),
    ],
)
def test_the_gate_stops_what_nobody_has_allowed(change: Change, of: str, why: str) -> None:
    with pytest.raises(DistilwatchError, match=why) as stopped:
        check_outgoing(bundle(change, of), TERMS, ["account-17", "a17"])
    assert "17" not in str(stopped.value)


@pytest.mark.parametrize("text", ["seen here ... twice", "a -- b", "|", "ok"])
def test_what_has_no_name_in_it_is_no_name(text: str) -> None:
    assert check_outgoing(bundle(lambda o: o.update(description=text)), TERMS, ["", "account-17"])
    assert "" not in words_of(text)
    assert min(map(len, words_of(text)), default=3) >= 3


@pytest.mark.parametrize(
    ("secret", "description"),
    [
        ('the "best" one', 'It was the "best" one of all'),  # quotes are escaped in the bytes
        ("Kä17", "seen at Kä17 first"),
        ("a17", "seen at a17."),  # as a sentence ends
        ("a17", "the account is (a17), or so"),
        ("a17", "seen at A17"),
        ("auth0|5f7c", "seen at auth0|5f7c, twice"),
        ("acct:1234", "it is “acct:1234”."),
        ("a+b@x", "customer=A+B@x!"),
        ("Ｋ17x", "seen at k17X first"),  # the same letters, encoded as wide ones
    ],
)
def test_a_name_is_found_however_it_is_written(secret: str, description: str) -> None:
    with pytest.raises(DistilwatchError, match="the name of"):
        check_outgoing(bundle(lambda o: o.update(description=description)), TERMS, [secret])


def test_a_name_is_found_in_a_payload() -> None:
    payload = base64.b64encode(b'{"format":"behaviour-1","features":{"of acct-0017":1.0}}').decode()

    def hide(obj: dict[str, Any]) -> None:
        ours = obj["extensions"][EXTENSION]
        if "payload" in ours:
            ours["payload"] = payload

    assert b"acct-0017" not in bundle(hide)
    with pytest.raises(DistilwatchError, match="the name of"):
        check_outgoing(bundle(hide), TERMS, ["acct-0017"])


def test_a_constant_that_says_more_than_it_should_is_stopped() -> None:
    objects = objects_of([an_indicator()])
    [own] = [o for o in objects if o["type"] == "identity" and o["name"] == "distilwatch"]
    assert check_outgoing(bundle_of([own]), TERMS)
    with pytest.raises(DistilwatchError, match="nobody has allowed the property x_note"):
        check_outgoing(bundle_of([own | {"x_note": "more"}]), TERMS)


def test_a_kind_that_the_recipient_may_not_have_is_stopped() -> None:
    objects = signed_objects(objects_of([an_indicator(Kind.NETWORK)]), KEY)
    with pytest.raises(DistilwatchError, match="may not have kind network"):
        check_outgoing(bundle_of(objects), TERMS)


def test_what_is_over_by_now_is_stopped_and_can_still_be_taken_back() -> None:
    one = an_indicator()
    over = one.valid_until_ms or 0
    data = bundle_of(signed_objects(objects_of([one]), KEY))
    assert check_outgoing(data, TERMS, now_ms=over - 1)
    with pytest.raises(DistilwatchError, match="it is over since"):
        check_outgoing(data, TERMS, now_ms=over)
    back = replace(one, revoked=True, revision=2, modified_ms=one.modified_ms + 1)
    objects = signed_objects(objects_of([back], campaigns=False), KEY)
    assert check_outgoing(bundle_of(objects), TERMS, now_ms=over)


def test_confidence_follows_from_who_else_has_a_thing() -> None:
    assert [thing_confidence(m, o) for m, o in ((3, 0), (12, 0), (500, 0), (10, 10), (3, 50))] == [
        80, 90, 90, 45, 5,
    ]  # fmt: skip


def filled(folder: Path) -> ShareLog:
    log = ShareLog(folder / "log.jsonl")
    for number in range(5):
        log.append("propose", NOW_MS + number, by="ana", proposal=f"p-{number}")
    return log


def test_the_log_chains_its_entries(tmp_path: Path) -> None:
    log = filled(tmp_path)
    entries = log.entries()
    assert [e["seq"] for e in entries] == [1, 2, 3, 4, 5]
    assert [e["prev"] for e in entries[1:]] == [e["hash"] for e in entries[:-1]]
    assert log.head() == entries[-1]["hash"]
    assert log.append_if(4, "send", NOW_MS) is None
    assert log.append_if(5, "send", NOW_MS) is not None


def _edit(line: bytes) -> bytes:
    return line.replace(b'"ana"', b'"eve"')


@pytest.mark.parametrize(
    "tamper",
    [
        lambda lines: [lines[0], _edit(lines[1]), *lines[2:]],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines, b"{}"],
        lambda lines: [*lines[:-1], lines[-1][:20]],
    ],
)
def test_every_change_to_the_log_is_seen(tmp_path: Path, tamper: Any) -> None:
    log = filled(tmp_path)
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(tamper(path.read_bytes().splitlines())) + b"\n")
    with pytest.raises(DistilwatchError, match="is broken: line"):
        log.entries()
    with pytest.raises(DistilwatchError, match="is broken: line"):
        log.append("send", NOW_MS)


def test_what_a_crash_has_left_of_an_entry_is_passed_over(tmp_path: Path) -> None:
    log, path = filled(tmp_path), tmp_path / "log.jsonl"
    whole = path.read_bytes()
    before = log.entries()
    last = len(whole.splitlines()[-1])
    for left in (1, last // 2, last):  # of the last line, without its end
        path.write_bytes(whole[: len(whole) - last - 1 + left])
        assert log.entries() == before[:-1]
        again = log.append("propose", NOW_MS + 4, by="ana", proposal="p-4")
        assert again == before[-1]
        assert path.read_bytes() == whole


def test_misp_forgets_what_was_taken_back(tmp_path: Path) -> None:
    from pymisp import MISPEvent

    back = replace(an_indicator(), revoked=True, modified_ms=NOW_MS + 5_000, revision=2)
    made = misp_event([back, an_indicator(Kind.BEHAVIOUR)])
    (tmp_path / "event.json").write_text(json.dumps(made))
    event = MISPEvent()
    event.load_file(tmp_path / "event.json")
    assert {a.uuid: getattr(a, "deleted", False) for a in event.attributes} == {
        back.indicator_id.removeprefix("indicator--"): True,
        an_indicator(Kind.BEHAVIOUR).indicator_id.removeprefix("indicator--"): False,
    }
    # The event is the same one, so that what MISP has already is changed.
    assert event.uuid == misp_event([an_indicator(), an_indicator(Kind.BEHAVIOUR)])["Event"]["uuid"]


def test_misp_reads_what_we_make(tmp_path: Path) -> None:
    from pymisp import MISPEvent

    kinds = [Kind.CLIENT, Kind.BEHAVIOUR]
    made = misp_event([an_indicator(kind) for kind in kinds])
    assert canonical(made) == canonical(misp_event([an_indicator(kind) for kind in kinds[::-1]]))
    (tmp_path / "event.json").write_text(json.dumps(made))
    event = MISPEvent()
    event.load_file(tmp_path / "event.json")
    assert {tag.name for tag in event.tags} == {"tlp:amber+strict"}
    by_type = {a.type: a for a in event.attributes}
    assert by_type["other"].value == "client:0123456789abcd"
    assert by_type["other"].uuid == an_indicator().indicator_id.removeprefix("indicator--")
    assert by_type["attachment"].data.getvalue() == an_indicator(Kind.BEHAVIOUR).payload
    assert int(event.distribution) == 0
    assert event.Orgc.name == "lab-a"
    assert len(event.to_feed()["Event"]["Attribute"]) == 2
    assert all(not a.to_ids for a in event.attributes)


def test_opencti_parses_what_we_make() -> None:
    # Only what pycti does before it talks to a server: it orders and splits bundles.
    from pycti import OpenCTIStix2Splitter

    data = bundle().decode()
    count, refused, parts = OpenCTIStix2Splitter().split_bundle_with_expectations(data)
    ids = {o["id"] for part in parts for o in json.loads(part)["objects"]}
    wanted = {o["id"] for o in json.loads(data)["objects"]}
    # It does not know the type of the definition of our properties, and imports the rest.
    assert {o["type"] for o in refused} <= {"extension-definition"}
    assert count == len(ids)
    assert wanted - ids <= {o["id"] for o in refused} | {
        o["id"] for o in json.loads(data)["objects"] if o["type"] == "marking-definition"
    }
