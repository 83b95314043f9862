"""Forms: whose they are, and what comes of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from pipelines.settings.triage import TriageConfig
from pipelines.triage import pages
from pipelines.triage.duckdb_store import DuckDBStore
from tests.support.triage import (
    PROXY,
    client_of,
    named,
    noted,
    send_decision,
    token_in,
    worst,
    writing,
)


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
