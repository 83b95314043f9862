"""How much of a form is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from pipelines.triage.bodies import MOST_BYTES, BodyLimit
from pipelines.triage.duckdb_store import DuckDBStore
from tests.support.triage import client_of, noted, send_decision, token_in, worst
from transforms.alerts.dispositions import Disposition

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HALF = b"a" * 500_000


@pytest.mark.parametrize("path", ["/case/{}/decide", "/case/{}/undo", "/theme", "/sign-out",
                                  "/messages/replay"])  # fmt: skip
def test_a_body_that_no_form_of_ours_has_is_refused(tables: Path, path: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"why="
        for _ in range(10):
            yield HALF

    client, path = client_of(tables), path.format(worst(tables))
    told = client.post(path, content=b"why=" + 10 * HALF, headers=FORM)
    untold = client.post(path, content=pieces(), headers=FORM)
    assert "Content-Length" in told.request.headers
    assert "Content-Length" not in untold.request.headers
    for answer in (told, untold):
        assert answer.status_code == 413
        assert "More was sent than the 2 MB" in answer.text
        assert answer.headers["Connection"] == "close"
        assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("between", [b"a&", b"a;"])
def test_fields_that_no_form_of_ours_has_are_not_looked_at(tables: Path, between: bytes) -> None:
    client = client_of(tables)
    assert client.post("/theme", content=between * 25_001, headers=FORM).status_code == 413
    assert client.post("/theme", content=between * 25_000, headers=FORM).status_code == 403


@pytest.mark.parametrize("told", [[], [(b"content-length", b"5")]])
def test_what_comes_after_too_much_is_not_waited_for(told: list[tuple[bytes, bytes]]) -> None:
    read = 0

    async def endless() -> Message:
        nonlocal read
        read += len(HALF)
        return {"type": "http.request", "body": HALF, "more_body": True}

    async def greedy(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            await receive()

    async def nothing(message: Message) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": told}
    with pytest.raises(HTTPException) as refused:
        asyncio.run(BodyLimit(greedy)(scope, endless, nothing))
    assert refused.value.status_code == 413
    assert read <= MOST_BYTES + len(HALF)


def test_a_split_of_very_many_accounts_still_comes_through(tables: Path) -> None:
    accounts = [f"{n:064x}" for n in range(20_000)]
    answer = send_decision(client_of(tables), worst(tables), "split", account=accounts)
    assert answer.status_code == 422  # they are not of this cluster
    assert "a split names some accounts" in answer.text.lower()


def test_the_reason_of_an_undo_has_the_length_of_any_other(tables: Path) -> None:
    client, cluster = client_of(tables), worst(tables)
    assert send_decision(client, cluster, "watch").status_code == 303
    [made] = DuckDBStore(tables).dispositions()

    def undo(why: str) -> int:
        form = {"csrf": token_in(client.get(f"/case/{cluster}").text), "why": why}
        form["disposition"] = made.name
        return client.post(f"/case/{cluster}/undo", data=form).status_code

    assert undo("x" * 5_000) == 409
    assert DuckDBStore(tables).dispositions() == [made]
    assert "not undone" in [line["what"] for line in noted(tables)]
    assert undo("x" * 4_000) == 303


def test_a_decision_is_not_taken_back_with_a_book() -> None:
    made = Disposition("c-1", "watch", "ann", 1)
    with pytest.raises(Exception, match="longer than 4,000 letters"):
        made.withdrawn("ann", "x" * 4_001, 2)
