"""Limits, headers, and what is noted of whom."""

from __future__ import annotations

import errno
import getpass
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.settings.triage import RolesConfig, TriageConfig
from pipelines.triage.audit import AuditLog
from pipelines.triage.case import history_of
from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.triage.queue import Queue
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
from transforms.alerts.dispositions import Disposition


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
