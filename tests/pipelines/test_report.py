from __future__ import annotations

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

from rich.console import Console

from pipelines.report import charts
from pipelines.report.render import render
from pipelines.report.story import (
    AskedCapability,
    BenignTruth,
    CampaignTruth,
    Cluster,
    Member,
    Reason,
    Session,
    Story,
    Truth,
)
from pipelines.report.terminal import cluster_story, clusters_list

NOON = 1_780_000_000_000
HOUR = 3_600_000


def _member(name: str, start: int, truth: Truth | None = None) -> Member:
    sessions = tuple(
        Session(NOON + (start + i * 7) * HOUR, NOON + (start + i * 7 + 3) * HOUR, 40 + 13 * i)
        for i in range(6)
    )
    return Member(
        name, NOON, 0.004, sum(s.requests for s in sessions), ("same payment fingerprint",),
        sessions, truth,
    )  # fmt: skip


def _story(hostile: str = "acct-1") -> Story:
    truth = Truth("attack", "hydra_disjoint", "campaign-1")
    cluster = Cluster(
        "c-00ff", 2, "open", "high", 4.2, 0.0007, NOON, NOON + 40 * HOUR, NOON + HOUR, 3, 2, 1234,
        56_000, 789_000, 321.5, "list_price", ("bulk_sweep", "divided_labour"),
        (Reason("hill_cells", f"topics {hostile}: 310, where 20 to 41 is normal", 6.4, 1.2),),
        tuple(_member(n, i, truth) for i, n in enumerate((hostile, "acct-2", "acct-3"))), "b1",
    )  # fmt: skip
    return Story(
        "out.duckdb", (cluster,), 420, 98_765, NOON, NOON + 50 * HOUR,
        (("Read", 100), ("Scored", 95), ("Refused", 3), ("Late", 2)), "run-1",
        (CampaignTruth("campaign-1", "hydra_disjoint", 4, 3, ("c-00ff",)),),
        (BenignTruth("business", 200, 1),),
    )  # fmt: skip


