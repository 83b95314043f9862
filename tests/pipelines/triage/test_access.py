"""Who gets in, what they may do, and what is noted of it."""

from __future__ import annotations

import errno
import getpass
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from pipelines.settings.triage import ProxyConfig, RolesConfig, TriageConfig
from pipelines.triage import pages
from pipelines.triage.audit import AuditLog
from pipelines.triage.auth import Refused, check_address, person_of
from pipelines.triage.case import history_of
from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.triage.people import role_of
from pipelines.triage.queue import Queue
from schemas.errors import DistilwatchError
from tests.support.triage import audit_file, client_of, send_decision, token_in, writing
from transforms.alerts.dispositions import Disposition

PROXY = TriageConfig(
    sign_in="proxy",
    public_url="https://triage.example.org",
    proxy=ProxyConfig(trusted=("10.0.0.5", "192.168.0.0/24")),
    roles=RolesConfig(viewer=("*",), responder=("oncall", "rita@x"), admin=("root@x",)),
)


def named(name: str, *groups: str) -> dict[str, str]:
    return {"X-Forwarded-Email": name, "X-Forwarded-Groups": ",".join(groups)}


def noted(tables: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in audit_file(tables).read_text().splitlines()]


def worst(tables: Path) -> str:
    page = client_of(tables).get("/").text
    return page.split('href="/case/')[1].split('"')[0]


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


# --- forms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        (None, {}),
        ("", {}),
        ("guess", {}),
        ("own", {"Origin": "https://evil.example.org"}),
        ("own", {"Origin": "null"}),
        ("own", {"Origin": "https://[half"}),
        ("own", {"Sec-Fetch-Site": "cross-site"}),
        ("own", {"Sec-Fetch-Site": "same-site"}),
    ],
)
def test_forms_of_others_are_refused(
    tables: Path, token: str | None, headers: dict[str, str]
) -> None:
    cluster = worst(tables)
    client = client_of(tables)
    own = token_in(client.get(f"/case/{cluster}").text)
    form = {"decision": "dismiss", "why": "so"}
    if token is not None:
        form["csrf"] = own if token == "own" else token
    answer = client.post(f"/case/{cluster}/decide", data=form, headers=headers)
    assert answer.status_code == 403
    assert DuckDBStore(tables).dispositions() == []
    assert noted(tables)[-1]["what"] == "form refused"


def test_a_token_of_another_session_is_refused(tables: Path) -> None:
    cluster = worst(tables)
    theirs = token_in(client_of(tables).get(f"/case/{cluster}").text)
    client = client_of(tables)
    client.get("/")
    form = {"csrf": theirs, "decision": "dismiss", "why": "so"}
    assert client.post(f"/case/{cluster}/decide", data=form).status_code == 403


@pytest.mark.parametrize(
    ("decision", "more", "says"),
    [
        ("dismiss", {"why": " "}, "needs a reason"),
        ("permitted", {}, "needs an end"),
        ("permitted", {"until": "2001-01-01"}, "run out already"),
        ("permitted", {"until": "soon"}, "no date"),
        ("explode", {}, "nothing was decided"),
        ("split", {}, "names some accounts"),
        ("merge", {"other": ""}, "no other cluster"),
        ("merge", {"other": "c-nothing"}, "no clusters begin"),
    ],
)
def test_a_decision_that_makes_no_sense_is_told(
    tables: Path, decision: str, more: dict[str, str], says: str
) -> None:
    answer = send_decision(client_of(tables), worst(tables), decision, **more)
    assert answer.status_code == 422
    assert says in answer.text.lower()
    assert DuckDBStore(tables).dispositions() == []


def test_who_looked_at_less_than_there_is_now_looks_again(tables: Path) -> None:
    """Else accounts would be dismissed that nobody has seen."""
    name, client = worst(tables), client_of(tables, TriageConfig(refresh=1_000))
    page = client.get(f"/case/{name}").text
    form = {
        "csrf": token_in(page), "seen": page.split('name="seen" value="')[1].split('"')[0],
        "decision": "dismiss", "why": "our own test",
    }  # fmt: skip
    with writing(tables) as connection:
        connection.execute(
            "INSERT INTO cluster_members BY NAME SELECT * REPLACE ('newcomer' AS account_id) "
            "FROM cluster_members WHERE cluster_id = ? LIMIT 1", [name],
        )  # fmt: skip
    client = client_of(tables)
    form["csrf"] = token_in(client.get(f"/case/{name}").text)
    answer = client.post(f"/case/{name}/decide", data=form)
    assert answer.status_code == 422
    assert "has changed since the page was loaded" in answer.text
    assert "our own test" in answer.text  # what was written is not lost
    assert "newcomer" in answer.text
    assert DuckDBStore(tables).dispositions() == []
    form["seen"] = answer.text.split('name="seen" value="')[1].split('"')[0]
    assert client.post(f"/case/{name}/decide", data=form).status_code == 303
    [made] = DuckDBStore(tables).dispositions()
    assert "newcomer" in made.accounts


