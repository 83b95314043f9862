"""Decisions: rows only ever added, the same whatever their order, safe beside others."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DistilwatchError
from schemas.tables import TABLES
from transforms.alerts.decision_store import DispositionStore
from transforms.alerts.dispositions import DECISIONS, Disposition, accounts_of, decide, holding
from transforms.sinks.duckdb import write_tables

NOW = 1_780_000_000_000
DAY = 86_400_000
CLUSTER = {"cluster_id": "c-1", "revision": 100, "severity": "high", "exposure_usd": 12.5}


def made(decision: str = "dismiss", at_ms: int = NOW, **more: Any) -> Disposition:
    more = {"by": "ann", "why": "a load test", "at_ms": at_ms, **more}
    if decision == "permitted":
        more.setdefault("until_ms", at_ms + DAY)
    return decide(CLUSTER, ["b", "a", "c"], decision, **more)


@pytest.mark.parametrize(
    ("decision", "more", "what"),
    [
        ("ignore", {}, "no decision"),
        ("dismiss", {"by": " "}, "nobody"),
        ("dismiss", {"why": ""}, "reason"),
        ("dismiss", {"until_ms": NOW}, "run out already"),
        ("permitted", {"until_ms": None}, "needs an end"),
        ("split", {}, "some accounts"),
        ("split", {"split_accounts": ["a", "b", "c"]}, "some accounts"),
        ("split", {"split_accounts": ["z"]}, "some accounts"),
        ("merge", {}, "other clusters"),
        ("merge", {"merge_with": ["c-1"]}, "other clusters"),
        ("dismiss", {"merge_with": ["c-2"]}, "other clusters"),
        ("confirm", {"split_accounts": ["a"]}, "some accounts"),
        ("merge", {"merge_with": ["c-2"], "until_ms": NOW + 1}, "does not run out"),
    ],
)
def test_decisions_that_make_no_sense_are_refused(
    decision: str, more: dict[str, Any], what: str
) -> None:
    with pytest.raises(DistilwatchError, match=what):
        made(decision, **more)


def test_the_newest_verdict_holds_until_it_runs_out_or_is_taken_back() -> None:
    confirm, dismiss = made("confirm"), made("dismiss", NOW + 1, until_ms=NOW + DAY)
    rows = [confirm, dismiss]
    assert holding(rows, NOW) == [confirm]
    assert holding(rows, NOW + 1) == [dismiss]
    assert holding(rows, NOW + DAY) == []
    rows.append(dismiss.withdrawn("bob", "wrong cluster", NOW + 2))
    assert holding(rows, NOW + 2) == [confirm]


def test_splits_and_merges_hold_beside_a_verdict() -> None:
    split = made("split", split_accounts=["b"])
    merge, confirm = made("merge", NOW + 1, merge_with=["c-2"]), made("confirm", NOW + 2)
    assert holding([confirm, merge, split], NOW + 9) == [split, merge, confirm]
    assert accounts_of([split, merge, confirm], "confirm") == {"a", "c"}


@st.composite
def _rows(draw: st.DrawFn) -> list[Disposition]:
    found: list[Disposition] = []
    for i in range(draw(st.integers(1, 6))):
        decision = draw(st.sampled_from(DECISIONS))
        until = draw(st.none() | st.integers(1, 9)) if decision in ("dismiss", "watch") else None
        row = Disposition(
            draw(st.sampled_from(["c-1", "c-2"])), decision, "ann", NOW + i, "why",
            None if until is None else NOW + i + until, f"d-{i}",
        )  # fmt: skip
        found.append(row)
        if draw(st.booleans()):
            found.append(row.withdrawn("bob", "no", NOW + draw(st.integers(i + 1, 9))))
    return found


@settings(max_examples=200, deadline=None)
@given(_rows(), st.randoms(), st.integers(0, 12))
def test_what_holds_depends_on_the_rows_alone(
    rows: list[Disposition], random: Any, after: int
) -> None:
    mixed = rows * 2
    random.shuffle(mixed)
    assert holding(mixed, NOW + after) == holding(rows, NOW + after)
    of_clusters = [r.cluster_id for r in holding(rows, NOW + after) if r.decision == "confirm"]
    assert len(set(of_clusters)) == len(of_clusters)


def test_the_store_adds_and_never_changes(tmp_path: Path) -> None:
    store = DispositionStore(tmp_path / "out.duckdb", lambda: NOW / 1000 + 60)
    assert store.rows() == []
    first, second = made(until_ms=NOW + DAY), made("confirm")
    kept = store.append(first, second)
    assert kept == [first, replace(second, decided_at=NOW + 1)]  # the key is cluster and time
    assert store.append(first, second) == kept
    assert store.history("c-1") == kept
    assert store.current() == [kept[1]]
    back = store.withdraw(second.disposition_id, "bob", "not sure")
    assert store.current() == [first]
    assert store.history("c-1") == [*kept, back]
    with pytest.raises(DistilwatchError, match="taken back already, by bob"):
        store.withdraw(second.disposition_id, "eve", "me too")
    with pytest.raises(DistilwatchError, match="bob was faster"):
        store.append(second.withdrawn("eve", "me too", NOW + 5))
    assert len(store.rows()) == 3


def test_a_table_of_before_there_were_ids_is_read_and_added_to(tmp_path: Path) -> None:
    path = tmp_path / "old.duckdb"
    old = [c for c in TABLES["dispositions"].columns if c.name != "disposition_id"][:6]
    with duckdb.connect(str(path)) as connection:
        names = ", ".join(f"{c.name} {c.duckdb()}" for c in old)
        connection.execute(
            f"CREATE TABLE dispositions ({names}, PRIMARY KEY (cluster_id, decided_at))"
        )
        connection.execute(
            "INSERT INTO dispositions VALUES ('c-0', 'dismiss', 'old', epoch_ms(?), 'x', NULL)",
            [NOW],
        )
    store = DispositionStore(path, lambda: NOW / 1000)
    assert [row.cluster_id for row in store.current()] == ["c-0"]
    store.append(made())
    assert {row.cluster_id for row in store.current()} == {"c-0", "c-1"}
    [before] = store.history("c-0")
    store.withdraw(f"c-0/{before.decided_at}", "ann", "long ago")
    assert {row.cluster_id for row in store.current()} == {"c-1"}


_OTHER = """
    import sys
    from dataclasses import replace
    from pathlib import Path
    from transforms.alerts.decision_store import DispositionStore
    from transforms.alerts.dispositions import Disposition
    store = DispositionStore(Path(sys.argv[1]))
    for i in range(8):
        store.append(Disposition(f"c-{i}", "watch", sys.argv[2], 1_780_000_000_000, "why", None,
                                 f"d-{sys.argv[2]}-{i}"))
"""


def test_three_processes_and_a_running_pipeline_lose_nothing(tmp_path: Path) -> None:
    path, stop = tmp_path / "out.duckdb", threading.Event()
    health = TABLES["run_health"].to_arrow([{"run_id": "r", "metric": "read", "value": 1}])
    write_tables(path, {"run_health": health})
    writers = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(_OTHER), str(path), name])
        for name in ("ann", "bob", "eve")
    ]
    refused = 0

    def pipeline() -> None:
        nonlocal refused
        while not stop.is_set():
            try:
                write_tables(path, {"run_health": health}, define=False)
            except DistilwatchError:
                refused += 1  # a running pipeline tries again, as we do

    thread = threading.Thread(target=pipeline)
    thread.start()
    try:
        assert [writer.wait(240) for writer in writers] == [0, 0, 0]
    finally:
        stop.set()
        thread.join()
        for writer in writers:
            writer.kill()
    rows = DispositionStore(path).rows()
    assert len({(row.cluster_id, row.decided_by) for row in rows}) == len(rows) == 24
