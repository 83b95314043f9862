"""Two labs match, over HTTP with a real server and without; and what neither may do."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
import uvicorn

from infra.local.services import free_ports
from pipelines import matching
from schemas.errors import DistilwatchError
from transforms.sharing.private import calls, voprf
from transforms.sharing.private import peer as peer_module
from transforms.sharing.private.client import Matches, find_matches
from transforms.sharing.private.identifiers import (
    DEVICE,
    NETWORK,
    PAYMENT,
    Sealed,
    canonical,
    local_name,
    point_of,
)
from transforms.sharing.private.ledger import Ledger
from transforms.sharing.private.peer import HttpPeer
from transforms.sharing.private.sealed import Sealer, read_sealed, write_sealed
from transforms.sharing.private.server import Answer, MatchOptions, MatchServer, Refused, Terms
from transforms.sharing.private.service import match_app, most_batch

OPTIONS = MatchOptions(batch=8, quota=32, period_ms=1_000, epoch_ms=10_000, least_published=16)
TOKEN = "t" * 40


@dataclass
class Clock:
    """Milliseconds that only the test moves."""

    now: int = 1_000_000

    def __call__(self) -> int:
        return self.now


@dataclass
class Lab:
    """A lab with a key of its own."""

    sealer: Sealer = field(default_factory=lambda: Sealer(secrets.token_bytes(32)))

    def sealed(self, *values: str, kind: str = PAYMENT) -> list[Sealed]:
        return [Sealed(kind, local_name("own " + v), self.sealer.seal(kind, v)) for v in values]


@dataclass
class Direct:
    """A server that is reached without HTTP; keeps what it saw."""

    server: MatchServer
    name: str = "lab-b"
    seen: list[list[bytes]] = field(default_factory=list)

    def terms(self) -> Terms:
        return self.server.terms(self.name)

    def evaluate(self, epoch: int, kind: str, points: Sequence[bytes]) -> Answer:
        self.seen.append(list(points))
        return self.server.evaluate(self.name, epoch, kind, points)

    def published(self, epoch: int, kind: str) -> list[bytes]:
        return self.server.published(self.name, epoch, kind)


class Two:
    """Lab A, which has confirmed three cards, and lab B, which asks."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.a, self.b = Clock(), Lab(), Lab()
        self.ledger = Ledger(folder / "ledger.sqlite")
        self.server = MatchServer(self.ledger, self.a.sealer, OPTIONS, self.clock)
        self.ledger.confirm(self.a.sealed("card-1", "card-2", "card-3"))
        self.ledger.confirm(self.a.sealed("ja4-1", kind=DEVICE))
        self.peer = Direct(self.server)

    def ask(self, *values: str, kind: str = PAYMENT) -> Matches:
        return find_matches(
            self.peer, kind, self.b.sealed(*values, kind=kind), self.b.sealer, least_batch=8
        )


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


def test_what_both_have_is_found_and_nothing_else(two: Two) -> None:
    found = two.ask("card-2", "Card 3", "card-4", "ja4-1")
    assert sorted(found.found) == sorted(two.b.sealed("card-2", "Card 3"))
    assert (found.asked, found.left, found.evaluated, found.published) == (4, 0, 8, 16)
    assert two.ask("ja4-1", "card-1", kind=DEVICE).found == two.b.sealed("ja4-1", kind=DEVICE)


def test_the_server_sees_no_point_twice_and_always_as_many(two: Two) -> None:
    for values in (("card-1",), ("card-1",), tuple(f"card-{i}" for i in range(8))):
        two.ask(*values)
    assert [len(batch) for batch in two.peer.seen] == [8, 8, 8]
    points = [point for batch in two.peer.seen for point in batch]
    assert len(set(points)) == len(points)
    known = {point_of(PAYMENT, f"card-{i}") for i in range(8)} | {
        s.point for s in two.b.sealed("card-1")
    }
    assert not known & set(points)


def test_sizes_of_published_sets_are_powers_of_two_and_filling_stays(two: Two) -> None:
    before = two.server.published("lab-b", 1, PAYMENT)
    assert two.server.published("lab-b", 1, PAYMENT) == before
    two.ledger.confirm(two.a.sealed("card-9"))
    after = two.server.published("lab-b", 1, PAYMENT)
    assert len(before) == len(after) == 16
    assert len(set(before) - set(after)) == 1  # what was added shows to who looks twice
    two.ledger.confirm(two.a.sealed(*(f"more-{i}" for i in range(20))))
    assert len(two.server.published("lab-b", 1, PAYMENT)) == 32


