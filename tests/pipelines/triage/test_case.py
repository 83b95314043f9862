"""What a case tells: map, graph, hand-overs, checks, and the file made of it."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from pipelines.report.evidence import CoveredCell, SharedThing
from pipelines.report.story import Member, Session
from pipelines.tables import connect, current_clusters
from pipelines.triage.case import Cases
from pipelines.triage.coverage_map import coverage_map
from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.triage.export import find_case, write_case
from pipelines.triage.graph import MOST_ACCOUNTS, MOST_THINGS, graph_of, layout
from pipelines.triage.hand_overs import hand_overs
from pipelines.triage.queue import Queue
from pipelines.triage.queue_page import QueueFilter
from schemas.errors import DistilwatchError
from tests.support.browser import chromium
from tests.support.triage import client_of, send_decision, writing
from transforms.alerts.desk import observe
from transforms.alerts.life import Standing, advance
from transforms.alerts.notice import about, notice
from transforms.alerts.paging import Growth, read_policies

MINUTE = 60_000
ANY = QueueFilter(state="any")


def member(name: str, *shared: SharedThing, begin: int = 0, end: int = MINUTE) -> Member:
    return Member(name, 0, 0.5, 10, (), (Session(begin, end, 10),), None, 1.0, tuple(shared))


def thing(kind: str, name: str) -> SharedThing:
    return SharedThing(kind, name, 2, 0.5)


def test_the_map_tells_more_asked_and_missing_apart() -> None:
    cells = [CoveredCell(0, 0, 9, 1.0), CoveredCell(1, 0, 2, 2.0), CoveredCell(0, 1, 0, 3.0)]
    found = coverage_map(cells)
    assert found is not None
    drawn = [e.get("class", "").split()[0] for e in ElementTree.fromstring(found.svg).iter()
             if e.tag.endswith("rect")]  # fmt: skip
    assert drawn == ["ground", "more", "asked", "missing"]
    assert found.known
    assert "left out 1" in found.sentence


def test_a_map_without_a_history_says_only_where_it_was() -> None:
    found = coverage_map([CoveredCell(3, 2, 5, None)])
    assert found is not None
    assert not found.known
    assert "more" not in re.findall(r'class="(\w+)', found.svg)
    assert coverage_map([]) is None


def test_the_graph_is_capped_and_the_same_each_time() -> None:
    members = [
        member(f"a{i}", thing("payment", f"p{i // 2}"), thing("network", "n")) for i in range(200)
    ]
    found = graph_of(members)
    assert found == graph_of(members)
    assert (found.accounts, found.all_accounts) == (MOST_ACCOUNTS, 200)
    assert found.things <= MOST_THINGS < found.all_things
    assert found.svg is not None
    assert found.svg.count("<circle") == MOST_ACCOUNTS
    by_kind = {s.kind: s for s in found.shared}
    assert (by_kind["network"].things, by_kind["network"].accounts) == (1, 200)
    assert (by_kind["payment"].things, by_kind["payment"].accounts) == (100, 200)


def test_groups_that_share_nothing_are_told_apart() -> None:
    ring = [
        member(f"r{i}", thing("payment", "p"), thing("network", f"n{i // 2}")) for i in range(5)
    ]
    pair = [member(f"q{i}", thing("client", "c")) for i in range(2)]
    lone = member("z", thing("network", "n9"))
    found = graph_of([pair[0], *ring, lone, pair[1]])
    assert found.parts == (("r0", "r1", "r2", "r3", "r4"), ("q0", "q1"))
    assert graph_of([*ring, lone]).parts == ()
    bridge = member("b", thing("client", "c"), thing("payment", "p"))
    assert graph_of([*ring, *pair, bridge]).parts == ()


def test_what_only_one_member_has_links_nobody() -> None:
    found = graph_of([member("a", thing("payment", "p")), member("b", thing("payment", "q"))])
    assert found.svg is None
    assert found.shared == ()


def test_the_layout_keeps_nodes_apart_and_in_the_square() -> None:
    edges = [(i, 20 + i % 4) for i in range(20)]
    spots = layout(24, edges)
    assert spots.min() >= 0
    assert spots.max() <= 1
    far = np.linalg.norm(spots[:, None] - spots[None], axis=2) + np.eye(24)
    assert far.min() > 0.01
    linked = np.mean([far[a, b] for a, b in edges])
    assert linked < far[:20, 20:].mean()


def test_ids_from_the_tables_are_escaped_in_pictures() -> None:
    evil = '"><script>alert(1)</script>'
    found = graph_of([member(evil, thing("payment", evil)), member("b", thing("payment", evil))])
    assert found.svg is not None
    assert "<script" not in found.svg


def test_a_hand_over_is_the_next_beginning_within_the_hour() -> None:
    tie = thing("hand_over", "h")
    first = member("a", tie, begin=0, end=10 * MINUTE)
    soon = member("b", tie, begin=13 * MINUTE, end=20 * MINUTE)
    late = member("c", tie, begin=300 * MINUTE, end=310 * MINUTE)
    other = member("d", begin=12 * MINUTE, end=20 * MINUTE)
    [found] = hand_overs([soon, first, late, other])
    assert (found.before, found.after, found.at_ms) == ("a", "b", 13 * MINUTE)
    assert found.pause == "3 minutes later"


def test_a_case_is_told_from_its_newest_rows(tables: Path) -> None:
    store = DuckDBStore(tables)
    queue = Queue(store, 0)
    queue.refresh()
    worst = next(r for r in queue.page(ANY, 50).rows if r.accounts > 3)
    case = Cases(store, queue).get(worst.cluster_id)
    assert case is not None
    cluster = case.told.cluster
    assert len(cluster.members) == worst.accounts == cluster.accounts
    assert all(m.sessions and m.score is not None for m in cluster.members)
    worths = cluster.worths()
    assert set(worths) == {m.account for m in cluster.members}
    assert sum(w or 0 for w in worths.values()) == pytest.approx(cluster.exposure_usd)
    assert case.told.coverage is not None
    assert case.told.graph.svg is not None
    assert case.told.checks
    assert Cases(store, queue).get("c-none") is None


def test_the_file_needs_nothing_else(tables: Path, tmp_path: Path) -> None:
    store = DuckDBStore(tables)
    queue = Queue(store, 0)
    queue.refresh()
    case = find_case(store, queue.page(ANY, 1).rows[0].cluster_id[:14])
    html = tmp_path / "case.html"
    write_case(case, store.name, html, None)
    text = html.read_text()
    assert case.told.cluster.sentence(worth=False, named=False) in text
    for words in told_of_it(tables, case.told.cluster.cluster_id):
        assert words in text
    assert "<form" not in text
    assert "<script" not in text
    assert not re.findall(r'(?:src|href)="(?!#)', text)
    assert "default-src 'none'" in text


def told_of_it(tables: Path, cluster_id: str) -> list[str]:
    """What a message about a cluster says of what is feared, how sure it is, and what it costs."""
    with connect(tables) as connection:
        (row,) = (r for r in current_clusters(connection) if r["cluster_id"] == cluster_id)
    seen = observe(row, read_policies(None))
    _, (step,) = advance(None, seen, Standing(), Growth(), 0)
    message = notice(step, "a-1", about(row), None, 0)
    return [message["title"].partition(": ")[2], message["sure"], message["cost"]]


def test_the_page_says_it_in_the_words_of_the_message(tables: Path) -> None:
    store = DuckDBStore(tables)
    queue = Queue(store, 0)
    queue.refresh()
    several = next(r for r in queue.page(ANY, 50).rows if r.accounts > 3)
    client = client_of(tables)
    page = client.get(f"/case/{several.cluster_id}").text
    feared, sure, cost = told_of_it(tables, several.cluster_id)
    assert "for each day that it goes on" in cost
    for words in (feared, sure, cost):
        assert words in page
    assert send_decision(client, several.cluster_id, "dismiss").status_code == 303
    over = client.get(f"/case/{several.cluster_id}").text
    assert feared not in over
    assert cost not in over
    assert cost.partition(" so far")[0] in over


def test_reasons_are_told_in_the_words_of_today(tables: Path) -> None:
    """Tables of an older version hold its words; what they lack, or nobody knows, stays so."""
    queue = Queue(DuckDBStore(tables), 0)
    queue.refresh()
    name = queue.page(ANY, 1).rows[0].cluster_id
    old = [
        reason("hill_cells", math.log(310), "topics used evenly: 310, where 20 to 41 is normal"),
        reason("hill_cells", None, "words of a row without a value: 3, where 1 to 2 is normal"),
        reason("gone_since", 1.0, "a feature of the past: 1, where 2 to 3 is normal"),
    ]
    with writing(tables) as connection:
        connection.execute(
            "UPDATE flagged_clusters SET reasons = ?, tactics = [] WHERE cluster_id = ?",
            [old, name],
        )
    client = client_of(tables)
    page = client.get(f"/case/{name}").text
    assert "Different topics it asks about: 310; normal is 20 to 41." in page
    assert "topics used evenly" not in page
    assert "Words of a row without a value: 3, where 1 to 2 is normal." in page
    assert "A feature of the past: 1, where 2 to 3 is normal." in page
    assert "Different topics it asks about<" in client.get(f"/?text={name}").text


def reason(feature: str, value: float | None, words: str) -> dict[str, Any]:
    return {
        "feature": feature, "value": value, "normal_low": math.log(20),
        "normal_high": math.log(41), "z": 5.0, "contribution": 1.0, "words": words,
    }  # fmt: skip


def test_a_case_that_is_not_there_is_named(tables: Path) -> None:
    with pytest.raises(DistilwatchError, match="no clusters begin with c-nothing"):
        find_case(DuckDBStore(tables), "c-nothing")


@pytest.mark.browser
def test_the_browser_prints_the_case(tables: Path, tmp_path: Path) -> None:
    chromium()
    store = DuckDBStore(tables)
    queue = Queue(store, 0)
    queue.refresh()
    case = find_case(store, queue.page(ANY, 1).rows[0].cluster_id)
    pdf = tmp_path / "case.pdf"
    assert write_case(case, store.name, None, pdf) == [pdf]
    assert pdf.read_bytes().startswith(b"%PDF-")
    if shutil.which("pdftotext"):
        said = subprocess.run(["pdftotext", pdf, "-"], capture_output=True, text=True, check=True)
        assert case.told.cluster.cluster_id in said.stdout
