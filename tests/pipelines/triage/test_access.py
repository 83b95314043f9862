"""Who gets in, and what they may do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.settings.triage import RolesConfig, TriageConfig
from pipelines.triage.auth import Refused, check_address, person_of
from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.triage.people import role_of
from schemas.errors import DistilwatchError
from tests.support.triage import (
    PROXY,
    audit_file,
    client_of,
    named,
    noted,
    send_decision,
    token_in,
    worst,
)

# --- local ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org", ""])
def test_local_sign_in_refuses_to_listen_to_others(host: str) -> None:
    with pytest.raises(DistilwatchError, match="everybody an admin"):
        check_address(TriageConfig(), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_local_sign_in_listens_to_this_machine(host: str) -> None:
    check_address(TriageConfig(), host)


def test_local_sign_in_is_for_this_machine_only(tables: Path) -> None:
    assert client_of(tables, address="127.0.0.1").get("/").status_code == 200
    assert client_of(tables, address="10.0.0.7").get("/").status_code == 403


def test_a_name_that_was_pointed_here_reads_nothing(tables: Path) -> None:
    answer = client_of(tables).get("/", headers={"Host": "evil.example.org"})
    assert answer.status_code == 400
    assert "c-" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:8350", "localhost:8350", "[::1]:8350", "[::1]"])
def test_this_machine_is_reached_by_each_of_its_names(tables: Path, host: str) -> None:
    assert client_of(tables).get("/", headers={"Host": host}).status_code == 200


# --- proxy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["10.0.0.5", "192.168.0.9", "::ffff:10.0.0.5"])
def test_a_trusted_proxy_says_who_it_is(tables: Path, address: str) -> None:
    answer = client_of(tables, PROXY, address).get("/", headers=named("vera@x"))
    assert answer.status_code == 200
    assert "vera@x" in answer.text


@pytest.mark.parametrize("address", ["10.0.0.6", "127.0.0.1", "192.168.1.9"])
def test_headers_of_anybody_else_are_refused(tables: Path, address: str) -> None:
    answer = client_of(tables, PROXY, address).get("/", headers=named("root@x"))
    assert answer.status_code == 403
    assert "c-" not in answer.text
    assert noted(tables)[-1]["what"] == "refused"


def test_a_proxy_that_names_nobody_or_two_is_refused(tables: Path) -> None:
    client = client_of(tables, PROXY, "10.0.0.5")
    assert client.get("/").status_code == 403
    two = [("X-Forwarded-Email", "a@x"), ("X-Forwarded-Email", "root@x")]
    assert client.get("/", headers=two).status_code == 403


def test_a_proxy_that_passes_on_what_the_browser_said_of_groups_is_refused(tables: Path) -> None:
    client = client_of(tables, PROXY, "10.0.0.5")
    two = [
        ("X-Forwarded-Email", "vera@x"),
        ("X-Forwarded-Groups", "oncall"),
        ("X-Forwarded-Groups", "staff"),
    ]
    answer = client.get("/", headers=two)
    assert answer.status_code == 403
    assert "says twice" in answer.text


def test_who_has_no_role_is_refused(tables: Path) -> None:
    closed = PROXY.model_copy(update={"roles": RolesConfig(viewer=("staff",))})
    client = client_of(tables, closed, "10.0.0.5")
    assert client.get("/", headers=named("a@x")).status_code == 403
    assert client.get("/", headers=named("a@x", "staff")).status_code == 200


INVISIBLE = ("\u200b", "\u00ad", "\u00a0", "\u2060", "\u202e", "\x1f", "\u2028")


@pytest.mark.parametrize("letter", INVISIBLE)
def test_a_name_with_a_letter_that_cannot_be_seen_is_not_that_of_the_admin(
    tables: Path, letter: str
) -> None:
    client = client_of(tables, PROXY, "10.0.0.5")
    for name in (f"root@x{letter}", f"{letter}root@x", f"ro{letter}ot@x"):
        headers = {b"X-Forwarded-Email": name.encode()}
        answer = client.get("/audit", headers=headers)
        assert answer.status_code == 403
        assert "is no name" in answer.text
        line = noted(tables)[-1]
        assert (line["what"], line["who"]) == ("refused", "10.0.0.5")
        assert ascii(name) in line["why"]
        assert letter not in audit_file(tables).read_text()
    assert client.get("/audit", headers=named("root@x")).status_code == 200


@pytest.mark.parametrize("letter", INVISIBLE)
def test_a_name_is_taken_as_it_is_or_not_at_all(letter: str) -> None:
    for name in (f"root@x{letter}", f"{letter}root@x", " root@x", "root@x ", "", "x" * 201):
        with pytest.raises(Refused, match="is no name") as refused:
            person_of(name, [], PROXY, "oidc")
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 300
    assert person_of("x" * 200, [], PROXY, "oidc").role == "viewer"


def test_a_name_of_other_letters_is_read_as_it_was_written(tables: Path) -> None:
    roles = RolesConfig(viewer=(), responder=("Ρίτα@x",))
    client = client_of(tables, PROXY.model_copy(update={"roles": roles}), "10.0.0.5")
    for raw, code in (("Ρίτα@x".encode(), 200), ("rüdiger@x".encode("latin-1"), 403)):
        assert client.get("/", headers={b"X-Forwarded-Email": raw}).status_code == code
    assert "rüdiger@x has no role" in noted(tables)[-1]["why"]


@pytest.mark.parametrize(
    ("name", "groups", "role"),
    [
        ("ann@x", ["oncall"], "responder"),  # by its bare name
        ("ann@x", ["leads"], "admin"),
        ("leads", [], "viewer"),
        ("group:leads", [], "viewer"),
        ("group:leads", ["oncall"], "responder"),
        ("leads", ["oncall"], "responder"),
        ("root@x", [], "admin"),
    ],
)
def test_nobody_has_the_role_of_a_group_by_their_name(
    name: str, groups: list[str], role: str
) -> None:
    roles = RolesConfig(viewer=("*",), responder=("oncall",), admin=("group:leads", "root@x"))
    assert role_of(name, groups, roles) == role


# --- roles ---------------------------------------------------------------------------------------


def test_each_role_may_do_what_it_says(tables: Path) -> None:
    cluster = worst(tables)
    client = client_of(tables, PROXY, "10.0.0.5")
    viewer, responder, admin = named("vera@x"), named("rita@x"), named("root@x")
    assert 'value="dismiss"' not in client.get(f"/case/{cluster}", headers=viewer).text
    assert send_decision(client, cluster, "dismiss", viewer).status_code == 403
    assert DuckDBStore(tables).dispositions() == []
    assert client.get("/audit", headers=viewer).status_code == 403
    assert client.get("/audit", headers=responder).status_code == 403
    assert send_decision(client, cluster, "dismiss", responder).status_code == 303
    [made] = DuckDBStore(tables).dispositions()
    assert (made.decided_by, made.decision, made.source) == ("rita@x", "dismiss", "triage")
    assert client.get("/audit", headers=admin).status_code == 200

    def undo(who: dict[str, str]) -> int:
        token = token_in(client.get(f"/case/{cluster}", headers=who).text)
        form = {"csrf": token, "disposition": made.disposition_id}
        return client.post(f"/case/{cluster}/undo", data=form, headers=who).status_code

    assert undo(named("other@x", "oncall")) == 403  # another responder
    refused = json.loads(audit_file(tables).read_text().splitlines()[-1])
    assert (refused["what"], refused["who"]) == ("undo refused", "other@x")
    assert undo(admin) == 303
    assert undo(admin) == 409  # it is taken back already
    assert [d.decision for d in DuckDBStore(tables).dispositions()] == ["dismiss", "withdraw"]