def test_two_peers_cannot_compare_what_they_got(two: Two) -> None:
    mine, theirs = (two.server.published(peer, 1, PAYMENT) for peer in ("lab-b", "lab-c"))
    assert not set(mine) & set(theirs)
    assert two.server.terms("lab-b").public_key != two.server.terms("lab-c").public_key


def test_a_new_epoch_makes_what_was_got_worthless(two: Two, tmp_path: Path) -> None:
    seed = two.ledger.epoch(two.clock.now, OPTIONS.epoch_ms).seed
    before = two.server.published("lab-b", 1, PAYMENT)
    two.clock.now += OPTIONS.epoch_ms
    after = two.server.published("lab-b", 2, PAYMENT)
    assert not set(before) & set(after)
    with pytest.raises(Refused, match="epoch"):
        two.server.evaluate("lab-b", 1, PAYMENT, [point_of(PAYMENT, "x")] * 8)
    assert two.ask("card-1").found == two.b.sealed("card-1")
    assert seed not in (tmp_path / "ledger.sqlite").read_bytes()  # destroyed, and not only unused


def test_withdrawn_identifiers_are_found_no_more(two: Two) -> None:
    assert two.ledger.withdraw([local_name("own card-1")]) == 1
    assert two.ask("card-1", "card-2").found == two.b.sealed("card-2")


def test_quotas_hold_per_peer_and_period_and_are_logged(two: Two) -> None:
    many = tuple(f"card-{i}" for i in range(40))
    first = two.ask(*many)
    assert (first.asked, first.left) == (32, 8)
    assert two.ask("card-1").left == 1
    with pytest.raises(Refused, match="quota"):
        two.server.evaluate("lab-b", 1, PAYMENT, [point_of(PAYMENT, "x")] * 8)
    assert find_matches(
        Direct(two.server, "lab-c"), PAYMENT, two.b.sealed("card-1"), two.b.sealer, None, 8
    ).found
    two.clock.now += OPTIONS.period_ms + 1
    assert two.ask("card-1").found
    log = two.ledger.log()
    asked = [e for e in log if e.act == "evaluate"]
    assert sum(e.elements for e in asked if e.granted and e.peer == "lab-b") == 40
    assert [e.reason for e in asked if not e.granted] == ["quota"]


def test_quotas_hold_when_many_ask_at_once(two: Two) -> None:
    granted: list[bool] = []

    def ask() -> None:
        granted.append(two.ledger.spend("lab-b", PAYMENT, 8, 1, two.clock.now, 1_000, 32))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(granted) == [False] * 8 + [True] * 4


def test_quotas_the_log_and_the_epoch_outlive_a_restart(two: Two, tmp_path: Path) -> None:
    two.ask(*(f"card-{i}" for i in range(24)))
    before, end = two.server.terms("lab-b"), two.ledger.log()[-1].digest
    again = MatchServer(Ledger(tmp_path / "ledger.sqlite"), two.a.sealer, OPTIONS, two.clock)
    again.begin()
    assert again.terms("lab-b") == before
    assert before.quota_left == 8
    two.peer = Direct(again)
    assert two.ask(*(f"card-{i}" for i in range(24))).left == 16
    assert end in [e.digest for e in again.ledger.log()]


def test_the_seed_of_an_epoch_that_ended_while_nobody_served_is_destroyed(
    two: Two, tmp_path: Path
) -> None:
    public = two.server.terms("lab-b").public_key
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as db:
        [(seed,)] = db.execute("SELECT seed FROM epochs").fetchall()
    assert seed in path.read_bytes()
    two.clock.now += OPTIONS.epoch_ms
    MatchServer(Ledger(path), two.a.sealer, OPTIONS, two.clock).begin()
    assert seed not in path.read_bytes()
    assert two.server.terms("lab-b").public_key != public


def test_another_sealing_key_is_found_out_before_it_matches_nothing(
    two: Two, tmp_path: Path
) -> None:
    two.ledger.bind(two.a.sealer.mark)
    Ledger(tmp_path / "ledger.sqlite").bind(two.a.sealer.mark)
    with pytest.raises(DistilwatchError, match="sealed with another key"):
        Ledger(tmp_path / "ledger.sqlite").bind(Lab().sealer.mark)
    assert two.a.sealer.mark not in (two.a.sealer.scalar.hex(), two.a.sealer._key.hex())