def colleagues(
    client: TestClient, other: TestClient, name: str
) -> tuple[httpx.Response, dict[str, str]]:
    """Both have a case open; the first confirms it, then the other dismisses it: what is answered
    to the latter, and its form."""
    page = other.get(f"/case/{name}", headers=named("bob@x", "oncall")).text
    form = {
        "csrf": token_in(page), "seen": page.split('name="seen" value="')[1].split('"')[0],
        "decision": "dismiss", "why": "our own test",
    }  # fmt: skip
    assert send_decision(client, name, "confirm", named("ann@x", "oncall")).status_code == 303
    answer = other.post(f"/case/{name}/decide", data=form, headers=named("bob@x", "oncall"))
    return answer, form


def test_an_old_page_does_not_replace_what_a_colleague_decided(tables: Path) -> None:
    client, name = client_of(tables, PROXY, "10.0.0.5"), worst(tables)
    answer, _ = colleagues(client, client, name)
    assert answer.status_code == 422
    assert "has changed since the page was loaded" in answer.text
    assert "confirmed by ann@x" in answer.text
    assert "our own test" in answer.text  # what was written is not lost
    assert [row.decision for row in DuckDBStore(tables).dispositions()] == ["confirm"]


def test_a_copy_that_does_not_know_of_it_yet_is_not_believed(tables: Path) -> None:
    """Another process decided, and this one reads the tables once in an hour."""
    seldom = PROXY.model_copy(update={"refresh": 3_600_000})
    name, other = worst(tables), client_of(tables, seldom, "10.0.0.5")
    answer, form = colleagues(client_of(tables, PROXY, "10.0.0.5"), other, name)
    assert answer.status_code == 422
    assert "confirmed by ann@x" in answer.text
    form["seen"] = answer.text.split('name="seen" value="')[1].split('"')[0]
    bob = named("bob@x", "oncall")
    answer = other.post(f"/case/{name}/decide", data=form, headers=bob)
    assert answer.status_code == 303  # now he has seen it
    made = [(row.decision, row.decided_by) for row in DuckDBStore(tables).dispositions()]
    assert made == [("confirm", "ann@x"), ("dismiss", "bob@x")]


def test_two_who_press_at_once_do_not_both_decide(tables: Path) -> None:
    client, name = client_of(tables), worst(tables)
    page = client.get(f"/case/{name}").text
    form = {
        "csrf": token_in(page), "seen": page.split('name="seen" value="')[1].split('"')[0],
        "why": "so",
    }  # fmt: skip

    def send(decision: str) -> int:
        return client.post(f"/case/{name}/decide", data=form | {"decision": decision}).status_code

    with ThreadPoolExecutor(4) as threads:
        codes = list(threads.map(send, ["confirm", "dismiss", "watch", "dismiss"]))
    assert sorted(codes) == [303, 422, 422, 422]
    assert len(DuckDBStore(tables).dispositions()) == 1


def two_groups(tables: Path) -> tuple[str, list[str]]:
    """A cluster whose last two accounts share nothing with the others, and all of its accounts."""
    with writing(tables) as connection:
        name, accounts = connection.execute(
            "SELECT cluster_id, list(account_id ORDER BY account_id) FROM cluster_members "
            "GROUP BY ALL HAVING count(*) >= 6 ORDER BY ALL LIMIT 1"
        ).fetchall()[0]
        for thing, own in (("one", accounts[:-2]), ("two", accounts[-2:])):
            connection.execute(
                "UPDATE cluster_members SET links = [{'kind': 'payment', 'thing': ?, "
                "'accounts': 2, 'weight': 0.5}] WHERE list_contains(?, account_id)", [thing, own],
            )  # fmt: skip
    return name, accounts


