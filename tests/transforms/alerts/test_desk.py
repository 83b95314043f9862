"""The desk and its book: one alert a cluster, storms, quiet hours, decisions, restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.tables import TABLES
from transforms.alerts.channels import Refused, TryLater
from transforms.alerts.desk import Desk, Rules, restored
from transforms.alerts.dispositions import Disposition, decide
from transforms.alerts.notice import body
from transforms.alerts.outbox import Backoff, Book, Message
from transforms.alerts.routing import (
    Allowed,
    Allowlist,
    Budget,
    Channels,
    Policies,
    Policy,
    QuietHours,
)
from transforms.alerts.sender import Sender
from transforms.alerts.standing import GrowthRule

NOON = 1_780_315_200_000  # 2026-06-01 12:00 UTC
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
Row = dict[str, Any]

POLICY = Policy(
    name="campaign",
    description="Clusters of several accounts, for tests.",
    when={"account_count": {"at_least": 2}},
    audience="on-call",
    owner="team",
    runbook="runbook.md#x",
    check=("Look at the map.",),
    false_positives=("A reseller.",),
    known_gaps=("Single accounts.",),
    budget=Budget(alerts_per_day=50, storm_alerts=4, storm_minutes=60),
)
CHANNELS = Channels.model_validate(
    {
        "channels": {
            name: {"kind": "webhook", "url": "http://x", "secret": {"env": "X"}}
            for name in ("hook", "pager")
        },
        "routes": [
            {"channels": ["hook"]},
            {"severity": ["high", "critical"], "channels": ["pager"]},
        ],
    }
)


def cluster(name: str = "c-1", revision: int = 10, severity: str = "medium", **more: Any) -> Row:
    return {
        "cluster_id": name, "revision": revision, "window_start": NOON - DAY,
        "window_end": NOON + DAY, "status": "open", "severity": severity, "score": 1.0,
        "p_value": 0.001, "q_value": 0.05, "first_seen": NOON - HOUR, "last_seen": NOON,
        "account_count": 4, "request_count": revision, "exposure_usd": 12.0, "tactics": [],
        "capabilities": [], "links": [], "known_texts": [],
    } | more  # fmt: skip


ACCOUNTS = {"c-1": ["a1", "a2", "a3", "a4"]}


class Office:
    """A desk on a book, with a clock that is set by hand."""

    def __init__(self, path: Path, **rules: Any) -> None:
        self.now = NOON
        self.path = path
        self.rules = Rules(Policies(policies=(POLICY,)), **{"channels": CHANNELS, **rules})
        self.book = Book(path)

    def look(
        self,
        *rows: Row,
        accounts: Mapping[str, Sequence[str]] = ACCOUNTS,
        said: Sequence[Disposition] = (),
    ) -> list[str]:
        desk = Desk(self.book, self.rules, lambda: self.now)
        made = desk.look(rows, accounts, said)
        TABLES["alerts"].to_arrow(made)  # rows of the table, and of nothing else
        return [f"{row['step']} {row['cluster_id']}" for row in made]

    def waiting(self) -> list[tuple[str, str]]:
        return sorted(
            (message.channel, message.notice["step"]) for message in self.book.due(self.now)
        )

    def restart(self) -> None:
        self.book.__exit__()
        self.book = Book(self.path)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Callable[..., Office]]:
    made: list[Office] = []

    def make(**rules: Any) -> Office:
        made.append(Office(tmp_path / "book", **rules))
        return made[-1]

    yield make
    for one in made:
        one.book.__exit__()


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
    assert len(desk.book.messages()) == 3


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
    for message in desk.book.messages():  # who is told hears that it was looked at before
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


def test_a_storm_is_one_message_that_is_told_again_when_it_doubles(
    office: Callable[..., Office],
) -> None:
    desk = office()
    steps = desk.look(*(cluster(f"c-{i:02}") for i in range(12)))
    assert len(steps) == 13  # twelve alerts, and the storm
    titles = [m.notice["title"] for m in desk.book.messages() if "Storm" in m.notice["title"]]
    assert titles == ["Storm of campaign: 8 more alerts, told together"]
    assert len(desk.book.messages()) == 5
    assert len(desk.look(cluster("c-20"))) == 1  # the alert lives, and nobody is told
    grown = desk.look(*(cluster(f"c-{i:02}") for i in range(30, 40)))
    assert len(grown) == 11
    assert desk.book.messages()[0].notice["title"].startswith("Storm of campaign: 19 more")
    # What becomes critical leaves the storm; what is over is not told one by one.
    assert desk.look(cluster("c-35", 20, "critical")) == ["raised c-35"]
    assert desk.book.messages()[0].notice["cluster_id"] == "c-35"
    rest = [n for n in desk.book.known() if n != "c-35"]
    over = desk.look(*(cluster(n, 50, status="resolved") for n in rest))
    assert sum(step.startswith("resolved") for step in over) == len(rest) + 1
    assert desk.book.messages()[0].notice["title"] == "Over: the storm of campaign, 19 alerts"
    desk.now += 2 * HOUR
    assert desk.look(cluster("c-50")) == ["opened c-50"]
    assert desk.book.messages()[0].notice["cluster_id"] == "c-50"


def test_the_gravest_are_told_by_themselves(office: Callable[..., Office]) -> None:
    desk = office()
    grave = ("low", "critical", "medium", "low", "high", "low", "medium", "low")
    desk.look(*(cluster(f"c-{i}", severity=severity) for i, severity in enumerate(grave)))
    alone = {m.notice["severity"] for m in desk.book.messages() if m.alert_id.startswith("a-")}
    assert alone == {"critical", "high", "medium"}


def test_a_message_waits_for_a_channel_that_others_have(office: Callable[..., Office]) -> None:
    desk = office()
    desk.look(cluster())
    warned: list[str] = []
    Sender(desk.book, {}, Backoff(limit=1), lambda: desk.now, warned.append).send_due()
    assert len(warned) == 1
    assert sender(desk, Script())[0].send_due().sent == 1


def test_what_is_over_before_quiet_hours_end_is_never_told(office: Callable[..., Office]) -> None:
    quiet = QuietHours(severity=("low", "medium"), begin="08:00", end="20:00")
    desk = office(channels=CHANNELS.model_copy(update={"quiet_hours": (quiet,)}))
    desk.look(cluster(), cluster("c-2", severity="high"))
    assert desk.waiting() == [("hook", "opened"), ("pager", "opened")]  # c-2's
    assert desk.look(cluster(revision=20, status="resolved")) == ["resolved c-1"]
    desk.now += 9 * HOUR
    assert desk.waiting() == [("hook", "opened"), ("pager", "opened")]
    assert desk.book.counts() == {"pending": 2, "dropped": 1}


def test_quiet_hours_go_over_midnight_and_know_the_zone() -> None:
    hours = QuietHours(severity=("low",), begin="22:00", end="07:00", zone="Europe/Berlin")

    def utc(text: str) -> int:
        return round(datetime.fromisoformat(text + "+00:00").timestamp() * 1000)

    ends = {
        "2026-06-01T19:59": "2026-06-01T19:59",  # 21:59 in Berlin
        "2026-06-01T20:00": "2026-06-02T05:00",
        "2026-06-02T04:59": "2026-06-02T05:00",
        "2026-06-02T05:00": "2026-06-02T05:00",
        "2026-12-01T21:30": "2026-12-02T06:00",
        "2026-10-24T23:00": "2026-10-25T06:00",  # the clocks go back in this night
    }
    assert {at: hours.over_at("low", utc(at)) for at in ends} == {
        at: utc(end) for at, end in ends.items()
    }
    assert hours.over_at("high", utc("2026-06-02T00:00")) == utc("2026-06-02T00:00")


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
    names = {m.alert_id for m in other.book.messages()}
    assert names.isdisjoint({row["alert_id"] for row in rows})
    other.book.__exit__()


def test_a_storm_of_a_book_that_was_lost_does_not_stop_the_desk(
    office: Callable[..., Office], tmp_path: Path
) -> None:
    desk = office()
    names = [f"c-{i:02}" for i in range(6)]
    desk.look(*(cluster(name) for name in names))
    rows = [row for row in desk.book.unexported() if row["storm_id"] != row["alert_id"]]
    assert any(row["storm_id"] for row in rows)
    other = Office(tmp_path / "other")
    with other.book.writing():
        for name, known in restored(rows).items():
            other.book.keep(name, known)
    over = other.look(*(cluster(name, 20, status="resolved") for name in names))
    assert sorted(over) == [f"resolved {name}" for name in names]
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
    [message] = desk.book.messages()
    assert message.notice["title"].startswith("[DRILL] ")
    assert message.notice["namespace"] == "drill"


class Script:
    """A channel that does what it is told, and notes the keys that it took."""

    def __init__(self, *script: Exception | None) -> None:
        self.script = list(script)
        self.took: list[str] = []
        self.tried: list[str] = []

    def tell(self, key: str, notice: Mapping[str, Any], thread: Any) -> Any:
        self.tried.append(key)
        problem = self.script.pop(0) if self.script else None
        if problem is not None:
            raise problem
        self.took.append(key)
        return None


def sender(desk: Office, channel: Script, **backoff: int) -> tuple[Sender, list[str]]:
    warned: list[str] = []
    channels = {"hook": channel, "pager": channel}
    return Sender(desk.book, channels, Backoff(**backoff), lambda: desk.now, warned.append), warned


def test_a_message_waits_longer_each_time_and_dies_at_the_limit(
    office: Callable[..., Office],
) -> None:
    desk = office()
    desk.look(cluster())
    channel = Script(*(TryLater("full") for _ in range(9)))
    sending, warned = sender(desk, channel, first_ms=1_000, most_ms=60_000, limit=4)
    waits = []
    for _ in range(3):
        sending.send_due()
        [waiting] = desk.book.messages(["pending"])
        waits.append(waiting.not_before - desk.now)
        desk.now = waiting.not_before - 1
        assert not desk.book.due(desk.now)
        desk.now += 1
    assert all(low <= w <= 2 * low for w, low in zip(waits, (500, 1_000, 2_000), strict=True))
    assert sending.send_due().dead == 1
    assert desk.book.counts() == {"dead": 1}
    assert len(warned) == 2  # the first failure, and the death
    assert desk.book.replay([], desk.now) == 1
    channel.script.clear()
    assert sending.send_due().sent == 1


def test_retry_after_is_kept_to_and_a_refusal_is_for_good(office: Callable[..., Office]) -> None:
    desk = office()
    desk.look(cluster())
    sending, _ = sender(desk, Script(TryLater("429", 120_000), Refused("no")))
    sending.send_due()
    [waiting] = desk.book.messages()
    assert waiting.not_before == desk.now + 120_000
    desk.now += 120_000
    assert sending.send_due().dead == 1
    assert desk.book.messages()[0].error == "no"


def test_one_process_sends_at_a_time(office: Callable[..., Office], tmp_path: Path) -> None:
    desk = office()
    desk.look(cluster())
    channel = Script()
    with Book(tmp_path / "book") as other, other.sending() as ours:
        assert ours
        assert sender(desk, channel)[0].send_due().sent == 0
    assert sender(desk, channel)[0].send_due().sent == 1


def test_a_channel_that_fails_does_not_hold_up_the_others(office: Callable[..., Office]) -> None:
    desk = office()
    desk.look(cluster(severity="high"))
    good, bad = Script(), Script(*(ValueError("a bug, with a secret in it") for _ in range(3)))
    both = {"hook": bad, "pager": good}
    Sender(desk.book, both, Backoff(), lambda: desk.now, lambda _: None).send_due()
    assert len(good.took) == 1
    [waiting] = desk.book.messages(["pending"])
    assert waiting.error == "hook failed (ValueError)"


def test_a_channel_that_fails_is_tried_once_a_pass(office: Callable[..., Office]) -> None:
    desk = office()
    desk.look(*(cluster(f"c-{i}", severity="high") for i in range(3)))
    bad, good = Script(*(TryLater("stalled") for _ in range(9))), Script()
    sending = Sender(
        desk.book, {"hook": bad, "pager": good}, Backoff(), lambda: desk.now, lambda _: None
    )
    assert sending.send_due().sent == 3
    assert (len(bad.tried), len(good.took)) == (1, 3)


@settings(max_examples=60, deadline=None)
@given(works=st.lists(st.booleans(), max_size=30), limit=st.integers(1, 4))
def test_of_an_alert_the_end_never_overtakes_the_beginning(
    works: list[bool], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    desk = Office(tmp_path_factory.mktemp("book") / "book")
    desk.look(cluster())
    desk.look(cluster(revision=20, severity="high"))
    desk.look(cluster(revision=30, status="resolved"))
    channel = Script(*(None if fine else TryLater("later") for fine in works))
    sending, _ = sender(desk, channel, limit=limit)
    for _ in range(200):
        sending.send_due()
        left = desk.book.messages(["pending"])
        if not left:
            break
        desk.now = max(m.not_before for m in left)
    assert desk.book.counts().keys() <= {"sent", "dead"}
    for name in ("hook", "pager"):
        revisions = [int(k.split("/")[1]) for k in channel.tried if k.endswith(name)]
        assert revisions == sorted(revisions)
    assert len(set(channel.took)) == len(channel.took)
    desk.book.__exit__()


def test_what_people_wrote_is_told_in_their_letters_and_in_short(
    office: Callable[..., Office],
) -> None:
    desk = office()
    desk.look(cluster())
    why = "it is Ours, see TICKET-7\n" + "and more " * 400
    said = decide(cluster(), ACCOUNTS["c-1"], "confirm", by="Ann", why=why, at_ms=NOON)
    desk.look(said=[said])
    notice = desk.book.messages()[0].notice
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
    message: Message = desk.book.messages()[0]
    assert message.notice["title"] == (
        "Medium: 4 accounts asked for code in 10 requests, sharing payment"
    )
    assert message.notice["case_url"] == "https://triage.example/case/c-1"
    assert message.notice["sure"] == (
        "Chance alone does this to 1 in 1,000 of its kind; of findings like this at most 5% are "
        "false."
    )
    for secret in ("a1", "a4", "deadbeef"):
        assert secret not in str(message.notice["title"]) + str(message.notice["check"])
        assert f"'{secret}'" not in str(message.notice)
