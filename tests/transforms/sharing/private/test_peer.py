"""Over HTTP, with a real server and with answers that no honest one gives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
import uvicorn

from infra.local.services import free_ports
from schemas.errors import DistilwatchError
from tests.support.two_labs import TOKEN, Two
from transforms.sharing.private import calls
from transforms.sharing.private import peer as peer_module
from transforms.sharing.private.client import find_matches
from transforms.sharing.private.identifiers import PAYMENT, point_of
from transforms.sharing.private.peer import HttpPeer
from transforms.sharing.private.service import match_app, most_batch


@pytest.fixture
def url(two: Two) -> Iterator[str]:
    """Lab A's server, as a real one on a port of its own."""
    server = replace(two.server, now_ms=two.clock)
    [port] = free_ports(1)
    config = uvicorn.Config(
        match_app(server, {"lab-b": TOKEN}),
        "127.0.0.1",
        port,
        log_level="error",
        lifespan="off",
        ws="none",
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        thread.join(0.05)
        assert thread.is_alive(), "the server did not start"
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join()


def test_over_http(two: Two, url: str) -> None:
    peer = HttpPeer(url, "lab-b", TOKEN)
    found = find_matches(peer, PAYMENT, two.b.sealed("card-2", "card-8"), two.b.sealer, None, 8)
    assert found.found == two.b.sealed("card-2")
    many = two.b.sealed(*(f"c{i}" for i in range(60)))
    assert find_matches(peer, PAYMENT, many, two.b.sealer, None, 8).left == 60 - 24
    with pytest.raises(DistilwatchError, match="quota"):
        peer.evaluate(1, PAYMENT, [point_of(PAYMENT, "x")] * 8)


@pytest.mark.parametrize(("name", "token"), [("lab-b", "u" * 40), ("lab-x", TOKEN), ("lab-b", "")])
def test_strangers_are_told_nothing(url: str, name: str, token: str) -> None:
    with pytest.raises(DistilwatchError, match="not signed by a peer"):
        HttpPeer(url, name, token).terms()


def test_a_request_counts_once_and_for_a_minute(two: Two, url: str) -> None:
    sent: list[httpx.Request] = []
    client = httpx.Client(event_hooks={"request": [sent.append]})
    HttpPeer(url, "lab-b", TOKEN, client).terms()
    again = httpx.request(sent[0].method, sent[0].url, headers=sent[0].headers)
    assert (again.status_code, again.json()["error"]["reason"]) == (401, "repeat")
    moved = dict(sent[0].headers) | {calls.NONCE: "other"}
    assert httpx.get(str(sent[0].url), headers=moved).json()["error"]["reason"] == "signature"
    old = calls.Signed("lab-b", 0, "n", "GET", "/v1/terms", b"")
    headers = {
        calls.PEER: "lab-b", calls.TIME: "0", calls.NONCE: "n",
        calls.SIGNATURE: calls.request_signature(TOKEN, old),
    }  # fmt: skip
    assert httpx.get(url + "/v1/terms", headers=headers).json()["error"]["reason"] == "time"


def test_answers_of_somebody_else_are_not_believed(two: Two) -> None:
    def forge(request: httpx.Request) -> httpx.Response:
        said = {"epoch": 1, "ends_ms": 2, "public_key": "00", "batch": 8, "quota_left": 8}
        return httpx.Response(200, json=said, headers={calls.SIGNATURE: "0" * 64})

    peer = HttpPeer(
        "https://lab-a", "lab-b", TOKEN, httpx.Client(transport=httpx.MockTransport(forge))
    )
    with pytest.raises(DistilwatchError, match="not signed with our token"):
        peer.terms()


ODD = (
    b'{"epoch":1,"ends_ms":2,"public_key":"zz","batch":8,"quota_left":8,"points":7,"proof":"",'
    b'"outputs":[1]}'
)


@pytest.mark.parametrize(
    "said", [b"", b"[]", b"{}", b"\xff", b'{"epoch":"x"}', b"[" * 100_000, ODD]
)
def test_an_answer_that_is_signed_and_none_is_told(said: bytes) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        right = calls.answer_signature(TOKEN, request.headers[calls.NONCE], 200, said)
        return httpx.Response(200, content=said, headers={calls.SIGNATURE: right})

    client = httpx.Client(transport=httpx.MockTransport(answer))
    peer = HttpPeer("https://lab-a", "lab-b", TOKEN, client)
    for ask in (peer.terms, lambda: peer.evaluate(1, PAYMENT, []), lambda: peer.published(1, "x")):
        with pytest.raises(DistilwatchError, match="answer cannot be read"):
            ask()


def test_an_endless_answer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "_MOST_BYTES", 1_000)
    reply = httpx.MockTransport(lambda _: httpx.Response(200, content=b" " * 2_000))
    peer = HttpPeer("https://lab-a", "lab-b", TOKEN, httpx.Client(transport=reply))
    with pytest.raises(DistilwatchError, match="more than 1,000 bytes"):
        peer.terms()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://lab-a.example", "not reached by https"), ("lab-a", "no URL"), ("", "no URL"),
        ("https://", "no URL"), ("ftp://lab-a", "no URL"), ("https://lab-a:port", "no URL"),
    ],
)  # fmt: skip
def test_addresses_that_nobody_should_ask_are_refused(url: str, said: str) -> None:
    with pytest.raises(DistilwatchError, match=said):
        HttpPeer(url, "lab-b", TOKEN)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"epoch": "1"}', b'{"epoch":1,"kind":"payment","points":["zz"]}']
)
def test_other_forms_are_refused(url: str, body: bytes) -> None:
    peer = HttpPeer(url, "lab-b", TOKEN)
    with pytest.raises(DistilwatchError, match="give epoch"):
        peer._ask("POST", "/v1/evaluate", body)


def test_too_much_is_refused(url: str) -> None:
    assert most_batch() > 4_096
    with pytest.raises(DistilwatchError, match="413"):
        HttpPeer(url, "lab-b", TOKEN)._ask("POST", "/v1/evaluate", b" " * (1 << 21))
