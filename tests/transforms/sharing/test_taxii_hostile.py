"""Who may write to a collection fills it; those who read it go on nevertheless."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from schemas.errors import DistilwatchError
from transforms.sharing import arrived, taxii
from transforms.sharing.arrived import Arrived, FullError
from transforms.sharing.taxii import Place

TAXII = "application/taxii+json;version=2.1"
COLLECTION = {"id": "c", "title": "t", "can_read": True, "can_write": True}


def an_object(i: int, size: int = 10, at: int | None = None, version: int = 0) -> dict[str, Any]:
    return {
        "id": f"note--{i}", "modified": f"2026-01-01T00:00:0{version}Z", "pad": "x" * size,
        "added": f"2026-01-02T00:{i if at is None else at:02d}:00Z",
    }  # fmt: skip


class _Collection(BaseHTTPRequestHandler):
    """A server that follows the standard, with what a test puts into it."""

    held: ClassVar[list[dict[str, Any]]] = []
    asked = 0

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path.endswith("/objects/"):
            type(self).asked += 1
            self._page(query, lambda one: {k: v for k, v in one.items() if k != "added"})
        elif parts.path.endswith("/manifest/"):
            self._page(query, lambda one: {
                "id": one["id"], "version": one["modified"], "date_added": one["added"],
            })  # fmt: skip
        else:
            self._answer(COLLECTION)

    def _page(self, query: dict[str, str], shown: Any) -> None:
        found = [one for one in type(self).held if one["added"] > query.get("added_after", "")]
        if "match[id]" in query:
            found = [one for one in found if one["id"] in query["match[id]"].split(",")]
        if (wanted := query.get("match[version]", "last")) == "last":
            last = {one["id"]: max(o["modified"] for o in found if o["id"] == one["id"])
                    for one in found}  # fmt: skip
            found = [one for one in found if one["modified"] == last[one["id"]]]
        elif wanted != "all":
            found = [one for one in found if one["modified"] in wanted.split(",")]
        begin, limit = int(query.get("next", 0)), int(query["limit"])
        page = [shown(one) for one in found[begin : begin + limit]]
        more = len(found) > begin + limit
        self._answer(
            {"objects": page, "more": more} | ({"next": str(begin + limit)} if more else {})
        )

    def _answer(self, said: dict[str, Any]) -> None:
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", TAXII)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def forum(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(_Collection, "asked", 0)
    running = ThreadingHTTPServer(("127.0.0.1", 0), _Collection)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield Place("forum", f"http://127.0.0.1:{running.server_address[1]}/c/")
    running.shutdown()
    running.server_close()
    thread.join(10)


def names(objects: list[Any]) -> list[str]:
    return [one["id"] for one in objects]


def test_large_objects_of_one_keep_nobody_from_reading_the_others(
    forum: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of them is too large to be read; each by itself is larger than is taken."""
    monkeypatch.setattr(taxii, "_ANSWER_BYTES", 100_000)
    monkeypatch.setattr(arrived, "MAX_OBJECT_BYTES", 20_000)
    large = range(10, 40)
    held = [an_object(i, 30_000 if i in large else 10) for i in range(50)]
    monkeypatch.setattr(_Collection, "held", held)
    got = taxii.poll(forum)
    assert names(got.objects) == [f"note--{i}" for i in range(50) if i not in large]
    assert [name for name, _ in got.too_large] == [f"note--{i}" for i in large]
    assert (got.added_after, got.more) == (held[-1]["added"], False)
    assert taxii.poll(forum, got.added_after).objects == []


def test_what_no_answer_can_hold_is_passed_over_and_its_other_versions_are_not(
    forum: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taxii, "_ANSWER_BYTES", 20_000)
    held = [
        an_object(0), an_object(1), an_object(1, 50_000, version=1, at=2), an_object(3),
        an_object(4, 50_000), an_object(5),
    ]  # fmt: skip
    monkeypatch.setattr(_Collection, "held", held)
    got = taxii.poll(forum)
    assert names(got.objects) == ["note--0", "note--1", "note--3", "note--5"]
    assert [name for name, _ in got.too_large] == ["note--1", "note--4"]
    assert "more than 20,000 bytes" in got.too_large[0][1]
    assert got.added_after == held[-1]["added"]
    assert _Collection.asked < 40


@pytest.mark.parametrize("answer_bytes", [1 << 20, 2_500])
def test_more_than_fits_into_memory_comes_in_parts(
    forum: Place, monkeypatch: pytest.MonkeyPatch, answer_bytes: int
) -> None:
    monkeypatch.setattr(taxii, "_ANSWER_BYTES", answer_bytes)
    monkeypatch.setattr(taxii, "MOST_BYTES", 5_000)
    monkeypatch.setattr(_Collection, "held", [an_object(i, 900) for i in range(12)])
    found: list[str] = []
    got = taxii.Polled([], "", True)
    polls = 0
    while got.more:
        got, polls = taxii.poll(forum, got.added_after), polls + 1
        assert 0 < len(got.objects) <= 5
        found += names(got.objects)
    assert list(dict.fromkeys(found)) == [f"note--{i}" for i in range(12)]
    assert polls in (3, 4)


def test_more_than_fits_at_one_time_is_said(forum: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taxii, "MOST_BYTES", 5_000)
    monkeypatch.setattr(_Collection, "held", [an_object(i, 900, at=7) for i in range(12)])
    with pytest.raises(DistilwatchError, match="no order to take them in parts"):
        taxii.poll(forum)


def test_all_versions_of_an_object_are_asked_for(
    forum: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest one may be anybody's."""
    held = [an_object(1), an_object(1, version=3, at=2)]
    monkeypatch.setattr(_Collection, "held", held)
    assert [one["modified"] for one in taxii.poll(forum).objects] == [o["modified"] for o in held]


def test_what_cannot_be_measured_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrived, "MAX_OBJECT_BYTES", 1_000)
    found = Arrived(5_000)
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    for obj in (7, "x", {"id": "a", "n": 1 << 80}, {"id": "b", "n": deep}, {"id": "c" * 2_000}):
        found.add(obj, 0)
    assert found.objects == [7, "x", {"id": "a", "n": 1 << 80}]
    assert [name[:1] for name, _ in found.too_large] == ["b", "c"]
    with pytest.raises(FullError):
        found.add({"id": "d" * 5_000}, 3)