class _Page(HTMLParser):
    """Collects what a browser would do with the page."""

    VOID = frozenset({"meta", "link", "col", "img", "br", "rect", "line", "circle"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.tags: set[str] = set()
        self.unnamed: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        if named.get("id"):
            self.ids.append(str(named["id"]))
        for name in ("href", "src"):
            if named.get(name):
                self.targets.append(str(named[name]))
        if tag == "svg" and not (named.get("aria-label") or named.get("aria-hidden")):
            self.unnamed.append(tag)
        if tag == "th" and "scope" not in named:
            self.unnamed.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def _read(html: str) -> _Page:
    page = _Page()
    page.feed(html)
    assert not page.open
    return page


def test_the_page_tells_the_story() -> None:
    html = render(_story())
    for words in (
        "One cluster of 3 accounts was flagged among 420, with 1.2% of the requests, about $322 at "
        "list price.",
        "3 accounts on 2 payment methods made 1,234 requests within 40 hours",
        "members divide the topics among themselves",
        "Topics acct-1: 310, where 20 to 41 is normal",
        "same payment fingerprint",
        "hydra disjoint, campaign-1",
        "✓ Right.",
        "1 of 200",
        "All 100 records that were read are accounted for.",
    ):
        assert words in html


def test_a_capability_is_told_in_one_plain_sentence() -> None:
    code = AskedCapability("code", 412, 0.71, 6.2, 0.842, 0.347, True)
    assert code.sentence() == (
        "Code: 412 requests, 71% of those whose subject is known, 6.2 times the usual share "
        "(clearly above it); they reach 84% of what is usually asked for, where as many usual "
        "requests reach 35%."
    )
    unknown = AskedCapability("languages", 1, 0.2)
    assert unknown.sentence() == (
        "Translation and grammar: one request, 20% of those whose subject is known."
    )


def test_page_and_terminal_say_what_a_cluster_asked_for() -> None:
    (cluster,) = _story().clusters
    asked = (
        AskedCapability("tool_use", 40, 0.04, 9.0, None, None, True),
        AskedCapability("code", 800, 0.8, 1.1, 0.4, 0.5, False),
        AskedCapability("law", 9, 0.01, 0.2, 0.0, 0.1, False),
        AskedCapability("logic", 2, 0.15, 3.0, 0.0, 0.1, False),
    )
    told = replace(cluster, capabilities=asked)
    assert told.asked_for() == asked[:2]  # what was not taken and is rare is not told of
    html = render(replace(_story(), clusters=(told,)))
    _read(html)
    out = io.StringIO()
    for part in cluster_story(told):
        Console(file=out, width=200).print(part)
    for page in (html, out.getvalue()):
        assert "What it asked for" in page
        assert "Tool use: 40 requests" in page
        assert "they reach 40% of what is usually asked for" in page
        assert "Law" not in page
        assert "Logic" not in page
    assert "What it asked for" not in render(_story())


def test_the_page_is_self_contained_and_well_formed() -> None:
    html = render(_story())
    page = _read(html)
    assert not page.tags & {"script", "link", "iframe", "img"}
    assert all(target.startswith("#") for target in page.targets)
    assert not re.findall(r"https?://|@import|url\(", html)
    assert len(page.ids) == len(set(page.ids))
    assert {target[1:] for target in page.targets} <= set(page.ids)
    assert not page.unnamed
    assert "color-scheme:light dark" in html


def test_what_attackers_write_is_escaped() -> None:
    hostile = "<script>alert(1)</script>\"'><img src=x onerror=y>"
    page = _read(render(_story(hostile)))
    assert not page.tags & {"script", "img"}
    story = _story()
    nasty = replace(story.clusters[0], cluster_id="x\" onload='1'>", severity='"><script>')
    page = _read(render(replace(story, clusters=(nasty,), run_id=hostile, source=hostile)))
    assert not page.tags & {"script", "img"}


def test_a_run_without_findings_still_says_what_was_done() -> None:
    story = Story("out.duckdb", (), 12, 0, 0, 0, (("Read", 10), ("Scored", 9)))
    html = render(story)
    _read(html)
    assert "Nothing was flagged among 12 accounts." in html
    assert "1 of 10 records that were read are not accounted for" in html


def test_unlabelled_runs_claim_no_truth() -> None:
    story = _story()
    members = tuple(replace(m, truth=None) for m in story.clusters[0].members)
    story = replace(
        story, clusters=(replace(story.clusters[0], members=members),), campaigns=(), benign=()
    )
    html = render(story)
    assert "truth" not in html.lower()
    assert "False alarm" not in html


def test_the_truth_of_a_mixed_cluster_counts_every_member() -> None:
    (cluster,) = _story().clusters
    kinds = ("drip", "drip", "bulk", "mixture", "hydra_random", "drip")
    members = [_member(f"acct-{i}", i, Truth("attack", kind, "c1")) for i, kind in enumerate(kinds)]
    members += [_member("acct-6", 0, Truth("benign", "ci", "")), _member("acct-7", 0)]
    mixed = replace(cluster, members=tuple(members))
    assert mixed.truth() == ("3 drip (c1), 1 benign ci, 1 bulk (c1), 2 more, 1 without a label")
    assert replace(cluster, members=(members[6],)).truth() == "benign, ci"


def test_the_terminal_lists_clusters_in_a_few_lines_each() -> None:
    story = _story()
    (cluster,) = story.clusters
    other = replace(cluster, cluster_id="c-0a", severity="low", reasons=())
    out = io.StringIO()
    console = Console(file=out, width=110)
    for part in clusters_list(replace(story, clusters=(cluster, other, other)), 2):
        console.print(part)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[1].split() == ["high", "c-00ff", "3", "1,234", "$322", "7.0e-04"]
    assert lines[2].strip() == "✓ 3 hydra disjoint (campaign-1)"
    assert lines[3].strip() == "topics acct-1: 310, where 20 to 41 is normal"
    assert [line.split()[0] for line in lines[4:]] == ["low", "✓", "…"]
    assert lines[-1] == "… and 1 more"


def test_charts_stay_inside_their_frame() -> None:
    sessions = [Session(0, 10, 3), Session(99_999_990, 100_000_000, 500)]
    for svg in (
        charts.lane(sessions, 0, 100_000_000, 50.0),
        charts.activity(sessions, 0, 100_000_000),
        charts.activity([Session(5, 5, 1)], 5, 5),
        charts.lane([Session(5, 5, 1)], 5, 5, 1.0),
    ):
        for left, width in re.findall(r'x="([\d.-]+)" y="[\d.]+" width="([\d.-]+)"', svg):
            assert 0 <= float(left) <= float(left) + float(width) <= 1000.11
    for z in (-1e9, -3.0, 0.0, 2.0, 1e9):
        (centre,) = re.findall(r'cx="([\d.]+)"', charts.deviation(z))
        assert 2 <= float(centre) <= 98


def test_activity_keeps_the_number_of_requests() -> None:
    svg = charts.activity([Session(0, 50, 100), Session(50, 100, 100)], 0, 100)
    heights = [float(h) for h in re.findall(r'height="([\d.]+)"/>', svg)]
    assert len(heights) == 96
    assert max(heights) == min(heights) == 58