@pytest.mark.parametrize("batch", [0, 1, 7, 4_097, 1 << 40, -8])
def test_a_server_does_not_choose_how_much_is_told(two: Two, batch: int) -> None:
    """A batch of one would tell how many identifiers are asked; a huge one would never end."""

    class Greedy(Direct):
        def terms(self) -> Terms:
            return super().terms()._replace(batch=batch, quota_left=1 << 50)

    two.peer = Greedy(two.server)
    with pytest.raises(DistilwatchError, match="wants batches of"):
        two.ask("card-1")
    assert two.peer.seen == []


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer._replace(points=answer.points[:7]),
        lambda answer: answer._replace(points=[*answer.points, answer.points[0]]),
        lambda answer: answer._replace(points=[]),
        lambda answer: answer._replace(points=[point[:31] for point in answer.points]),
        lambda answer: answer._replace(proof=answer.proof[:-1]),
        lambda answer: answer._replace(proof=b""),
    ],
)
def test_answers_of_other_sizes_prove_nothing(two: Two, change: Callable[[Answer], Answer]) -> None:
    class Short(Direct):
        def evaluate(self, epoch: int, kind: str, points: Sequence[bytes]) -> Answer:
            return change(super().evaluate(epoch, kind, points))

    two.peer = Short(two.server)
    with pytest.raises(DistilwatchError, match="does not prove"):
        two.ask("card-1")


@pytest.mark.parametrize("size", [31, 0, 33])
def test_a_key_of_another_size_proves_nothing(two: Two, size: int) -> None:
    class Odd(Direct):
        def terms(self) -> Terms:
            found = super().terms()
            return found._replace(public_key=(found.public_key * 2)[:size])

    two.peer = Odd(two.server)
    with pytest.raises(DistilwatchError, match="does not prove"):
        two.ask("card-1")


def test_a_peers_own_words_do_not_fill_the_log(two: Two) -> None:
    for kind in ("x" * 100_000, "\ud800"):
        with pytest.raises(Refused, match="the kinds are"):
            two.server.evaluate("lab-b", 1, kind, [])
    assert [e.kind for e in two.ledger.log() if e.reason == "kind"] == ["", ""]


@pytest.mark.parametrize("batch", [[b"\xff" * 32] * 8, [bytes(32)] * 8])
def test_no_points_take_no_quota_and_are_logged(two: Two, batch: list[bytes]) -> None:
    with pytest.raises(Refused, match="no point"):
        two.server.evaluate("lab-b", 1, PAYMENT, batch)
    assert two.server.terms("lab-b").quota_left == OPTIONS.quota
    assert two.ledger.log()[-1].reason == "point"


@pytest.mark.parametrize(
    ("size", "kind", "epoch"), [(7, PAYMENT, 1), (8, "email", 1), (8, PAYMENT, 3)]
)
def test_other_sizes_kinds_and_epochs_are_refused(
    two: Two, size: int, kind: str, epoch: int
) -> None:
    with pytest.raises(Refused):
        two.server.evaluate("lab-b", epoch, kind, [point_of(PAYMENT, "x")] * size)


def test_a_server_with_two_keys_is_found_out(two: Two) -> None:
    class Cheat(Direct):
        def evaluate(self, epoch: int, kind: str, points: Sequence[bytes]) -> Answer:
            honest = super().evaluate(epoch, kind, points)
            [tagged] = voprf.multiply(voprf.random_scalar(), points[:1])
            return honest._replace(points=[tagged, *honest.points[1:]])

    class Junk(Direct):
        def evaluate(self, epoch: int, kind: str, points: Sequence[bytes]) -> Answer:
            return super().evaluate(epoch, kind, points)._replace(points=[b"\xff" * 32] * 8)

    for kind in (Cheat, Junk):
        two.peer = kind(two.server)
        with pytest.raises(DistilwatchError, match="does not prove"):
            two.ask("card-1")


def test_a_key_that_changes_within_its_epoch_is_found_out(two: Two) -> None:
    own, other = (two.server.terms(name).public_key for name in ("lab-b", "lab-c"))
    asked = PAYMENT, two.b.sealed("card-1"), two.b.sealer
    found = find_matches(two.peer, *asked, {1: own}, 8)
    assert (found.epoch, found.public_key) == (1, own)
    with pytest.raises(DistilwatchError, match="another key"):
        find_matches(two.peer, *asked, {1: other}, 8)
    with pytest.raises(DistilwatchError, match="back in epoch 1, after 2"):
        find_matches(two.peer, *asked, {2: own}, 8)
    two.clock.now += OPTIONS.epoch_ms
    assert find_matches(two.peer, *asked, {1: own}, 8).epoch == 2


