"""The desk and its book: one alert a cluster, decisions, restarts, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.desk import (
    ACCOUNTS,
    DAY,
    HOUR,
    NOON,
    Office,
    Row,
    cluster,
)
from transforms.alerts.allowlist import Allowed, Allowlist
from transforms.alerts.desk import Desk
from transforms.alerts.dispositions import Disposition, decide
from transforms.alerts.notice import body
from transforms.alerts.outbox import Message
from transforms.alerts.part import read_part
from transforms.alerts.restore import restored
from transforms.alerts.standing import GrowthRule

TWO = ACCOUNTS | {"c-2": ["b1", "b2", "b3"]}


def test_one_alert_a_cluster_and_none_twice_after_a_restart(office: Callable[..., Office]) -> None:
    desk = office()
    assert desk.look(cluster(), cluster(revision=5), cluster()) == ["opened c-1"]
    desk.restart()
    assert desk.look(cluster()) == []
    assert desk.waiting() == [("hook", "opened")]
    assert desk.look(cluster(revision=20, severity="high")) == ["raised c-1"]
    desk.restart()
    assert desk.look(cluster(), cluster(revision=20, severity="high")) == []
    # Of each alert and channel one message at a time, in order.
    assert desk.waiting() == [("hook", "opened"), ("pager", "raised")]
    assert len(desk.book.outbox.messages()) == 3


def test_what_is_dismissed_stays_quiet_until_it_runs_out_or_is_undone(
    office: Callable[..., Office],
) -> None:
    desk = office()
    desk.look(cluster())
    said = decide(
        cluster(), ACCOUNTS["c-1"], "dismiss", by="ann", why="a test", at_ms=NOON,
        until_ms=NOON + DAY,
    )  # fmt: skip
    assert desk.look(said=[said]) == ["resolved c-1"]  # at once, without a new row
    assert desk.look(cluster(revision=30), said=[said]) == []
    # A re-run that names the cluster otherwise finds the decision by its accounts.
    assert desk.look(cluster("c-9"), accounts={"c-9": ACCOUNTS["c-1"]}, said=[said]) == []
    assert desk.look(said=[]) == ["opened c-1", "opened c-9"]


@pytest.mark.parametrize(
    ("decision", "change", "accounts", "wanted"),
    [
        ("dismiss", {"account_count": 5}, 5, []),
        ("dismiss", {"account_count": 7}, 7, ["opened c-1"]),
        ("permitted", {"account_count": 7}, 7, ["opened c-1"]),
        ("dismiss", {"severity": "high"}, 4, ["opened c-1"]),
        ("permitted", {"severity": "high"}, 4, []),
        ("dismiss", {"exposure_usd": 1_012.0}, 4, ["opened c-1"]),
        ("dismiss", {"exposure_usd": 900.0}, 4, []),
        ("permitted", {"exposure_usd": 1e6}, 4, []),
    ],
)
def test_what_outgrows_a_decision_alerts_again(
    office: Callable[..., Office], decision: str, change: Row, accounts: int, wanted: list[str]
) -> None:
    desk = office()
    said = decide(
        cluster(), ACCOUNTS["c-1"], decision, by="ann", why="a contract", at_ms=NOON,
        until_ms=NOON + DAY,
    )  # fmt: skip
    assert desk.look(cluster(), said=[said]) == []
    held = {"c-1": [f"a{i}" for i in range(1, accounts + 1)]}
    assert desk.look(cluster(revision=99, **change), accounts=held, said=[said]) == wanted
    for message in desk.book.outbox.messages():  # who is told hears that it was looked at before
        assert message.notice["reason"].startswith(("dismissed before, but ", "permitted before,"))


def test_the_allowlist_holds_until_its_day(office: Callable[..., Office]) -> None:
    entry = Allowed(
        name="nile-contract", kind="contract", owner="legal", reason="contract 17",
        expires=datetime.fromtimestamp((NOON + HOUR) / 1000, UTC), accounts=("a*",),
    )  # fmt: skip
    desk = office(allowlist=Allowlist(allow=(entry,)))
    assert desk.look(cluster()) == []
    mixed = {"c-2": ["a1", "x1", "x2"]}
    assert desk.look(cluster("c-2"), accounts=mixed) == ["opened c-2"]
    desk.now += HOUR
    assert desk.look() == ["opened c-1"]


def test_of_a_merge_one_alert_is_left(office: Callable[..., Office]) -> None:
    desk = office()
    desk.look(cluster(), cluster("c-2"))
    said = decide(
        cluster(), ACCOUNTS["c-1"], "merge", by="ann", why="one crew", at_ms=NOON,
        merge_with=["c-2"],
    )  # fmt: skip
    assert desk.look(said=[said]) == ["resolved c-2"]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("2026-06-01", "2026-06-02T00:00"),  # a day holds to its end
        ("'2026-06-01'", "2026-06-02T00:00"),
        ("2026-06-01T18:00:00", "2026-06-01T18:00"),
        ("'2026-06-01T18:00:00+02:00'", "2026-06-01T16:00"),
        ("9999-12-31", "9999-12-31T23:59"),
    ],
)
def test_an_entry_holds_to_the_end_of_its_day(tmp_path: Path, written: str, wanted: str) -> None:
    (tmp_path / "allow.yaml").write_text(
        "allow:\n  - {name: nile, kind: contract, owner: legal, reason: contract 17, "
        f"clusters: [c-1], expires: {written}}}\n"
    )
    [entry] = read_part(tmp_path / "allow.yaml", Allowlist).allow
    assert f"{entry.expires.astimezone(UTC):%Y-%m-%dT%H:%M}" == wanted


def test_why_a_cluster_is_allowed_names_the_last_day(office: Callable[..., Office]) -> None:
    entry = Allowed.model_validate(
        {"name": "nile", "kind": "contract", "owner": "legal", "reason": "contract 17",
         "expires": "2026-06-05", "clusters": ["c-1"]}
    )  # fmt: skip
    desk = office()
    desk.look(cluster())
    desk.rules = replace(desk.rules, allowlist=Allowlist(allow=(entry,)))
    assert desk.look() == ["resolved c-1"]
    assert desk.book.outbox.messages()[0].notice["reason"] == (
        "allowed as nile by legal until 2026-06-05: contract 17"
    )


def _merged(*, known: bool = True) -> Disposition:
    other = (cluster("c-2", exposure_usd=40.0), TWO["c-2"])
    return decide(
        cluster(), TWO["c-1"], "merge", by="ann", why="one crew", at_ms=NOON, merge_with=["c-2"],
        merged=[other] if known else [],
    )  # fmt: skip


def test_a_merge_knows_what_all_its_clusters_were() -> None:
    said = _merged()
    assert said.accounts == ("a1", "a2", "a3", "a4", "b1", "b2", "b3")
    assert (said.severity, said.exposure_usd) == ("medium", 40.0)


@pytest.mark.parametrize(
    ("change", "new", "wanted"),
    [
        ({}, 0, ""),
        ({"exposure_usd": 900.0}, 0, ""),
        ({}, 3, ""),  # of seven that were looked at
        ({}, 4, "4 accounts are new since the decision of ann"),
        ({"severity": "critical"}, 0, "medium when ann decided, critical now"),
        ({"exposure_usd": 1_040.0}, 0, "$40 when ann decided, $1,040 now"),
    ],
)
def test_a_cluster_that_was_merged_can_outgrow_that(
    office: Callable[..., Office], change: Row, new: int, wanted: str
) -> None:
    desk = office()
    desk.look(cluster(), cluster("c-2"), accounts=TWO)
    said = [_merged()]
    assert desk.look(said=said, accounts=TWO) == ["resolved c-2"]
    held = {"c-2": [*TWO["c-2"], *(f"n{i}" for i in range(new))]}
    made = desk.look(cluster("c-2", 20, **change), said=said, accounts=held)
    assert made == (["opened c-2"] if wanted else [])
    if wanted:
        told = desk.book.outbox.messages()[0].notice
        assert told["reason"] == f"merged with c-1 before, but {wanted}"


def test_a_merge_of_an_older_version_holds_while_the_other_alert_lives(
    office: Callable[..., Office],
) -> None:
    desk = office()
    desk.look(cluster(), cluster("c-2"), accounts=TWO)
    said = [_merged(known=False)]
    assert desk.look(said=said, accounts=TWO) == ["resolved c-2"]
    news = cluster("c-2", 20, severity="critical")
    assert desk.look(news, said=said, accounts=TWO) == []
    assert desk.look(cluster(revision=20, status="resolved"), said=said) == [
        "resolved c-1",
        "opened c-2",
    ]


def test_a_merge_ends_with_the_alert_that_tells_of_it(office: Callable[..., Office]) -> None:
    desk = office()
    desk.look(cluster(), cluster("c-2"), accounts=TWO)
    merged = _merged()
    assert desk.look(said=[merged], accounts=TWO) == ["resolved c-2"]
    gone = cluster(revision=20, status="resolved")
    assert desk.look(gone, said=[merged]) == ["resolved c-1", "opened c-2"]
    told = desk.book.outbox.messages()[0].notice
    assert told["reason"] == "merged with c-1 before, but nobody is told of that one now"
    assert desk.look(gone, said=[merged]) == []
    # It is one again, once that alerts anew.
    again = cluster(revision=30)
    assert desk.look(again, said=[merged], accounts=TWO) == ["opened c-1", "resolved c-2"]
    benign = decide(
        cluster(), TWO["c-1"], "dismiss", by="bob", why="ours", at_ms=NOON + 1, until_ms=NOON + DAY
    )
    desk.now += 2 * HOUR  # no storm
    assert desk.look(said=[merged, benign]) == ["resolved c-1", "opened c-2"]


def test_of_merges_in_a_row_and_in_a_ring_one_alert_is_left(office: Callable[..., Office]) -> None:
    def told(first: str, then: str) -> Disposition:
        return decide(
            cluster(first), [], "merge", by="ann", why="one crew", at_ms=NOON, merge_with=[then]
        )

    desk = office()
    row = [told("c-1", "c-2"), told("c-2", "c-3")]
    desk.look(*(cluster(f"c-{i}") for i in (1, 2, 3)))
    assert desk.look(said=row) == ["resolved c-2", "resolved c-3"]
    ring = [*row, told("c-3", "c-1")]
    assert desk.look(said=ring) == []
    assert desk.look(cluster("c-2", 20), cluster("c-3", 20), said=ring) == []


def test_a_book_that_was_lost_is_made_again_from_the_table(
    office: Callable[..., Office], tmp_path: Path
) -> None:
    desk = office()
    desk.look(cluster(), cluster("c-2"), cluster("c-3"))
    desk.look(cluster("c-2", 20, "high"), cluster("c-3", 20, status="resolved"))
    rows = desk.book.unexported()
    other = Office(tmp_path / "other")
    with other.book.writing():
        for name, known in restored(rows).items():
            other.book.keep(name, known)
    news = (cluster(), cluster("c-2", 20, "high"), cluster("c-3", 20, status="resolved"))
    assert other.look(*news) == []
    assert other.look(cluster("c-3", 30)) == ["opened c-3"]
    names = {m.alert_id for m in other.book.outbox.messages()}
    assert names.isdisjoint({row["alert_id"] for row in rows})
    other.book.__exit__()


def test_steps_are_handed_to_the_tables_until_these_have_them(
    office: Callable[..., Office],
) -> None:
    desk = office()
    desk.look(cluster())
    got: list[Row] = []

    def locked(rows: list[Row]) -> None:
        raise OSError

    one = Desk(desk.book, desk.rules, lambda: desk.now)
    with pytest.raises(OSError):  # noqa: PT011
        one.export(locked)
    assert one.export(got.extend) == 1
    assert one.export(got.extend) == 0
    assert [row["policy"] for row in got] == ["campaign"]


def test_a_drill_has_alerts_of_its_own(office: Callable[..., Office]) -> None:
    desk = office(namespace="drill")
    desk.look(cluster())
    [message] = desk.book.outbox.messages()
    assert message.notice["title"].startswith("[DRILL] ")
    assert message.notice["namespace"] == "drill"


def test_what_people_wrote_is_told_in_their_letters_and_in_short(
    office: Callable[..., Office],
) -> None:
    desk = office()
    desk.look(cluster())
    why = "it is Ours, see TICKET-7\n" + "and more " * 400
    said = decide(cluster(), ACCOUNTS["c-1"], "confirm", by="Ann", why=why, at_ms=NOON)
    desk.look(said=[said])
    notice = desk.book.outbox.messages()[0].notice
    first = body(notice)[0]
    assert first.startswith("Confirmed by Ann: it is Ours, see TICKET-7 and more")
    assert len(first) <= 302
    assert first.endswith("….")


def test_messages_hold_no_accounts_and_no_hashes(office: Callable[..., Office]) -> None:
    desk = office(case_url="https://triage.example/case/{cluster_id}", growth=GrowthRule())
    links = [{"kind": "payment", "shared": 2, "accounts": 4, "thing": "deadbeefdeadbe"}]
    desk.look(
        cluster(
            links=links,
            capabilities=[{"name": "code", "taken": True}, {"name": "law", "taken": False}],
        )
    )
    message: Message = desk.book.outbox.messages()[0]
    assert message.notice["title"] == (
        "Medium: 4 accounts may be copying the model; they share a payment method"
    )
    assert message.notice["case_url"] == "https://triage.example/case/c-1"
    assert message.notice["sure"] == (
        "among 1,000 harmless groups of accounts about 1 looks this unusual by chance; of 100 "
        "alerts like this up to 5 may be false."
    )
    for secret in ("a1", "a4", "deadbeef"):
        assert secret not in str(message.notice["title"]) + str(message.notice["check"])
        assert f"'{secret}'" not in str(message.notice)


def test_what_was_emptied_to_forget_somebody_is_no_line_of_a_message(
    office: Callable[..., Office],
) -> None:
    desk = office()
    desk.look(cluster())
    [message] = desk.book.outbox.messages()
    whole = body(message.notice)
    left = body(message.notice | {"reason": "", "cost": ""})
    assert left == [line for line in whole if not line.startswith("Cost: ")]
    assert len(left) == len(whole) - 1
