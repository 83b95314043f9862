"""Two labs and a forum, through a real TAXII server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipelines.cli import run
from pipelines.sharing import inbound, outbound, saying, signoff
from pipelines.sharing.store import ShareStore
from pipelines.sharing.tables import tables_at
from pipelines.watching import received
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from tests.support.sharing import (
    CLUSTER,
    NOW_MS,
    Lab,
    add_cluster,
    make_lab,
    taken_back,
    write_policy,
)
from tests.support.taxii import OPEN, READ_ONLY
from tests.transforms.sharing.test_stix import KEY, an_indicator
from transforms.sharing import taxii
from transforms.sharing.indicators import Indicator, Kind, Marking, Sighting, sighting_id
from transforms.sharing.stix import bundle_of, note_object, objects_of, signed_objects
from transforms.sharing.taxii import Place
from transforms.sinks.duckdb import write_tables


def place(collections: str, collection: str = OPEN, **more: Any) -> Place:
    names = {"user_env": "FORUM_USER", "password_env": "FORUM_PASSWORD"}
    return Place("forum", f"{collections}/{collection}/", **(names | more))


def section(collections: str) -> dict[str, str]:
    return {
        "url": f"{collections}/{OPEN}/", "user_env": "FORUM_USER",
        "password_env": "FORUM_PASSWORD",
    }  # fmt: skip


def test_many_objects_go_and_come_page_by_page(collections: str) -> None:
    forum = place(collections)
    one = [an_indicator(value=f"{i:014x}") for i in range(90)]
    objects = signed_objects(objects_of(one), KEY)
    start = taxii.poll(forum).added_after
    assert taxii.publish(forum, objects) == len(objects) - 1  # all but the extension's definition
    got = taxii.poll(forum, start)
    assert {o["id"] for o in got.objects} >= {i.indicator_id for i in one}
    assert taxii.poll(forum, got.added_after).objects == []
    # The server calls it a failure that it has them; it is none.
    assert taxii.publish(forum, objects) == len(objects) - 1
    assert len(taxii.poll(forum, start).objects) == len(got.objects)


def test_what_is_too_much_for_one_poll_comes_in_parts(
    collections: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forum = place(collections)
    start = taxii.poll(forum).added_after
    ours = [an_indicator(value=f"a{i:013x}") for i in range(60)]
    together = [
        signed_objects(objects_of(ours[first : first + 20]), KEY) for first in range(0, 60, 20)
    ]
    for objects in together:  # the server notes one time for all that come together
        taxii.publish(forum, objects)
    most = len(together[0]) * 3 // 2
    monkeypatch.setattr(taxii, "_MOST_OBJECTS", most)
    found: set[str] = set()
    polls, got = 0, taxii.Polled([], start, True)
    while got.more:
        before, got, polls = got.added_after, taxii.poll(forum, got.added_after), polls + 1
        assert len(got.objects) <= most
        assert got.added_after > before
        found |= {o["id"] for o in got.objects}
    assert found >= {one.indicator_id for one in ours}
    assert polls == 3
    assert taxii.poll(forum, got.added_after).objects == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"collection": READ_ONLY}, "may not write"),
        ({"user_env": ""}, "does not know us"),
        ({"collection": "nothing-here"}, "no such collection"),
        ({"password_env": "NOT_SET"}, "NOT_SET is not set"),
    ],
)
def test_what_goes_wrong_is_said(collections: str, change: dict[str, str], said: str) -> None:
    with pytest.raises(DistilwatchError, match=said):
        taxii.publish(place(collections, **change), [{"type": "note", "id": "note--1"}])


def test_a_server_that_is_gone_or_insecure_is_named() -> None:
    for url, said in (
        ("http://127.0.0.1:9/x/", "does not answer"),
        ("http://forum.invalid/x/", "not reached by https"),
        ("forum", "URL is none"),
    ):
        with pytest.raises(DistilwatchError, match=said):
            taxii.poll(Place("forum", url))


@pytest.fixture
def labs(collections: str, tmp_path: Path) -> tuple[Lab, Lab]:
    """Two labs that trust one another; names are new, as the server remembers."""
    name = tmp_path.name
    a = make_lab(f"a-{name}", tmp_path / "a", section(collections))
    b = make_lab(f"b-{name}", tmp_path / "b", section(collections), [a])
    write_policy(a, section(collections), [b])
    return a, b


def tell(lab: Lab) -> None:
    made = outbound.propose(lab.policy, lab.store, lab.output, CLUSTER, "forum", "ana").proposal
    assert made is not None
    signoff.approve(lab.policy, lab.store, made.name, made.digest, "ben")
    signoff.publish(lab.policy, lab.store, made.name, "ben")


def test_a_campaign_reaches_the_other_lab_and_can_be_taken_back(labs: tuple[Lab, Lab]) -> None:
    a, b = labs
    add_cluster(a)
    tell(a)
    got = inbound.poll(b.policy, b.store, "forum", b.output)
    received = {one.kind: one for one in b.shared.indicators("received")}
    assert set(received) == {Kind.PREFIX_SCAFFOLD, Kind.BEHAVIOUR, Kind.COVERAGE}
    sent = {one.kind: one for one in a.shared.indicators("shared")}
    for kind, one in received.items():
        assert (one.indicator_id, one.payload) == (sent[kind].indicator_id, sent[kind].payload)
        assert (one.source, one.provider) == ("forum", a.name)
    # What labs of other tests have left there is by nobody whom this one trusts.
    assert set(inbound.reasons(got.received.refused)) <= {"unknown_source"}
    assert inbound.poll(b.policy, b.store, "forum", b.output).objects == 0
    assert inbound.poll(b.policy, b.store, "forum", b.output, again=True).changed == []

    a.now_ms += 60_000
    for back in taken_back(a, CLUSTER, "ours"):
        signoff.publish(a.policy, a.store, back.name, "ana")
    b.now_ms += 60_000
    inbound.poll(b.policy, b.store, "forum", b.output)
    assert all(one.revoked for one in b.shared.indicators("received"))


def test_what_is_early_by_a_late_clock_is_asked_for_again(labs: tuple[Lab, Lab]) -> None:
    a, b = labs
    add_cluster(a)
    tell(a)
    b.now_ms -= 3_600_000
    got = inbound.poll(b.policy, b.store, "forum", b.output)
    assert got.waits
    assert inbound.reasons(got.received.refused)["too_early"] >= 3
    assert b.shared.indicators("received") == []
    b.now_ms += 3_600_000
    got = inbound.poll(b.policy, b.store, "forum", b.output)
    assert (len(got.changed), got.waits) == (3, False)
    assert inbound.poll(b.policy, b.store, "forum", b.output).objects == 0


def test_polls_that_bring_nothing_new_do_not_fill_the_log(labs: tuple[Lab, Lab]) -> None:
    a, b = labs

    def polls(count: int) -> list[dict[str, Any]]:
        for _ in range(count):
            inbound.poll(b.policy, b.store, "forum", b.output)
            b.now_ms += 60_000
        return [e for e in b.store.log.entries() if e["action"] == "poll"]

    begun = polls(3)
    assert len(begun) == 1
    add_cluster(a)
    tell(a)
    b.now_ms -= 7_200_000  # a late clock: the same is refused each minute, until it is not early
    early = polls(4)
    assert [len(e["refused"]) >= 3 for e in early] == [len(begun[0]["refused"]) >= 3, True]
    b.now_ms += 7_200_000
    assert [len(e["changed"]) for e in polls(4)[2:]] == [3]
    inbound.poll(b.policy, b.store, "forum", b.output, again=True)  # somebody has asked for it
    assert len(polls(1)) == 4


def test_other_tables_and_another_collection_begin_anew(
    labs: tuple[Lab, Lab], tmp_path: Path
) -> None:
    a, b = labs
    add_cluster(a)
    tell(a)
    assert len(inbound.poll(b.policy, b.store, "forum", b.output).changed) == 3
    other = f"duckdb:///{tmp_path / 'new.duckdb'}"  # which is made
    assert len(inbound.poll(b.policy, b.store, "forum", other).changed) == 3
    assert inbound.poll(b.policy, b.store, "forum", other).objects == 0
    assert len(received(other)) == 3
    assert inbound.poll(b.policy, b.store, "forum", b.output).objects == 0
    url = b.policy.settings.feeds["forum"].taxii.url
    assert b.store.last_poll("forum", url, b.output)
    assert b.store.last_poll("forum", url + "moved/", b.output) is None


def test_a_poll_that_was_interrupted_comes_again(
    labs: tuple[Lab, Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = labs
    add_cluster(a)
    tell(a)
    for step in ("pipelines.sharing.tables.write_tables", "transforms.sharing.log.ShareLog.append"):
        with monkeypatch.context() as patch:
            patch.setattr(step, _stop)  # before the rows are there, and before the log says so
            with pytest.raises(KeyboardInterrupt):
                inbound.poll(b.policy, b.store, "forum", b.output)
    got = inbound.poll(b.policy, b.store, "forum", b.output)
    assert len(got.received.indicators) == 3
    assert len(b.shared.indicators("received")) == 3


def _stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_an_older_version_that_is_sent_again_changes_nothing(labs: tuple[Lab, Lab]) -> None:
    """By a server that keeps what was taken back, or by somebody who has kept the bytes."""
    a, b = labs
    add_cluster(a)
    made = outbound.propose(a.policy, a.store, a.output, CLUSTER, "forum", "ana").proposal
    assert made is not None
    signoff.approve(a.policy, a.store, made.name, made.digest, "ben")
    old, new = a.folder / "old.json", a.folder / "new.json"
    signoff.publish(a.policy, a.store, made.name, "ben", old)
    a.now_ms += 60_000
    [back] = taken_back(a, CLUSTER, "ours")
    signoff.publish(a.policy, a.store, back.name, "ana", new)
    b.now_ms += 60_000
    for file, changed in ((old, 3), (new, 3), (old, 0), (new, 0)):
        got = inbound.poll(b.policy, b.store, "forum", b.output, file=file)
        assert (len(got.received.indicators), len(got.changed)) == (3, changed)
    assert all(one.revoked for one in b.shared.indicators("received"))


def test_a_later_version_by_a_stranger_hides_nothing(labs: tuple[Lab, Lab]) -> None:
    """Who may write to the collection may use the ids of others, and servers show the latest."""
    a, b = labs
    add_cluster(a)
    made = outbound.propose(a.policy, a.store, a.output, CLUSTER, "forum", "ana").proposal
    assert made is not None
    signoff.approve(a.policy, a.store, made.name, made.digest, "ben")
    signoff.publish(a.policy, a.store, made.name, "ben")
    objects = json.loads(a.store.read(made.digest))["objects"]
    forged = [
        o | {"modified": "2026-09-21T15:20:00.500Z", "revoked": True}
        for o in objects
        if o["type"] == "indicator"
    ]
    assert all(o["modified"] > genuine["modified"] for o in forged
               for genuine in objects if genuine["id"] == o["id"])  # fmt: skip
    taxii.publish(place(section_url(a)), forged)
    got = inbound.poll(b.policy, b.store, "forum", b.output)
    assert inbound.reasons(got.received.refused)["bad_signature"] == 3
    assert len(got.changed) == 3
    assert not any(one.revoked for one in b.shared.indicators("received"))


def section_url(lab: Lab) -> str:
    taxii_settings = lab.policy.recipient("forum").taxii
    assert taxii_settings is not None
    return taxii_settings.url.rstrip("/").rpartition("/")[0]


def test_what_others_say_does_not_fill_the_log(
    labs: tuple[Lab, Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = labs
    monkeypatch.setattr(inbound, "_MOST_LOGGED", 3)
    about = [f"indicator--{i:08x}-0000-4000-8000-000000000000" for i in range(50)]
    said = [
        note_object(a.name, about, "x" * 20_000, f"{i}", Marking.AMBER_STRICT, NOW_MS)
        for i in range(5)
    ]
    file = a.folder / "notes.json"
    file.write_bytes(bundle_of(signed_objects(said, a.policy.key())))
    got = inbound.poll(b.policy, b.store, "forum", b.output, file=file)
    assert len(got.received.said) == 5
    entry = b.store.log.entries()[-1]
    assert (len(entry["said"]), entry["said_count"]) == (3, 5)
    assert {(len(s["about"]), len(s["says"])) for s in entry["said"]} == {(20, 500)}


def test_an_opinion_that_names_an_account_of_ours_does_not_leave(labs: tuple[Lab, Lab]) -> None:
    a, b = labs
    add_cluster(a)
    tell(a)
    inbound.poll(b.policy, b.store, "forum", b.output)
    one = b.shared.indicators("received")[0]
    with pytest.raises(DistilwatchError, match="no accounts in it"):
        saying.propose_opinion(
            b.policy, b.store, b.output, one.indicator_id, "forum", "disagree", "why", "bea"
        )
    know(b, "jo7", "auth0|5F7c")

    def say(why: str) -> None:
        saying.propose_opinion(
            b.policy, b.store, b.output, one.indicator_id, "forum", "disagree", why, "bea"
        )

    before = b.store.proposals()
    with pytest.raises(DistilwatchError, match="the name of an account"):
        say("This is our customer jo7.")
    with pytest.raises(DistilwatchError, match="the name of an account"):
        say("This is (AUTH0|5f7c), a customer.")
    assert b.store.proposals() == before
    say("This is a customer of ours ... seen twice.")


def know(lab: Lab, *accounts: str) -> None:
    """Puts accounts into a lab's tables, as `detect` does."""
    sessions = [
        {"session_id": name, "key_kind": "account", "key": name, "level": "profile",
         "session_start": NOW_MS, "session_end": NOW_MS + 1, "revision": 1, "request_count": 1,
         "score": 0.0, "p_value": 0.5}
        for name in accounts
    ]  # fmt: skip
    lab.put({"session_scores": sessions})