def test_the_key_that_is_remembered_is_the_one_that_was_used(
    two: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that shows one key when it is asked first, and answers under another one."""
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DISTILWATCH_MATCH_TOKEN", TOKEN)
    monkeypatch.setattr(matching, "own_sealer", lambda: two.b.sealer)
    shown = [two.server.terms("lab-c"), two.server.terms("lab-b")]

    class TwoFaced(Direct):
        def terms(self) -> Terms:
            return shown.pop(0) if len(shown) > 1 else shown[0]

    peer = TwoFaced(two.server)
    monkeypatch.setattr(matching, "HttpPeer", lambda *_: peer)
    write_sealed(tmp_path / "own.sealed", two.b.sealed("card-1"), two.b.sealer)
    asked = (
        tmp_path / "own.sealed",
        "https://lab-a",
        "lab-b",
        "lab-a",
        PAYMENT,
        None,
        0.9,
        1_000,
        None,
        None,
        8,
    )
    with pytest.raises(DistilwatchError, match="does not prove"):
        matching.ask(*asked)
    assert matching.ask(*asked).found
    pins = json.loads((tmp_path / "home" / "match-pins.json").read_text())
    assert pins == {"https://lab-a": {"1": two.server.terms("lab-b").public_key.hex()}}


def test_the_log_only_grows_and_shows_what_was_done_to_it(two: Two, tmp_path: Path) -> None:
    two.ask("card-1")
    assert two.ledger.log()
    db = sqlite3.connect(tmp_path / "ledger.sqlite")
    for statement in ("UPDATE log SET peer = 'x'", "DELETE FROM log"):
        with pytest.raises(sqlite3.IntegrityError, match="only grows"):
            db.execute(statement)
    db.execute("DROP TRIGGER log_stays")
    db.execute("UPDATE log SET elements = 1 WHERE act = 'evaluate'")
    db.commit()
    with pytest.raises(DistilwatchError, match="not what was written"):
        two.ledger.log()


# --- sealing --------------------------------------------------------------------------------------


def test_canonical_forms() -> None:
    assert canonical(PAYMENT, " ＡＢ-12 34 ") == canonical(PAYMENT, "ab1234") == b"ab1234"
    assert canonical(DEVICE, "T13-x") == b"t13-x"
    assert canonical(NETWORK, " 203.0.113.9/24") == canonical(NETWORK, "203.0.113.0/24")
    assert canonical(NETWORK, "2001:DB8::/48") == canonical(NETWORK, "2001:db8:0:0::/48")
    assert point_of(PAYMENT, "ab") != point_of(DEVICE, "ab")
    for kind, value in (
        (PAYMENT, " - "), (DEVICE, ""), ("email", "a"), (NETWORK, "1.2.3/24"), (DEVICE, "a" * 2_000)
    ):  # fmt: skip
        with pytest.raises(ValueError, match="identifier") as refused:
            canonical(kind, value)
        assert len(value) < 2 or value not in str(refused.value)


def test_the_file_is_unreadable_without_its_key_and_holds_no_text(tmp_path: Path) -> None:
    lab, path = Lab(), tmp_path / "own.sealed"
    assert write_sealed(path, lab.sealed("card-1", "card-2"), lab.sealer) == 2
    assert write_sealed(path, lab.sealed("card-2", "card-3"), lab.sealer) == 3
    assert read_sealed(path, lab.sealer) == sorted(lab.sealed("card-1", "card-2", "card-3"))
    data = path.read_bytes()
    assert b"card" not in data
    assert path.stat().st_mode & 0o077 == 0
    for spoilt in (data[:-1] + bytes([data[-1] ^ 1]), b"x" + data, b""):
        path.write_bytes(spoilt)
        with pytest.raises(DistilwatchError, match="has sealed"):
            read_sealed(path, lab.sealer)
    path.write_bytes(data)
    with pytest.raises(DistilwatchError, match="has sealed"):
        read_sealed(path, Lab().sealer)


def test_sealed_points_of_two_labs_have_nothing_in_common() -> None:
    assert Lab().sealed("card-1")[0].point != Lab().sealed("card-1")[0].point
    assert point_of(PAYMENT, "card-1") != Lab().sealed("card-1")[0].point


# --- HTTP -----------------------------------------------------------------------------------------


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


def test_peers_are_told_apart_and_can_ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for peer in ("lab-b", "lab-c"):
        monkeypatch.setenv(calls.token_variable(peer), TOKEN)
    with pytest.raises(DistilwatchError, match="the same token"):
        matching.serve(tmp_path / "s", ["lab-b", "lab-c"], OPTIONS, "127.0.0.1", 1)
    few = replace(OPTIONS, quota=7)
    with pytest.raises(DistilwatchError, match="never reaches"):
        matching.serve(tmp_path / "s", ["lab-b"], few, "127.0.0.1", 1)


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
