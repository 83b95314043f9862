"""Servers that are busy, broken or hostile: all ends in one clear message, or in success."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from schemas.errors import DistilwatchError
from transforms.sharing import taxii
from transforms.sharing.taxii import Place

TAXII = "application/taxii+json;version=2.1"
MANY = {"many": [1, 2, 2, 3, 3, 4], "mixed": [1, 3, 2, 2, 3, 4], "same": [1] * 6}
DATES = [
    "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", "9999-01-01T00:00:00Z", "zzz", None,
    "2026-01-01T00:00:00.25Z",
]  # fmt: skip
COLLECTION = {"title": "t", "can_read": True, "can_write": True}


class _Server(BaseHTTPRequestHandler):
    """The first part of the path says how it behaves."""

    busy = 2
    pages = 0

    def do_GET(self) -> None:
        how, _, rest = self.path.strip("/").partition("/")
        if how == "later":
            self._answer(503, b"", **{"Retry-After": "86400"})
        elif how == "broken":
            self._answer(500, b"{}")
        elif how == "busy" and type(self).busy:
            type(self).busy -= 1
            self._answer(503, b"")
        elif how == "away":
            self._answer(302, b"", Location="http://127.0.0.1:1/elsewhere/")
        elif how == "page":
            self._answer(200, b"<html>", "text/html")
        elif not rest:
            self._answer(200, json.dumps(COLLECTION | {"id": how}).encode())
        elif how == "huge":
            self._answer(200, b'{"objects":["' + b"x" * 300_000 + b'"]}')
        elif how == "deep":
            self._answer(200, b'{"objects":' + b"[" * 60_000 + b"]" * 60_000 + b"}")
        elif how == "cut":
            self._answer(200, b'{"objects":[]', length=5_000)
        elif how == "zip":
            self._answer(200, b"this is no gzip", **{"Content-Encoding": "gzip"})
        elif how == "trickle":
            self.send_response(200)
            self.send_header("Content-Type", TAXII)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            with suppress(OSError):  # until the other end has had enough
                for _ in range(200):
                    self.wfile.write(b" ")
                    time.sleep(0.05)
        elif how == "dates" and rest.startswith("manifest"):
            entries = [{"id": "x", "date_added": date} for date in DATES]
            self._answer(200, json.dumps({"objects": entries}).encode())
        elif how in MANY:
            items = [{"id": "x", "date_added": f"2026-01-01T00:00:0{at}Z"} for at in MANY[how]]
            self._answer(200, json.dumps({"objects": items}).encode())
        elif how == "odd":
            self._answer(200, b'{"objects":7}')
        elif how == "forgets" and "next=" in rest:
            # Remembers how far the reader has come, whether its answer arrived or not.
            type(self).pages += 1
            if type(self).pages == 1:
                time.sleep(2)
            page = {"more": False, "objects": [type(self).pages]}
            with suppress(OSError):  # who has had enough of waiting
                self._answer(200, json.dumps(page).encode())
        elif how == "forgets":
            self._answer(200, b'{"more":true,"next":"1","objects":[0]}')
        elif how == "endless":
            self._answer(200, b'{"more":true,"next":"1","objects":[1,2]}')
        else:
            self._answer(200, b"{}")

    def _answer(
        self, status: int, body: bytes, kind: str = TAXII, length: int = 0, **headers: str
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    running.shutdown()
    running.server_close()
    thread.join(10)


def test_a_page_whose_answer_was_lost_is_not_passed_over(server: str) -> None:
    """To ask for it again would bring the page behind it."""
    with pytest.raises(DistilwatchError, match="does not answer"):
        taxii.poll(Place("forum", f"{server}/forgets/", wait_s=0.5))
    assert _Server.pages == 1


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("away", "cannot be read"),
        ("page", "cannot be read"),
        ("huge", "more than 100,000 bytes"),
        ("deep", "cannot be read|no TAXII envelope"),
        ("odd", "no TAXII|cannot be read"),
        ("cut", "does not answer"),
        ("later", "status 503"),
        ("broken", "status 500.*try again"),
        ("trickle", "takes longer than 1 s"),
        ("zip", "cannot be read"),
        ("endless", "more than 1,000 new objects"),
    ],
)
def test_a_bad_answer_ends_in_one_clear_message(
    server: str, how: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taxii, "_ANSWER_BYTES", 200_000 if how == "deep" else 100_000)
    monkeypatch.setattr(taxii, "_MOST_OBJECTS", 1_000)
    if how == "trickle":
        monkeypatch.setattr(taxii, "_ANSWER_S", 1.0)
    monkeypatch.setattr(taxii, "_MOST_PAUSE_S", 0)
    with pytest.raises(DistilwatchError, match=said):
        taxii.poll(Place("forum", f"{server}/{how}/"))


def test_a_time_that_is_none_or_far_away_does_not_hide_what_comes(server: str) -> None:
    assert taxii.poll(Place("forum", f"{server}/dates/")).added_after == DATES[1]


def test_of_too_many_objects_those_come_first_of_which_none_is_left_behind(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taxii, "_MOST_OBJECTS", 4)
    got = taxii.poll(Place("forum", f"{server}/many/"))
    assert (len(got.objects), got.added_after, got.more) == (4, "2026-01-01T00:00:02Z", True)
    for how in ("mixed", "same"):  # no order, and no time before that of the last
        with pytest.raises(DistilwatchError, match="no order to take them in parts"):
            taxii.poll(Place("forum", f"{server}/{how}/"))
    monkeypatch.setattr(taxii, "_MOST_OBJECTS", 6)
    got = taxii.poll(Place("forum", f"{server}/many/"))
    assert (len(got.objects), got.added_after, got.more) == (6, "2026-01-01T00:00:04Z", False)


def test_certificates_that_are_not_there_are_named(server: str) -> None:
    place = Place("forum", f"{server}/busy/", ca_file="/nowhere/ca.pem")
    with pytest.raises(DistilwatchError, match=r"ca_file /nowhere/ca\.pem cannot be read"):
        taxii.poll(place)


def test_a_busy_server_is_asked_again(server: str) -> None:
    assert taxii.poll(Place("forum", f"{server}/busy/")).objects == []
    assert _Server.busy == 0


def test_messages_name_no_password() -> None:
    with pytest.raises(DistilwatchError) as caught:
        taxii.poll(Place("forum", "http://lab:hunter2@forum.invalid/x/"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://secret@[x/root/", "ftp://h/root/", "https:///root/"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(DistilwatchError, match="TAXII server of b: its URL is none") as told:
        taxii.poll(Place("b", url))
    assert "secret" not in str(told.value)
    assert "give https://server/root/collections/ID/" in str(told.value)
