"""Clusters of a run that goes on: what is flagged by now, and who is told of it once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from tests.support.commit import T0, Place, Row, cluster, stage
from transforms.sinks.commit import Committer
from transforms.sinks.known_clusters import RESOLVED, KnownClusters


class Topic:
    """Takes alerts instead of a broker."""

    def __init__(self) -> None:
        self.away = False
        self.sent: list[tuple[str, int, str]] = []

    def __call__(self, uri: str, rows: list[Row]) -> int:
        if self.away:
            raise DistilwatchError("no Kafka broker answers", uri, "start it")
        self.sent += [(row["cluster_id"], row["revision"], row["severity"]) for row in rows]
        return len(rows)


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    topic = Topic()
    monkeypatch.setattr("transforms.sinks.kafka.send_rows", topic)
    return topic


ALERTS = "kafka://127.0.0.1:9/alerts"


def test_a_cluster_is_told_of_once_for_each_severity(place: Place, topic: Topic) -> None:
    committer = place.committer(ALERTS)
    for revision, severity in ((1, "low"), (2, "low"), (3, "high"), (4, "low"), (5, "high")):
        stage(place.spool, "flagged_clusters", cluster("c", revision, severity))
        committer.commit()
    assert topic.sent == [("c", 1, "low"), ("c", 3, "high")]
    assert len(place.rows("SELECT * FROM flagged_clusters")) == 5
    # Several revisions at once: only the newest is told.
    stage(place.spool, "flagged_clusters", cluster("d", 1, "low"), cluster("d", 2, "medium"))
    committer.commit()
    assert topic.sent[2:] == [("d", 2, "medium")]
    assert committer.written.members == {
        (name, "2026-06-01T00:00:00+00:00"): 3 for name in ("c", "d")
    }


def member(name: str, revision: int) -> Row:
    return {
        "cluster_id": name, "revision": revision, "account_id": "a", "since": T0, "links": [],
        "window_start": T0,
    }  # fmt: skip


def test_a_cluster_that_is_flagged_no_more_is_resolved_also_after_a_restart(
    place: Place, topic: Topic
) -> None:
    committer = place.committer(ALERTS)
    stage(place.spool, "flagged_clusters", cluster("c", 1, "high"))
    committer.commit()
    gone = {"status": "resolved"}
    stage(place.spool, "flagged_clusters", cluster("c", 2) | gone, cluster("never", 2) | gone)
    stage(place.spool, "cluster_members", member("c", 2), member("never", 2))
    again = place.committer(ALERTS)
    again.commit()
    assert place.rows("SELECT cluster_id, revision, status FROM current_clusters") == [
        ("c", 2, "resolved")
    ]
    assert place.rows("SELECT cluster_id, revision FROM cluster_members") == [("c", 2)]
    assert topic.sent == [("c", 1, "high")]
    assert not again.written.members
    # It stays so until it is flagged again.
    stage(place.spool, "flagged_clusters", cluster("c", 3) | gone)
    again.commit()
    stage(place.spool, "flagged_clusters", cluster("c", 4))
    again.commit()
    revisions = place.rows("SELECT revision, status FROM flagged_clusters ORDER BY revision")
    assert revisions == [(1, "open"), (2, "resolved"), (4, "open")]


def test_a_restart_does_not_tell_again_whatever_the_run_is_called(
    place: Place, topic: Topic
) -> None:
    stage(place.spool, "flagged_clusters", cluster("c", 1))
    place.committer(ALERTS).commit()
    stage(place.spool, "flagged_clusters", cluster("c", 1), cluster("d", 1))
    place.committer(ALERTS).commit()
    assert [name for name, *_ in topic.sent] == ["c", "d"]
    assert place.committer(ALERTS).flagged_windows() == [(T0, "c"), (T0, "d")]
    # As with another bundle, or other settings.
    committer = Committer(place.spool, [*place.outputs, ALERTS], "run-2", place.warnings.append)
    stage(place.spool, "flagged_clusters", cluster("c", 1), cluster("d", 2) | {"status": RESOLVED})
    committer.commit()
    assert len(topic.sent) == 2
    assert committer.flagged_windows() == [(T0, "c")]
    assert place.rows("SELECT cluster_id, status FROM current_clusters ORDER BY cluster_id") == [
        ("c", "open"),
        ("d", RESOLVED),
    ]


def test_what_went_to_other_outputs_is_nothing_to_these(place: Place) -> None:
    path = place.spool.folder / "clusters.json"
    before = KnownClusters(path, outputs=["duckdb:///a", "kafka://b/one"])
    row = TABLES["flagged_clusters"].to_arrow([cluster("c", 5)]).to_pylist()[0]
    before.note([row], [row])
    for outputs, flagged, sent in (
        (["duckdb:///a", "kafka://b/one"], True, True),
        (["duckdb:///a"], True, True),  # as a backfill, which keeps alerts back
        (["duckdb:///a", "kafka://b/two"], True, False),
        (["duckdb:///other", "kafka://b/one"], False, True),
    ):
        known = KnownClusters(path, outputs=outputs)
        assert (known.flagged() == {"c"}) == flagged
        assert (not known.due([row])) == sent
    # Another topic hears all anew, and takes the place of the one before.
    KnownClusters(path, outputs=["duckdb:///a", "kafka://b/two"]).note([row], [row])
    assert KnownClusters(path, outputs=["duckdb:///a", "kafka://b/one"]).due([row])
    assert not KnownClusters(path, outputs=["duckdb:///a", "kafka://b/two"]).due([row])
    # And what others wrote to these outputs since counts.
    gone = row | {"status": RESOLVED}
    KnownClusters(path, outputs=["duckdb:///a"]).note([gone], [])
    newer = KnownClusters(path, {T0: {"c": 9}}, outputs=["duckdb:///a"])
    assert newer.worth_saying([gone | {"revision": 10}]) == [True]
    assert newer.is_flagged("c", row["window_start"])
    assert not newer.is_flagged("c", row["window_end"])


def test_what_the_tables_have_as_open_is_taken_back_when_the_spool_is_gone(place: Place) -> None:
    known = KnownClusters(place.spool.folder / "clusters.json", {T0: {"c": 5}})
    rows = [cluster(name, 6) | {"status": RESOLVED} for name in ("c", "never")]
    gone = TABLES["flagged_clusters"].to_arrow(rows).to_pylist()
    assert known.worth_saying(gone) == [True, False]
    known.note(gone[:1], [])
    # The file says more than the tables did when they were read.
    again = KnownClusters(place.spool.folder / "clusters.json", {T0: {"c": 5}})
    assert not again.flagged()


def test_alerts_come_after_the_tables_and_wait_for_the_broker(place: Place, topic: Topic) -> None:
    committer = place.committer(ALERTS)
    topic.away = True
    stage(place.spool, "flagged_clusters", cluster("c", 1))
    assert not committer.commit()
    assert len(place.rows("SELECT * FROM flagged_clusters")) == 1
    place.now += 20
    assert not committer.commit()
    assert "no Kafka broker answers" in place.warnings[0]
    topic.away = False
    assert committer.commit()
    assert topic.sent == [("c", 1, "low")]


def test_what_is_flagged_by_now_is_what_the_largest_revision_says(place: Place) -> None:
    committer = place.committer()
    stage(place.spool, "flagged_clusters", cluster("a", 2), cluster("b", 5))
    committer.commit()
    assert sum(committer.written.members.values()) == 6
    taken_back = cluster("a", 9) | {"status": "resolved"}
    stage(place.spool, "flagged_clusters", taken_back)
    committer.commit()
    # An older row of it that comes once more, and the same news again, change nothing.
    for again in (cluster("a", 2), taken_back):
        stage(place.spool, "flagged_clusters", again)
        committer.commit()
        assert [name for name, _ in committer.written.members] == ["b"]
    open_now = "SELECT cluster_id FROM current_clusters WHERE status <> 'resolved'"
    assert place.rows(open_now) == [("b",)]


@given(
    st.lists(st.sampled_from(["open", RESOLVED]), min_size=1, max_size=7).flatmap(
        lambda statuses: st.permutations(list(enumerate(statuses, start=1)))
    ),
    st.sets(st.integers(1, 6)),
)
def test_what_holds_in_the_end_depends_on_no_order(
    rows: list[tuple[int, str]], cuts: set[int]
) -> None:
    with TemporaryDirectory() as folder:
        known = KnownClusters(Path(folder, "clusters.json"))
        tables: dict[int, str] = {}
        for first, last in pairwise(sorted({0, len(rows), *(c for c in cuts if c < len(rows))})):
            batch = [cluster("c", n) | {"status": status} for n, status in rows[first:last]]
            known.worth_saying(batch)  # a batch that could not be written comes again
            passed = [row for row, ok in zip(batch, known.worth_saying(batch), strict=True) if ok]
            for row in known.due(passed):
                assert row["revision"] > max(tables, default=0)
            known.note(passed, [])
            tables |= {row["revision"]: row["status"] for row in passed}
        newest = tables[max(tables)] if tables else RESOLVED
        assert newest == max(rows)[1]
        assert ("c" in known.flagged()) == (newest == "open")


def test_a_name_that_is_taken_back_late_is_flagged_still_also_after_a_restart(place: Place) -> None:
    gone = {"status": RESOLVED}
    committer = place.committer()
    for row in (cluster("c", 104), cluster("c", 106), cluster("c", 105) | gone):
        stage(place.spool, "flagged_clusters", row)
        committer.commit()
    again = place.committer()
    stage(place.spool, "flagged_clusters", cluster("c", 129) | gone)
    again.commit()
    assert place.rows("SELECT revision, status FROM current_clusters") == [(129, RESOLVED)]


# --- rows of one cluster in two batches -----------------------------------------------------------


class Desk:
    """Writes down which clusters and members are seen together."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[str], list[str]]] = []

    def look(self, clusters: Any, members: Any) -> None:
        found = clusters["cluster_id"].to_pylist(), members["cluster_id"].to_pylist()
        if any(found):
            self.seen.append(found)

    def tick(self) -> None:
        pass


