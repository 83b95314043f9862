"""Two labs match; and what neither may do."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import matching
from schemas.errors import DistilwatchError
from tests.support.two_labs import OPTIONS, TOKEN, Direct, Two
from transforms.sharing.private import calls, voprf
from transforms.sharing.private.client import find_matches
from transforms.sharing.private.identifiers import DEVICE, NETWORK, PAYMENT, local_name, point_of
from transforms.sharing.private.ledger import Ledger
from transforms.sharing.private.sealed import write_sealed
from transforms.sharing.private.server import Answer, Refused, Terms


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


@pytest.mark.parametrize("left", [0, -1, -256])
def test_a_server_that_has_nothing_left_was_asked_nothing(two: Two, left: int) -> None:
    class Stingy(Direct):
        def terms(self) -> Terms:
            return super().terms()._replace(quota_left=left)

    two.peer = Stingy(two.server)
    found = two.ask(*(f"card-{i}" for i in range(20)))
    assert (found.asked, found.left, found.evaluated, found.found) == (0, 20, 0, [])


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


def test_a_quota_that_does_not_reach_comes_to_every_identifier_in_turn(
    two: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DISTILWATCH_MATCH_TOKEN", TOKEN)
    monkeypatch.setattr(matching, "own_sealer", lambda: two.b.sealer)
    monkeypatch.setattr(matching, "HttpPeer", lambda *_: two.peer)
    cards = two.b.sealed(*(f"card-{i}" for i in range(80)))  # three are confirmed there
    write_sealed(tmp_path / "own.sealed", cards, two.b.sealer)
    found: set[str] = set()
    for asked, left in ((32, 48), (32, 48), (32, 48)):
        got = matching.ask(
            tmp_path / "own.sealed", "https://lab-a", "lab-b", "lab-a", PAYMENT, None, 0.9, 1_000,
            None, None, 8,
        )  # fmt: skip
        assert (got.asked, got.left) == (asked, left)
        found |= {one.local for one in got.found}
        two.clock.now += OPTIONS.period_ms + 1
    assert found == {local_name(f"own card-{i}") for i in (1, 2, 3)}
    kept = (tmp_path / "home" / "match-asked.json").read_text()
    assert not any(one.local in kept for one in cards)


def test_the_servers_file_alone_gives_no_identifier_up(
    two: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own names are hashes without a key: all networks of IPv4 are tried in half a minute."""
    monkeypatch.setattr(matching, "own_sealer", lambda: two.a.sealer)
    sealed, state = tmp_path / "own.sealed", tmp_path / "match.sqlite"
    ours = two.a.sealed("198.51.100.0/24", "203.0.113.0/24", kind=NETWORK)
    write_sealed(sealed, ours, two.a.sealer)
    Ledger(state).confirm(ours[:1])  # as an earlier version has it
    assert ours[0].local.encode() in state.read_bytes()
    assert matching.confirm(sealed, state) == 2
    assert not any(one.local.encode() in state.read_bytes() for one in ours)
    assert Ledger(state).confirmed(NETWORK) == sorted(one.point for one in ours)
    assert matching.confirm(sealed, state, withdraw=True) == 2
    assert Ledger(state).confirmed(NETWORK) == []


@pytest.mark.parametrize(("key", "ca"), [("k.pem", None), (None, "ca.pem"), ("k.pem", "ca.pem")])
def test_half_of_tls_is_refused_and_not_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str | None, ca: str | None
) -> None:
    monkeypatch.setenv(calls.token_variable("lab-b"), TOKEN)
    monkeypatch.setattr("uvicorn.run", lambda *_, **__: pytest.fail("it serves"))
    with pytest.raises(DistilwatchError, match="no TLS at all"):
        matching.serve(tmp_path / "s", ["lab-b"], OPTIONS, "127.0.0.1", 1, None, key, ca)


def test_peers_are_told_apart_and_can_ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for peer in ("lab-b", "lab-c"):
        monkeypatch.setenv(calls.token_variable(peer), TOKEN)
    with pytest.raises(DistilwatchError, match="the same token"):
        matching.serve(tmp_path / "s", ["lab-b", "lab-c"], OPTIONS, "127.0.0.1", 1)
    few = replace(OPTIONS, quota=7)
    with pytest.raises(DistilwatchError, match="never reaches"):
        matching.serve(tmp_path / "s", ["lab-b"], few, "127.0.0.1", 1)