def test_sightings_and_opinions_come_back(labs: tuple[Lab, Lab]) -> None:
    a, b = labs
    add_cluster(a)
    tell(a)
    inbound.poll(b.policy, b.store, "forum", b.output)
    by_kind = {one.kind: one for one in b.shared.indicators("received")}
    one = by_kind[Kind.PREFIX_SCAFFOLD]
    know(b, "acct-secret-1")

    def see(found: Indicator, similarity: float, accounts: int = 3) -> None:
        seen = [
            Sighting(sighting_id(found.indicator_id, account, 0), found.indicator_id, account,
                     "c-1", NOW_MS - 5_000, NOW_MS - 1, 17, similarity)
            for account in (f"acct-secret-{i}" for i in range(accounts))
        ]  # fmt: skip
        rows = TABLES["sightings"].to_arrow([s.to_row() for s in seen])
        write_tables(b.tables, {"sightings": rows})

    see(by_kind[Kind.BEHAVIOUR], 0.99)  # what is alike is a clue of ours, and not told
    with pytest.raises(DistilwatchError, match="was seen here"):
        saying.propose_sightings(b.policy, b.store, b.output, "forum", "bea")
    see(one, 1.0, accounts=2)  # as few would be told of as persons, and not as a wording
    with pytest.raises(DistilwatchError, match="seen with 3 accounts or more"):
        saying.propose_sightings(b.policy, b.store, b.output, "forum", "bea")
    see(one, 1.0)
    # What was polled may be in a database of its own.
    apart = f"duckdb:///{b.folder / 'polled.duckdb'}"
    inbound.poll(b.policy, b.store, "forum", apart)
    with pytest.raises(DistilwatchError, match="was seen here"):
        saying.propose_sightings(b.policy, b.store, apart, "forum", "bea")
    b.put({"indicators": [i.to_row("shared") for i in b.shared.indicators("received")]})
    with pytest.raises(DistilwatchError, match="--from"):
        saying.propose_sightings(b.policy, b.store, b.output, "forum", "bea")
    assert saying.propose_sightings(b.policy, b.store, b.output, "forum", "bea", apart)
    assert saying.propose_opinion(
        b.policy, b.store, b.output, one.indicator_id, "forum", "agree", "so", "bea", apart
    )
    b.put({"indicators": [i.to_row("received") for i in tables_at(apart).indicators("received")]})
    for made in (
        saying.propose_sightings(b.policy, b.store, b.output, "forum", "bea"),
        saying.propose_opinion(
            b.policy, b.store, b.output, one.indicator_id, "forum", "agree", "seen too", "bea"
        ),
    ):
        assert b"acct-secret" not in b.store.read(made.digest)
        signoff.approve(b.policy, b.store, made.name, made.digest, "cem")
        signoff.publish(b.policy, b.store, made.name, "cem")
    inbound.poll(a.policy, a.store, "forum", a.output)
    said = a.store.log.entries()[-1]["said"]
    told = {s["type"]: s["says"] for s in said}
    assert told == {"sighting": 50, "opinion": "agree", "note": "agree"}
    assert {about for s in said for about in s["about"]} == {one.indicator_id}