def test_a_group_that_shares_nothing_with_the_rest_is_marked_by_a_link(tables: Path) -> None:
    name, accounts = two_groups(tables)
    client = client_of(tables)
    page = client.get(f"/case/{name}").text
    assert "2 groups that have nothing in common" in page
    assert " checked" not in page
    marked = client.get(f"/case/{name}?mark=2").text
    chosen = [part.rsplit('value="')[-1].split('"')[0] for part in marked.split(" checked")[:-1]]
    assert chosen == accounts[-2:]
    for wrong in ("0", "3", "x", "-1", "9" * 5_000, "²", f"{1:010}5"):
        assert " checked" not in client.get(f"/case/{name}?mark={wrong}").text
    assert send_decision(client, name, "split", account=chosen).status_code == 303
    [split] = DuckDBStore(tables).dispositions()
    assert list(split.split_accounts) == chosen


def test_a_marked_account_beyond_the_table_goes_with_the_form(
    tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, accounts = two_groups(tables)
    monkeypatch.setattr(pages, "MOST_MEMBERS", 0)
    monkeypatch.setattr(pages, "templates", cache(pages.templates.__wrapped__))
    client = client_of(tables)
    page = client.get(f"/case/{name}?mark=2").text
    assert "2 accounts are marked, 2 of them beyond the table below" in page
    sent = [part.split('"')[0] for part in page.split('name="account" value="')[1:]]
    assert sorted(sent) == accounts[-2:]
    assert 'name="account"' not in client.get(f"/case/{name}").text


def test_split_and_merge_are_rows_with_what_they_name(tables: Path) -> None:
    client = client_of(tables)
    pages = client.get("/?state=any&severity=high").text
    names = [part.split('"')[0] for part in pages.split('href="/case/')[1:]]
    for cluster in names:
        accounts = client.get(f"/case/{cluster}").text.split('name="account" value="')[1:]
        if len(accounts) > 2:
            break
    account = accounts[0].split('"')[0]
    other = next(n for n in names if n != cluster)
    assert send_decision(client, cluster, "split", account=account).status_code == 303
    assert send_decision(client, cluster, "merge", other=other).status_code == 303
    split, merge = DuckDBStore(tables).dispositions()
    assert split.split_accounts == (account,)
    assert merge.merged_clusters == (other,)
    assert "Merged" in client.get(f"/case/{other}").text


# --- limits, headers, audit ----------------------------------------------------------------------


def test_who_asks_too_often_waits_and_others_do_not(tables: Path) -> None:
    client = client_of(tables, PROXY.model_copy(update={"pages_per_minute": 3}), "10.0.0.5")
    codes = [client.get("/keys", headers=named("a@x")).status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]
    late = client.get("/keys", headers=named("a@x"))
    assert 1 <= int(late.headers["Retry-After"]) <= 60
    assert client.get("/keys", headers=named("b@x")).status_code == 200


def test_who_is_refused_does_not_fill_the_disk(tables: Path) -> None:
    client = client_of(tables, PROXY, "10.0.0.6")
    codes = [
        client.get(f"/{'x' * 10_000}{n}", headers=named(f"{n}@x")).status_code for n in range(300)
    ]
    assert set(codes[:20]) == {403}
    assert set(codes[20:]) == {429}
    lines = noted(tables)
    assert len(lines) == 20
    assert all(len(line["path"]) == 200 for line in lines)
    assert audit_file(tables).stat().st_size < 20_000


def test_who_has_no_role_is_refused_apart_from_others_of_the_same_proxy(tables: Path) -> None:
    closed = PROXY.model_copy(
        update={"roles": RolesConfig(viewer=("staff",)), "sign_ins_per_minute": 2}
    )
    client = client_of(tables, closed, "10.0.0.5")
    codes = [client.get("/", headers=named("a@x")).status_code for _ in range(3)]
    assert codes == [403, 403, 429]
    assert client.get("/", headers=named("b@x")).status_code == 403
    assert client.get("/", headers=named("c@x", "staff")).status_code == 200
    assert len(noted(tables)) == 3


def test_a_path_is_cut_wherever_it_is_noted(tables: Path) -> None:
    client = client_of(tables, PROXY, "10.0.0.5")
    for who in ("vera@x", "rita@x"):  # one has no role for it, one has no form of ours
        page = client.get("/keys", headers=named(who)).text
        form = {"csrf": token_in(page) if who == "vera@x" else "guess"}
        path = f"/case/{'x' * 10_000}/decide"
        assert client.post(path, data=form, headers=named(who)).status_code == 403
    assert [line["what"] for line in noted(tables)] == ["not allowed", "form refused"]
    assert all(len(line["path"]) == 200 for line in noted(tables))


def test_decisions_have_a_limit_of_their_own(tables: Path) -> None:
    client = client_of(tables, TriageConfig(decisions_per_minute=1))
    cluster = worst(tables)
    assert send_decision(client, cluster, "watch").status_code == 303
    assert send_decision(client, cluster, "dismiss").status_code == 429


def test_a_decision_of_before_there_were_ids_is_taken_back(tables: Path) -> None:
    cluster = worst(tables)
    old = Disposition(cluster, "watch", getpass.getuser(), 1_780_272_000_000, "looked at it")
    DuckDBStore(tables).append(old)
    client = client_of(tables)
    page = client.get(f"/case/{cluster}").text
    form = {"csrf": token_in(page), "disposition": old.name}
    assert f'value="{old.name}"' in page
    assert client.post(f"/case/{cluster}/undo", data=form).status_code == 303
    history = history_of(DuckDBStore(tables).dispositions(), cluster, 1 << 50)
    assert [(p.row.decision, p.holds, p.taken_back) for p in history] == [
        ("withdraw", False, False), ("watch", False, True),
    ]  # fmt: skip


def test_a_decision_until_the_last_day_there_is_can_be_shown(tables: Path) -> None:
    client, cluster = client_of(tables), worst(tables)
    answer = send_decision(client, cluster, "permitted", until="9999-12-31")
    assert answer.status_code == 303
    assert "9999-12-31" in client.get(answer.headers["Location"]).text


@pytest.mark.parametrize("path", ["/", "/keys", "/case/none", "/nothing", "/static/triage.css"])
def test_every_answer_has_a_strict_policy(tables: Path, path: str) -> None:
    answer = client_of(tables).get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in policy
    if not path.startswith("/static"):
        assert answer.headers["Cache-Control"] == "no-store"
        assert "<style" not in answer.text
        assert " style=" not in answer.text
        assert " onclick=" not in answer.text


def test_cookies_travel_by_tls_only_where_there_is_tls(tables: Path) -> None:
    answer = client_of(tables, PROXY, "10.0.0.5").get("/", headers=named("a@x"))
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-triage=")
    for part in ("httponly", "samesite=lax", "secure", "path=/"):
        assert part in cookie.lower()
    assert "max-age" in answer.headers["Strict-Transport-Security"]


def test_what_was_done_is_noted_and_a_changed_line_shows(tables: Path) -> None:
    cluster = worst(tables)
    client = client_of(tables)
    send_decision(client, cluster, "confirm")
    client.get(f"/case/{cluster}/file")
    assert [line["what"] for line in noted(tables)] == ["case seen", "decided", "case exported"]
    log = AuditLog(audit_file(tables))
    assert log.broken() == 0
    assert "was changed" not in client.get("/audit").text
    lines = audit_file(tables).read_text().splitlines(keepends=True)
    audit_file(tables).write_text("".join([lines[0].replace("seen", "sewn"), *lines[1:]]))
    assert log.broken() == 2
    assert "was changed" in client.get("/audit").text


def test_what_cannot_be_noted_is_not_done(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, cluster, note = client_of(tables), worst(tables), AuditLog._note

    def full(log: AuditLog, what: str, *more: Any) -> None:
        if what in ("decided", "undone"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        note(log, what, *more)

    with monkeypatch.context() as broken:
        broken.setattr(AuditLog, "_note", full)
        refused = send_decision(client, cluster, "confirm", why="one operator")
        assert refused.status_code == 422
        assert "The audit log cannot be written (No space left on device)" in refused.text
        assert "one operator" in refused.text  # it is kept for the next try
        assert DuckDBStore(tables).dispositions() == []
    assert send_decision(client, cluster, "confirm").status_code == 303
    [made] = DuckDBStore(tables).dispositions()
    monkeypatch.setattr(AuditLog, "_note", full)
    form = {"csrf": token_in(client.get(f"/case/{cluster}").text), "disposition": made.name}
    assert client.post(f"/case/{cluster}/undo", data=form).status_code == 409
    assert DuckDBStore(tables).dispositions() == [made]


def test_what_was_noted_and_then_failed_has_a_second_line(
    tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise DistilwatchError("the tables are gone", "here", "bring them back")

    client, cluster = client_of(tables), worst(tables)
    monkeypatch.setattr(DuckDBStore, "append", gone)
    assert send_decision(client, cluster, "confirm").status_code == 422
    first, second, seen = noted(tables)[-3:]
    assert (first["what"], second["what"]) == ("decided", "not decided")
    assert first["disposition"] == second["disposition"]
    assert seen["what"] == "case seen"  # with the form that comes back


def test_a_case_that_comes_back_with_a_form_is_noted_as_seen(
    tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, cluster = client_of(tables), worst(tables)
    assert send_decision(client, cluster, "watch").status_code == 303
    [made] = DuckDBStore(tables).dispositions()
    page = client.get(f"/case/{cluster}").text
    account = made.accounts[0]
    wrong = {"csrf": token_in(page), "decision": "", "why": "so"}
    twice = {"csrf": token_in(page), "disposition": made.name}
    assert client.post(f"/case/{cluster}/undo", data=twice).status_code == 303

    def send() -> Iterator[tuple[int, str, list[str]]]:
        for path, form in (("decide", wrong), ("undo", twice)):
            before = len(noted(tables))
            answer = client.post(f"/case/{cluster}/{path}", data=form)
            lines = [line["what"] for line in noted(tables)[before:]]
            yield answer.status_code, answer.text, lines

    codes, texts, lines = zip(*send(), strict=True)
    assert codes == (422, 409)
    assert all(account in text for text in texts)
    assert lines == (["case seen"], ["undone", "not undone", "case seen"])

    note = AuditLog._note

    def full(log: AuditLog, what: str, *more: Any) -> None:
        if what == "case seen":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        note(log, what, *more)

    monkeypatch.setattr(AuditLog, "_note", full)
    codes, texts, _ = zip(*send(), strict=True)
    assert codes == (500, 500)
    assert not any(account in text for text in texts)


def test_a_line_that_was_cut_off_stays_and_shows(tables: Path) -> None:
    log = AuditLog(audit_file(tables))
    log.note("signed in", "ann")
    with audit_file(tables).open("a") as file:
        file.write('{"at": "2026-06-')  # a process died while it wrote
    log.note("signed in", "bob")
    log.note("signed in", "cleo")
    assert [line["who"] for line in log.newest(9)] == ["cleo", "bob", "", "ann"]
    assert log.newest(9)[2]["what"] == "unreadable"
    assert log.broken() == 2
    assert "unreadable" in client_of(tables).get("/audit").text


@pytest.mark.parametrize("line", ["[]", "7", "{}", '"text"', "nonsense"])
def test_lines_that_are_no_entries_are_told(tables: Path, line: str) -> None:
    audit_file(tables).write_text(f"{line}\n")
    log = AuditLog(audit_file(tables))
    assert log.broken() == 1
    assert log.newest(1)[0]["what"] == "unreadable"


def test_what_was_decided_is_noted_though_the_tables_cannot_be_read_after_it(
    tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(queue: Queue) -> None:
        raise DistilwatchError("the decisions cannot be read", "here", "try again")

    client, cluster = client_of(tables), worst(tables)
    with monkeypatch.context() as broken:
        broken.setattr(Queue, "note", unreadable)
        assert send_decision(client, cluster, "watch").status_code == 500
    [made] = DuckDBStore(tables).dispositions()
    client = client_of(tables)  # which has read of it
    form = {"csrf": token_in(client.get(f"/case/{cluster}").text), "disposition": made.name}
    monkeypatch.setattr(Queue, "note", unreadable)
    assert client.post(f"/case/{cluster}/undo", data=form).status_code == 500
    lines = [(line["what"], line.get("disposition")) for line in noted(tables)]
    assert [line for line in lines if line[1]] == [("decided", made.name), ("undone", made.name)]


def test_the_audit_log_is_for_its_owner_only(tables: Path) -> None:
    client_of(tables)
    assert audit_file(tables).stat().st_mode & 0o077 == 0


def test_the_theme_is_kept_and_leads_back_to_our_pages_only(tables: Path) -> None:
    client = client_of(tables)
    token = token_in(client.get("/").text)
    for back, target in (
        ("/keys", "/keys"), ("//evil.example.org", "/"), ("https://e.org", "/"), ("//[half", "/"),
    ):  # fmt: skip
        form = {"csrf": token, "theme": "dark", "back": back}
        answer = client.post("/theme", data=form)
        assert answer.headers["Location"] == target
    assert 'data-theme="dark"' in client.get("/").text
