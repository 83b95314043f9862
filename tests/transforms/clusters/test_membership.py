"""Names over many reports: what is kept, and what is said to be gone."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
from apache_beam.utils.timestamp import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sketches import population, small_bundle, verified
from transforms.clusters.linkables import Linkables, linkables
from transforms.clusters.linking import MembershipsAgainFn
from transforms.clusters.links import Component, Link, Linkable, LinkOptions
from transforms.clusters.membership import (
    NO_IDS,
    Absorbed,
    KnownIds,
    Membership,
    Memory,
    Remembered,
    assign,
    only_news,
)
from transforms.clusters.names import cluster_id
from transforms.clusters.newest_links import encode_block
from transforms.clusters.reports import NOT_WATCHING
from transforms.coverage.stack import SketchStack
from transforms.scoring.bundle import save_bundle

NO_THINGS = np.empty(0, np.uint64)
NOTHING_KNOWN = Remembered()


def report(groups: list[str], before: Remembered, events: int = 10) -> dict[str, object]:
    """Memberships of groups of one-letter accounts, by account."""
    accounts = [Linkable(a, i, events, NO_THINGS) for i, a in enumerate("".join(groups))]
    components = [
        Component(cluster_id(g[0]), tuple(g), ((),) * len(g)) for g in groups if len(g) > 1
    ]
    said = assign(accounts, components, before)
    return {**dict(said.memberships), "kept": said.remembered}


def test_a_cluster_that_an_older_account_joins_keeps_its_name_and_takes_the_others() -> None:
    first = report(["bc", "a"], NOTHING_KNOWN)
    later = report(["abc"], first["kept"], 20)
    assert {later[a].cluster_id for a in "abc"} == {cluster_id("b")}
    assert later["a"].absorbed == (Absorbed(cluster_id("a"), 21),)
    assert later["a"].version > first["a"].version


def test_whoever_goes_without_the_name_that_is_theirs_knows_that_another_has_it() -> None:
    first = report(["abcde"], NOTHING_KNOWN)
    apart = report(["ab", "cde"], first["kept"])
    assert {apart[a].cluster_id for a in "cde"} == {cluster_id("a")}
    assert {apart[a].taken for a in "cde"} == {()}
    assert {apart[a].taken for a in "ab"} == {(cluster_id("a"),)}
    again = report(["abcde"], apart["kept"], 20)
    assert {again[a].taken for a in "abcde"} == {()}


def test_what_is_gone_is_said_in_every_report_and_follows_its_accounts() -> None:
    first = report(["abc", "de", "fghi"], NOTHING_KNOWN)
    second = report(["abcde", "fghi"], first["kept"])
    third = report(["abcdefghi"], second["kept"], 30)
    names = [cluster_id(a) for a in "adf"]
    assert {a.cluster_id for a in second["a"].absorbed} == {names[1]}
    assert {a.cluster_id for a in third["a"].absorbed} == {names[1], names[2]}
    assert third["f"].cluster_id == names[0]
    again = report(["abcdefghi"], third["kept"], 40)
    assert [old.cluster_id for old in again["a"].absorbed] == [
        old.cluster_id for old in third["a"].absorbed
    ]


def test_a_name_that_lives_again_is_not_gone() -> None:
    first = report(["a", "bc"], NOTHING_KNOWN)
    joined = report(["bca"], first["kept"])
    apart = report(["bc", "a"], joined["kept"])
    gone = {old.cluster_id for a in "abc" for old in apart[a].absorbed}
    assert not gone & {apart[a].cluster_id for a in "abc"}


def revision(said: dict[str, object], account: str, events: int) -> int:
    membership = said[account]
    assert isinstance(membership, Membership)
    return membership.size * events + membership.revision_offset


def test_a_cluster_that_an_account_has_left_counts_on() -> None:
    """Its row would be older than that of the larger one, which nobody would ever take back."""
    first = report(["abcd"], NOTHING_KNOWN)
    left = report(["abc", "d"], first["kept"])
    assert [revision(first, "a", 10), revision(left, "a", 10)] == [40, 41]
    assert revision(left, "d", 10) == 10
    again = report(["abc", "d"], left["kept"])
    assert revision(again, "a", 10) == 41
    more = report(["abc", "d"], again["kept"], 20)
    assert revision(more, "a", 20) == 81
    alone = report(["a", "b", "c", "d"], more["kept"], 20)
    assert [old for a in "abcd" for old in alone[a].absorbed] == [Absorbed(cluster_id("a"), 82)]


def test_one_that_took_another_in_the_same_moment_counts_on() -> None:
    first = report(["abc", "d"], NOTHING_KNOWN)
    other = report(["abd", "c"], first["kept"])
    assert other["a"].cluster_id == first["a"].cluster_id
    assert [revision(first, "a", 10), revision(other, "a", 10)] == [30, 41]


def test_a_name_that_was_gone_and_is_back_counts_on() -> None:
    first = report(["abc", "de"], NOTHING_KNOWN)
    joined = report(["abcde"], first["kept"])
    (gone,) = joined["a"].absorbed
    back = report(["abc", "de"], joined["kept"])
    assert back["d"].cluster_id == gone.cluster_id
    assert revision(back, "d", 10) == gone.revision + 1
    assert revision(back, "a", 10) == revision(joined, "a", 10) + 1


def test_a_restart_counts_on_when_it_has_caught_up() -> None:
    name = cluster_id("a")
    known = KnownIds({0: dict.fromkeys("abcd", name)}, {0: {name: 40}}, {0: 40})
    begun = report(["abc", "d"], known.of(0), 5)
    assert revision(begun, "a", 5) == 15
    caught_up = report(["abc", "d"], begun["kept"], 10)
    assert revision(caught_up, "a", 10) == 41
    # Of another window it knows nothing.
    assert revision(report(["abc", "d"], known.of(86_400_000), 10), "a", 10) == 30
    # Who has all requests at hand may have others.
    assert revision(report(["abc", "d"], known.whole(0, 40), 10), "a", 10) == 41
    assert revision(report(["abc", "d"], known.whole(0, 20), 5), "a", 5) == 15
    assert revision(report(["abcd"], known.whole(0, 40), 10), "a", 10) == 40


def test_accounts_that_are_alone_for_a_while_find_their_clusters_name_again() -> None:
    """A restart reads the topic anew, and at first knows little of what the accounts share."""
    known = KnownIds({0: {"a": "c-1", "b": "c-1"}}, {0: {"c-1": 50}}, {0: 50})
    alone = report(["a", "b"], known.of(0), 3)
    assert alone["a"].cluster_id == cluster_id("a")
    assert alone["a"].absorbed == alone["b"].absorbed == ()
    joined = report(["ab"], alone["kept"], 25)
    assert joined["a"].cluster_id == "c-1"
    gone = (Absorbed(cluster_id("a"), 26), Absorbed(cluster_id("b"), 26))
    assert sorted(joined["a"].absorbed) == sorted(gone)


def test_what_fell_apart_is_gone_once_a_restart_has_caught_up() -> None:
    known = KnownIds({0: {"a": "c-1", "b": "c-1"}}, {0: {"c-1": 50}}, {0: 50})
    behind = report(["a", "b"], known.of(0), 24)
    assert behind["a"].absorbed == behind["b"].absorbed == ()
    level = report(["a", "b"], behind["kept"], 25)
    assert level["a"].absorbed + level["b"].absorbed == (Absorbed("c-1", 51),)


def test_only_what_was_flagged_is_taken_back_after_a_restart() -> None:
    known = KnownIds({0: {"a": "c-1", "b": "c-1", "c": "c-2", "d": "c-3"}}, {0: {"c-2": 7}})
    said = report(["abcd"], known.of(0))
    assert said["a"].cluster_id == "c-1"
    assert said["a"].absorbed == (Absorbed("c-2", 8),)


def test_a_windows_own_names_come_before_those_of_others() -> None:
    known = KnownIds({0: {"a": "c-old", "b": "c-old"}, 10: {"a": "c-own"}, 50: {"b": "c-far"}})
    assert known.of(10).ids == {"a": "c-own", "b": "c-old"}
    assert known.of(50).ids == {"a": "c-own", "b": "c-far"}


def test_a_new_window_goes_on_with_the_names_of_the_last_one() -> None:
    memory = Memory(KnownIds({0: {"x": "c-x"}, 20: {"a": "c-own"}}))
    first = report(["bc"], memory.of(0))
    memory = memory.with_report(0, first["kept"])
    assert report(["abc"], memory.of(10))["a"].cluster_id == cluster_id("b")
    assert memory.of(10).ids["x"] == "c-x"
    assert memory.of(20).ids["a"] == "c-own"
    assert memory.of(0).version == first["kept"].version
    for start in range(1, 9):
        memory = memory.with_report(start, first["kept"])
    assert len(memory.windows) == 3


def test_a_window_that_a_slow_partition_holds_open_is_remembered_while_others_are_far_ahead() -> (
    None
):
    memory = Memory(KnownIds())
    said = report(["abc"], memory.of(0))
    memory = memory.with_report(0, said["kept"])
    for start in range(1, 9):
        memory = memory.with_report(start, report(["yz"], memory.of(start))["kept"])
        said = report(["abc"], memory.of(0), 10 + start)
        assert memory.of(0).version
        memory = memory.with_report(0, said["kept"])
    assert len(memory.windows) <= 6
    # Its cluster comes apart, and that is said.
    apart = report(["a", "b", "c"], memory.of(0), 30)
    assert cluster_id("a") in apart["kept"].gone


def test_a_stream_of_new_accounts_is_not_remembered_for_ever() -> None:
    memory = Memory(KnownIds({0: {"x": "c-x"}}))
    for start in range(20):
        pair = [chr(0x4E00 + 2 * start), chr(0x4E01 + 2 * start)]
        # z is there every window, y every other one.
        said = report(["".join(pair), "zy" if start % 2 else "z"], memory.of(start))
        memory = memory.with_report(start, said["kept"])
        assert len(memory.of(start + 1).ids) <= 1 + 3 * 2 + 2
        if start:
            assert memory.of(start + 1).ids["z"] == cluster_id("z")
            assert memory.of(start + 1).ids["y"] == cluster_id("z")
    assert memory.of(20).ids["x"] == "c-x"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=8, max_size=8), min_size=1, max_size=5))
def test_every_report_names_every_account_once_and_a_repeat_changes_nothing(
    reports: list[list[int]],
) -> None:
    before = NOTHING_KNOWN
    for number, labels in enumerate(reports):
        groups: dict[int, str] = {}
        for account, label in zip("abcdefgh", labels, strict=True):
            groups[label] = groups.get(label, "") + account
        said = report(list(groups.values()), before, 10 + number)
        of_group = [{said[a].cluster_id for a in group} for group in groups.values()]
        assert all(len(names) == 1 for names in of_group)
        assert len(set().union(*of_group)) == len(groups)
        again = report(list(groups.values()), said["kept"], 10 + number)
        assert {a: again[a] for a in "abcdefgh"} == {a: said[a] for a in "abcdefgh"}
        before = said["kept"]


LINKS = st.sampled_from([(), (Link("payment", "x", 2, 0.5),), (Link("payment", "x", 3, 0.4),)])


@st.composite
def a_stream(draw: st.DrawFn) -> list[tuple[list[Linkable], list[Component]]]:
    """Reports of a window: accounts come, ask more or not, and are linked anew each time."""
    events: dict[str, int] = {}
    found = []
    for _ in range(draw(st.integers(1, 6))):
        for account in draw(st.sets(st.sampled_from("abcdef"), max_size=3)):
            events[account] = events.get(account, 0) + draw(st.integers(1, 9))
        place = {a: draw(st.integers(0, 3)) for a in sorted(events)}
        groups = [[a for a in sorted(events) if place[a] == i] for i in range(4)]
        accounts = [Linkable(a, ord(a), n, NO_THINGS) for a, n in sorted(events.items())]
        components = [
            Component(cluster_id(g[0]), tuple(g), tuple(draw(LINKS) for _ in g))
            for g in groups
            if len(g) > 1
        ]
        found.append((accounts, components))
    return found


@given(a_stream())
def test_who_hears_only_the_news_knows_what_who_hears_all_knows(
    stream: list[tuple[list[Linkable], list[Component]]],
) -> None:
    everything, news = NOTHING_KNOWN, NOTHING_KNOWN
    knows_all: dict[str, Membership] = {}
    knows_news: dict[str, Membership] = {}
    events: dict[str, int] = {}
    for accounts, components in stream:
        full = assign(accounts, components, everything)
        less = only_news(assign(accounts, components, news), accounts, news)
        everything, news = full.remembered, less.remembered
        knows_all.update(full.memberships)
        knows_news.update(less.memberships)
        heard = {account for account, _ in less.memberships}
        now = {account.account: account.events for account in accounts}
        assert {a for a in now if now[a] != events.get(a)} <= heard
        events = now
        assert {a: m._replace(version=0) for a, m in knows_news.items()} == {
            a: m._replace(version=0) for a, m in knows_all.items()
        }
        # Whoever pools a cluster finds all its members under one version, and no others.
        for account, own in knows_news.items():
            together = [m for m in knows_news.values() if m.cluster_id == own.cluster_id]
            assert {m.version for m in together} == {own.version}, account
            assert len(together) == own.size


@given(a_stream())
def test_the_row_with_the_largest_revision_says_what_was_said_last(
    stream: list[tuple[list[Linkable], list[Component]]],
) -> None:
    before = NOTHING_KNOWN
    rows: dict[str, dict[int, object]] = {}
    said: list[tuple[str, Membership]] = []
    for accounts, components in stream:
        events = {account.account: account.events for account in accounts}
        # Whoever pools clusters may hear of the requests before it hears of this report.
        for name, (number, _) in rows_of(said, events).items():
            rows.setdefault(name, {})[number] = "before this report"
        said, before = assign(accounts, components, before)
        for name, (number, content) in rows_of(said, events).items():
            own = rows.setdefault(name, {})
            assert own.get(number, content) in (content, "before this report")
            own[number] = content
            assert own[max(own)] == content


def rows_of(
    said: list[tuple[str, Membership]], events: dict[str, int]
) -> dict[str, tuple[int, object]]:
    """Revision and content of the rows that come of a report."""
    groups: dict[str, list[str]] = {}
    for account, membership in said:
        groups.setdefault(membership.cluster_id, []).append(account)
    found: dict[str, tuple[int, object]] = {}
    for _, membership in said:
        group = sorted(groups[membership.cluster_id])
        number = sum(events[a] for a in group) + membership.revision_offset
        found[membership.cluster_id] = number, [(a, events[a]) for a in group]
        for old in membership.absorbed:
            found[old.cluster_id] = old.revision, "gone"
    return found


def test_what_was_said_is_not_said_again_and_an_older_report_is_passed_on() -> None:
    accounts = [Linkable(a, ord(a), 10, NO_THINGS) for a in "abc"]
    pair = [Component(cluster_id("a"), ("a", "b"), ((), ()))]
    first = only_news(assign(accounts, pair, NOTHING_KNOWN), accounts, NOTHING_KNOWN)
    assert {account for account, _ in first.memberships} == set("abc")
    said = first.remembered
    assert not only_news(assign(accounts, pair, said), accounts, said).memberships
    more = [*accounts[:2], Linkable("c", ord("c"), 11, NO_THINGS)]
    assert [a for a, _ in only_news(assign(more, pair, said), more, said).memberships] == ["c"]
    older = accounts[2:]
    assert [a for a, _ in only_news(assign(older, [], said), older, said).memberships] == ["c"]
    # Who is late after a runner has forgotten the window takes no cluster back.
    late = [Linkable("b", ord("b"), 1, NO_THINGS)]
    [(account, alone)] = only_news(assign(late, [], said), late, said).memberships
    assert (account, alone.size, alone.absorbed) == ("b", 1, ())
    assert assign(late, [], said).memberships[0][1].absorbed


class Bag:
    """State of a key, as a runner gives it."""

    def __init__(self) -> None:
        self.found: list[bytes] = []

    def read(self) -> list[object]:
        return [pickle.loads(one) for one in self.found]

    def clear(self) -> None:
        self.found.clear()

    def add(self, value: object) -> None:
        self.found.append(pickle.dumps(value))


def test_a_stream_is_told_again_only_of_those_who_asked_since(tmp_path: Path) -> None:
    save_bundle(small_bundle(), tmp_path / "bundle")
    options = LinkOptions()
    step = MembershipsAgainFn(verified(tmp_path / "bundle"), options, NO_IDS, (), NOT_WATCHING)
    step.setup()
    step.start_bundle()
    sketches = population(8, seed=3)
    accounts = linkables([*sketches], SketchStack.of([*sketches.values()]), options)
    bag = Bag()

    def told(now: Linkables) -> set[str]:
        element = 0, (0, encode_block(now))
        return {one.value[0] for one in step.process(element, Timestamp(0), bag)}

    assert told(accounts) == {*sketches}
    assert told(accounts) == set()
    more = np.zeros(8, np.int64)
    more[0] = 1
    assert told(replace(accounts, events=accounts.events + more)) == {accounts.accounts[0]}
