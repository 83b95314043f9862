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
from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from tests.support.sharing import CLUSTER, NOW_MS, Lab, add_cluster, make_lab, write_policy
from tests.support.taxii import OPEN, READ_ONLY
from tests.transforms.sharing.test_stix import KEY, an_indicator
from transforms.sharing import taxii
from transforms.sharing.indicators import Indicator, Kind, Sighting, sighting_id
from transforms.sharing.stix import objects_of, signed_objects
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
    for back in signoff.revoke(a.policy, a.store, CLUSTER, "ours", "ana"):
        signoff.publish(a.policy, a.store, back.name, "ana")
    b.now_ms += 60_000
    inbound.poll(b.policy, b.store, "forum", b.output)
    assert all(one.revoked for one in b.shared.indicators("received"))


def test_sightings_and_opinions_come_back(labs: tuple[Lab, Lab]) -> None:
    a, b = labs
    add_cluster(a)
    tell(a)
    inbound.poll(b.policy, b.store, "forum", b.output)
    by_kind = {one.kind: one for one in b.shared.indicators("received")}
    one = by_kind[Kind.PREFIX_SCAFFOLD]

    def see(found: Indicator, similarity: float) -> None:
        seen = [
            Sighting(sighting_id(found.indicator_id, account, 0), found.indicator_id, account,
                     "c-1", NOW_MS - 5_000, NOW_MS - 1, 17, similarity)
            for account in ("acct-secret-1", "acct-secret-2")
        ]  # fmt: skip
        rows = TABLES["sightings"].to_arrow([s.to_row() for s in seen])
        write_tables(b.tables, {"sightings": rows})

    see(by_kind[Kind.BEHAVIOUR], 0.99)  # what is alike is a clue of ours, and not told
    with pytest.raises(DistilwatchError, match="was seen here"):
        saying.propose_sightings(b.policy, b.store, b.output, "forum", "bea")
    see(one, 1.0)
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
    assert told == {"sighting": 30, "opinion": "agree", "note": "agree"}
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
    listed = share(b, "list", "--output", b.output, policy=False)
    assert len(listed["received"]) == 3
    log = share(a, "log", policy=False)["entries"]
    assert [e["action"] for e in log] == ["draw", "propose", "approve", "send", "sent"]
    assert share(a, "log", "--head", log[2]["hash"][:16], policy=False)
    nobody = ["share", "log", "--head", "ffff", "--store", str(a.folder / "cli")]
    assert run(nobody) == 2
    assert share(a, "revoke", CLUSTER, "--why", "ours", "--by", "ana")["sent"] == ["sent"]