def evidence(name: str, revision: int) -> Row:
    return {"cluster_id": name, "revision": revision, "window_start": T0, "window_end": T0 + 1,
            "account_count": 3, "features": [], "things": [], "coverage": b""}  # fmt: skip


@pytest.mark.parametrize("members_first", [True, False])
def test_members_and_cluster_meet_whichever_batch_each_comes_in(
    place: Place, members_first: bool
) -> None:
    desk = Desk()
    committer = place.committer(on_call=desk)
    for revision in (1, 2):
        parts = [
            {"flagged_clusters": [cluster("c", revision),
                                  cluster("never", revision) | {"status": RESOLVED}]},
            {"cluster_members": [member("c", revision), member("never", revision)],
             "cluster_evidence": [evidence("c", revision)]},
        ]  # fmt: skip
        for part in reversed(parts) if members_first else parts:
            for table, rows in part.items():
                stage(place.spool, table, *rows)
            assert committer.commit()
        committer.commit()
    for table in ("flagged_clusters", "cluster_members", "cluster_evidence"):
        rows = place.rows(f"SELECT cluster_id, revision FROM {table} ORDER BY revision")
        assert rows == [("c", 1), ("c", 2)], table
    # Whoever is on call sees the members with their cluster, if later than the cluster.
    assert [found for found in desk.seen if found[1]] == [(["c"], ["c"])] * 2


@pytest.mark.parametrize("last", [True, False])
def test_members_whose_cluster_never_comes_do_not_wait_for_ever(place: Place, last: bool) -> None:
    stage(place.spool, "flagged_clusters", cluster("known", 1))
    place.committer().commit()
    again = place.committer()  # which has not seen that one pass
    stage(place.spool, "cluster_members", member("known", 1), member("never", 1))
    again.commit(last)
    assert place.spool.waiting() == (0 if last else 1)
    place.now += 61
    again.commit()
    assert place.rows("SELECT cluster_id FROM cluster_members") == [("known",)]
    assert not place.spool.waiting()