def test_a_publication_that_failed_is_finished_by_the_same_command(
    labs: tuple[Lab, Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = labs
    add_cluster(a)
    made = outbound.propose(a.policy, a.store, a.output, CLUSTER, "forum", "ana").proposal
    assert made is not None
    signoff.approve(a.policy, a.store, made.name, made.digest, "ben")
    with monkeypatch.context() as patch:
        patch.delenv("FORUM_PASSWORD")
        with pytest.raises(DistilwatchError, match="not set"):
            signoff.publish(a.policy, a.store, made.name, "ben")
    assert a.store.proposal(made.name).state == "sending"
    assert signoff.publish(a.policy, a.store, made.name, "ben").state == "sent"
    inbound.poll(b.policy, b.store, "forum", b.output)
    assert len(b.shared.indicators("received")) == 3


def test_the_commands_do_it_from_end_to_end(
    labs: tuple[Lab, Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = labs
    add_cluster(a)
    # Commands go by the clock, and the cluster is of a certain day.
    monkeypatch.setattr(ShareStore, "now_ms", lambda _: NOW_MS)

    def share(lab: Lab, *arguments: str, policy: bool = True) -> dict[str, Any]:
        from pipelines.commands.share import share as command

        where = ["--store", str(lab.folder / "cli")]
        where += ["--policy", str(lab.folder / "sharing.yaml")] if policy else []
        done = CliRunner().invoke(command, [*arguments, *where, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    made = share(a, "propose", CLUSTER, "--to", "forum", "--output", a.output, "--by", "ana")
    shown = share(a, "preview", made["proposal"], policy=False)
    assert shown["sha256"] == made["sha256"]
    share(a, "approve", made["proposal"], "--sha256", shown["sha256"][:12], "--by", "ben")
    assert share(a, "publish", made["proposal"], "--by", "ben")["state"] == "sent"
    got = share(b, "poll", "--from", "forum", "--output", b.output)
    assert len(got["changed"]) == 3
    assert not got["more"]
    listed = share(b, "list", "--output", b.output, policy=False)
    assert len(listed["received"]) == 3
    log = share(a, "log", policy=False)["entries"]
    assert [e["action"] for e in log] == ["draw", "propose", "approve", "send", "sent"]
    assert share(a, "log", "--head", log[2]["hash"][:16], policy=False)
    nobody = ["share", "log", "--head", "ffff", "--store", str(a.folder / "cli")]
    assert run(nobody) == 2
    assert share(a, "revoke", CLUSTER, "--why", "ours", "--by", "ana")["sent"] == ["sent"]
