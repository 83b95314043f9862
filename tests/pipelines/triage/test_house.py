"""The runbook on a case, and the pages about a house: what stays quiet, messages, policies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import cli
from pipelines.settings.triage import ProxyConfig, RolesConfig, TriageConfig
from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.triage.export import find_case, write_case
from pipelines.triage.house import House
from pipelines.triage.house_pages import together
from pipelines.triage.queue import Queue
from pipelines.triage.queue_page import QueueFilter, QueueRow
from pipelines.triage.runbook import runbook
from tests.pipelines.triage.test_alert_steps import add, step
from tests.support.triage import audit_file, client_of, send_decision, token_in
from transforms.alerts.allowlist import Allowed, Allowlist
from transforms.alerts.book import Book
from transforms.alerts.outbox import Backoff, Message
from transforms.alerts.paging import read_policies
from transforms.alerts.routing import Channels, QuietHours
from transforms.alerts.rules import Rules

T0 = 1_780_272_000_000
USUAL = Rules(read_policies(None), runbook_url="docs/{runbook}")


@pytest.fixture
def rows(tables: Path) -> list[QueueRow]:
    queue = Queue(DuckDBStore(tables), 0)
    queue.refresh()
    return list(queue.page(QueueFilter(), 50).rows)


def test_a_case_holds_the_runbook_of_the_policy_that_fired(
    tables: Path, rows: list[QueueRow]
) -> None:
    name = rows[0].cluster_id
    add(tables, step(name, 1, "opened", policy="known-extraction-replayed"))
    page = client_of(tables).get(f"/case/{name}").text
    assert "Runbook: A replay" in page
    assert "Whoever has the collection was close to the past campaign" in page
    policy = USUAL.policies.named("known-extraction-replayed")
    assert policy is not None
    for line in (*policy.check, *policy.false_positives):
        assert line in page


def test_without_an_alert_it_is_that_of_the_policy_that_would_fire(
    tables: Path, rows: list[QueueRow]
) -> None:
    client = client_of(tables)
    lone = next(r for r in rows if r.accounts == 1 and r.severity != "low")
    several = next(r for r in rows if r.accounts > 1 and r.severity != "low")
    assert "Runbook: One account" in client.get(f"/case/{lone.cluster_id}").text
    assert "Runbook: A coordinated campaign" in client.get(f"/case/{several.cluster_id}").text


def test_a_house_with_a_runbook_of_its_own_is_led_there(tables: Path, rows: list[QueueRow]) -> None:
    house = House(replace(USUAL, runbook_url="https://wiki.example/{runbook}"))
    name = next(r.cluster_id for r in rows if r.accounts > 1 and r.severity != "low")
    page = client_of(tables, house=house).get(f"/case/{name}").text
    assert 'href="https://wiki.example/runbook.md#a-coordinated-campaign"' in page
    assert "Do they divide a subject" not in page
    policies = client_of(tables, house=house).get("/policies").text
    assert 'href="https://wiki.example/runbook.md#one-account"' in policies


def test_messages_may_lead_to_the_runbook_on_the_pages(tables: Path, rows: list[QueueRow]) -> None:
    config = TriageConfig(public_url="http://127.0.0.1")
    house = House(replace(USUAL, runbook_url="http://127.0.0.1/runbook/{runbook}"))
    client = client_of(tables, config, house=house)
    name = next(r.cluster_id for r in rows if r.accounts > 1 and r.severity != "low")
    assert "they divide the subjects: side by side" in client.get(f"/case/{name}").text
    page = client.get("/runbook/runbook.md").text
    for part in runbook():
        assert f'id="{part}"' in page
    assert client.get("/runbook/other.md").status_code == 404


def test_a_policy_that_is_no_more_brings_no_runbook(tables: Path, rows: list[QueueRow]) -> None:
    name = rows[0].cluster_id
    add(tables, step(name, 1, "opened", policy="of-last-year"))
    client = client_of(tables)
    page = client.get(f"/case/{name}")
    assert page.status_code == 200
    assert "by policy of-last-year" in page.text
    assert 'class="runbook"' not in page.text
    assert "not among the policies any more" in client.get("/policies").text


def test_the_file_of_a_case_holds_the_runbook_open(
    tables: Path, rows: list[QueueRow], tmp_path: Path
) -> None:
    store = DuckDBStore(tables)
    name = next(r.cluster_id for r in rows if r.accounts == 1 and r.severity != "low")
    html = tmp_path / "case.html"
    write_case(find_case(store, name, House(USUAL)), store.name, html, None)
    text = html.read_text()
    assert "<h3>Runbook: One account</h3>" in text
    assert "<details" not in text


def test_the_command_knows_a_runbook_of_the_pages(
    tables: Path, rows: list[QueueRow], tmp_path: Path
) -> None:
    name = next(r.cluster_id for r in rows if r.accounts == 1 and r.severity != "low")
    settings, html = tmp_path / "settings.yaml", tmp_path / "case.html"
    settings.write_text(
        "triage: {public_url: 'https://triage.example.org'}\n"
        "alerts: {runbook_url: 'https://triage.example.org/runbook/{runbook}'}\n"
    )
    args = ["--output", f"duckdb:///{tables}", "--config", str(settings), "--html", str(html)]
    assert cli.run(["triage", "export", name, *args]) == 0
    assert "<h3>Runbook: One account</h3>" in html.read_text()


def test_what_stays_quiet_is_listed_with_who_why_and_until_when(
    tables: Path, rows: list[QueueRow]
) -> None:
    entry = {"kind": "red_team", "owner": "safety", "reason": "spring drill", "accounts": ["rt-*"]}
    allow = Allowlist(
        allow=(
            Allowed(name="house-red-team", expires="2999-01-01", **entry),  # type: ignore[arg-type]
            Allowed(name="old-red-team", expires="2020-01-01", **entry),  # type: ignore[arg-type]
        )
    )
    hours = QuietHours(severity=("low",), begin="20:00", end="08:00", zone="Europe/Berlin")
    house = House(replace(USUAL, allowlist=allow, channels=Channels(quiet_hours=(hours,))))
    client = client_of(tables, house=house)
    page = client.get("/quiet").text
    assert "No cluster is dismissed" in page
    assert page.index("old-red-team") < page.index("run out") < page.index("house-red-team")
    assert "Low alerts wait from 20:00 to 08:00, Europe/Berlin." in page
    first, second, third, fourth = (r.cluster_id for r in rows[:4])
    send_decision(client, first, "dismiss", why="a load test")
    send_decision(client, second, "permitted", why="licence 17", until="2999-06-01")
    send_decision(client, third, "confirm", why="it is real")
    send_decision(client, fourth, "merge", why="one crew", other=third)
    page = client.get("/quiet").text
    assert page.index("a load test") < page.index("licence 17") < page.index("one crew")
    assert "2999-06-02 00:00" in page
    assert third in page  # as what the fourth is told with; confirming is not quiet
    assert "it is real" not in page


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "out.duckdb.alerts"
    with Book(path) as own, own.writing():
        for number, (cluster, channel) in enumerate(
            (("c-1", "pager"), ("c-1", "room"), ("c-2", "room"))
        ):
            notice = {"alert_id": f"a-{cluster}", "cluster_id": cluster, "title": f"No. {number}"}
            own.outbox.post(f"k{number}", channel, notice, T0, T0)
    with Book(path) as own:
        pager, room, _ = own.outbox.messages()[::-1]
        own.outbox.failed(pager, "<b>no such key</b>", T0, Backoff(limit=1))
        own.outbox.sent(room, None, T0)
    return path


def test_what_several_channels_took_alike_is_one_line() -> None:
    def message(key: str, title: str = "High: 4 accounts", error: str = "") -> Message:
        state = "dead" if error else "sent"
        channel = key.rpartition("/")[2]
        return Message(key, "a-1", channel, {"title": title}, state, 1, T0, T0, T0, error)

    found = together(
        [
            message("a-1/2/mail"), message("a-1/2/pager"), message("a-1/2/room", error="refused"),
            message("a-1/1/pager"), message("a-2/1/hook"), message("a-1/1/hook"),
        ]
    )  # fmt: skip
    assert [(first.key, channels) for first, channels in found] == [
        ("a-1/2/mail", ["mail", "pager"]), ("a-1/2/room", ["room"]),
        ("a-1/1/pager", ["hook", "pager"]), ("a-2/1/hook", ["hook"]),
    ]  # fmt: skip


def test_messages_that_could_not_be_sent_are_listed_and_tried_again(
    tables: Path, book: Path
) -> None:
    client = client_of(tables, house=House(USUAL, book))
    page = client.get("/messages").text
    assert "1 wait, 1 were given up" in page
    assert "&lt;b&gt;no such key&lt;/b&gt;" in page
    assert page.index("No. 0") < page.index('id="done"') < page.index("No. 1")
    refused = client.post("/messages/replay", data={"csrf": "guessed"})
    assert refused.status_code == 403
    done = client.post("/messages/replay", data={"csrf": token_in(page)})
    assert done.status_code == 303
    assert "2 wait, 0 were given up" in client.get("/messages").text
    with Book(book) as own:
        assert own.outbox.counts() == {"pending": 2, "sent": 1}
    assert '"messages tried again"' in audit_file(tables).read_text()


def test_a_viewer_sees_messages_and_may_not_send_them(tables: Path, book: Path) -> None:
    config = TriageConfig(
        sign_in="proxy",
        public_url="http://127.0.0.1",
        proxy=ProxyConfig(trusted=("127.0.0.1",)),
        roles=RolesConfig(viewer=("*",)),
    )
    client = client_of(tables, config, house=House(USUAL, book))
    headers = {"X-Forwarded-Email": "ann@example.org"}
    page = client.get("/messages", headers=headers).text
    assert "No. 0" in page
    assert "Try again" not in page
    answer = client.post("/messages/replay", headers=headers, data={"csrf": token_in(page)})
    assert answer.status_code == 403
    assert "for a responder; you are a viewer" in answer.text
    with Book(book) as own:
        assert own.outbox.counts()["dead"] == 1


def test_a_case_says_what_of_it_could_not_be_told(
    tables: Path, rows: list[QueueRow], book: Path
) -> None:
    first, second = rows[0].cluster_id, rows[1].cluster_id
    add(tables, step(first, 1, "opened", alert_id="a-c-1"))
    add(tables, step(second, 1, "opened", alert_id="a-other", storm_id="a-c-2", channels=[]))
    client = client_of(tables, house=House(USUAL, book))
    page = client.get(f"/case/{first}").text
    assert "Not told on pager:</strong> given up after 1 try" in page
    assert "Not told on room" not in page
    assert "Not told on room:</strong> it waits" in client.get(f"/case/{second}").text


def test_without_a_book_the_pages_say_so(tables: Path) -> None:
    assert "no book of alerts on this machine" in client_of(tables).get("/messages").text
