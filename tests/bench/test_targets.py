"""The benches of single targets: sizing, linking, one hot key, where time goes, alerts' latency."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from bench import (
    hot_key,
    latency,
    linking,
    pages,
    profiling,
    publish,
    sizing,
    slots,
    startup,
)
from bench.case import Case
from bench.jobs import Timing
from bench.stream import PATIENCE_S, Stream
from pipelines.config import load_config


def test_the_page_has_the_tables_that_the_command_makes() -> None:
    known = sizing.Figures()
    sizes = [sizing.size(rate, known) for rate in (1_000, 100_000, 1_000_000)]
    lines = [*sizing.table(sizes), "", *sizing.figures_table(known)]
    page = sizing.PAGE.read_text()
    assert pages.written(page, sizing.PART, lines) == page, "run python -m bench.sizing --write"


def test_sizes_follow_from_the_figures() -> None:
    known = sizing.Figures(
        event_ms=0.05, piece_ms=0.2, report_ms=0.5, requests_a_piece=2, requests_a_report=10,
        reader_rate=20_000, headroom=0.5, requests_a_day=86_400, link_us=1, link_bytes=1,
        early_firing_s=60, window_us=0, log=1,
        windowed=2, open_share=0, profile_bytes=1e6, worker_cores=4, worker_gb=6, process_gb=1,
        event_bytes=1_000, partition_bytes=1e6, vm_hour=1, disk_gb_month=1,
    )  # fmt: skip
    found = sizing.size(100_000, known)
    # 100,000 / (20,000 × ½) readers; 100,000 × 0.0002 / ½ cores; 40 / 4 workers
    assert (found.jobs, found.cores, found.workers) == (10, 40, 10)
    assert found.partitions == 100  # of 1 MB/s each
    assert found.state_gb == pytest.approx(200)  # an account for each request a second, twice
    assert found.flink_month == pytest.approx(10 * 730 + 2 * 200)
    assert found.in_memory == 100  # two of six GB are free in each worker
    # 200,000 accounts at 1.5 ms in half of a minute; at 100 kB in 2 GB
    assert sizing.size(100_000, replace(known, link_us=1_500)).jobs == 10
    assert sizing.size(100_000, replace(known, link_us=3_000)).jobs == 20
    assert sizing.size(100_000, replace(known, link_bytes=150_000)).jobs == 15
    assert sizing.size(100_000, replace(known, link_most=10_000)).jobs == 20
    # 200,000 accounts at 300 µs a minute are a core, half used; 20,000 a job in parts of 100
    assert sizing.size(100_000, replace(known, window_us=300)).cores == 42
    assert sizing.size(100_000, replace(known, shard_accounts=100)).shards == 200
    assert found.shards == 32
    assert sizing.size(100_000, replace(known, log=1.5)).state_gb == pytest.approx(300)
    with pytest.raises(ValueError, match="no <!-- sizes: made by"):
        pages.written("a page", sizing.PART, [])


@pytest.mark.parametrize("shape", ["groups", "popular", "timed", "tangled"])
def test_linking_finds_the_groups_that_were_made(shape: str) -> None:
    run = linking.measure(shape, 4_000)
    # Those on the one popular card are one cluster.
    assert run.components == (80 - 16 + 1 if shape == "popular" else 80)
    assert run.accounts == 800
    twice = linking.Run(shape, 8_000, 1_600, 160, 2 * run.cpu_s, 1.0)
    assert "| 1.00 |" in linking.table([run, twice])[-1]


def test_a_hot_card_has_all_pieces_and_keeps_one_sketch() -> None:
    apart, together = hot_key.measure(60, 3, 60), hot_key.measure(60, 3, 1)
    assert apart.events == together.events == 180
    assert together.pieces > 10 * apart.pieces
    assert 0 < together.kept_bytes < 33_000
    assert together.megabytes * 1e6 > together.kept_bytes
    assert len(hot_key.table([apart, together])) == 4


def test_time_is_divided_among_stages_and_adds_up() -> None:
    def work() -> None:
        from transforms.sinks import duckdb_path

        end = time.process_time() + 0.2
        while time.process_time() < end:
            duckdb_path("duckdb:///x.duckdb")

    before = time.process_time()
    spent = profiling.profiled(work)
    assert sum(spent.values()) == pytest.approx(time.process_time() - before, abs=0.1)
    assert spent["write"] > 0
    assert profiling.table(spent, 1_000)[-1].endswith("| 100% |")
    assert (
        profiling.table(defaultdict(float, {"fold": 1.0}), 1_000)[2] == "| fold | 1000.0 | 100% |"
    )


def test_groups_that_share_a_card_are_among_the_requests() -> None:
    made = list(latency.requests(3_000, 1, 50))
    groups: dict[str, set[str]] = defaultdict(set)
    for request in made:
        groups[request["payment_fingerprint"]].add(request["account_id"])
    shared = [accounts for card, accounts in groups.items() if card.startswith("shared")]
    assert len(shared) == 3
    assert all(len(accounts) == 6 for accounts in shared)
    assert len({request["event_id"] for request in made}) == 3_000


def test_latency_is_said_in_words() -> None:
    lines = latency.Found(1_000, 500, (1.0, 2.0, 3.0)).lines()
    assert "3 alerts: median 2.0 s, 99th percentile 3.0 s" in lines[1]
    assert "no alert came" in latency.Found(1_000, 500, ()).lines()[1]


def test_a_stream_that_has_ended_is_not_waited_for(tmp_path: Path) -> None:
    case = Case(tmp_path / "none.jsonl", 0, tmp_path / "no-bundle", load_config(None))
    stream = Stream(case, tmp_path / "none.yaml", "kafka://127.0.0.1:1/requests", tmp_path)
    began = time.monotonic()
    with stream.running(), pytest.raises(RuntimeError, match="only 0 of 1 were read"):
        stream.until_read(1)
    assert time.monotonic() - began < PATIENCE_S / 2


def test_help_is_timed() -> None:
    found = startup.timed("help", 0.5, ["--help"], 1)
    assert len(found.wall_s) == len(found.cpu_s) == 1
    assert 0 < found.cpu_s[0] <= 60
    assert found.line().startswith("| help | 0.5 |")


def test_the_page_has_a_part_for_every_bench() -> None:
    page = publish.PAGE.read_text()
    for name in publish.PARTS:
        begin, end = pages.marks(name)
        part = page.partition(begin)[2].partition(end)[0].strip()
        # As it is, or with more options behind it.
        assert part.startswith(tuple(f"`{publish.command_of(name)}{e}" for e in ("`:", " --"))), (
            name
        )
    assert publish.as_lines("memory", "plain\n")[2:] == ["```text", "plain", "```"]
    assert publish.as_lines("linking", "| a |\n")[2:] == ["| a |"]
    named = publish.as_lines("linking", "| a |\n", ["--edges", "9"])
    assert named == ["`python -m bench.linking --edges 9`:", "", "| a |"]


def test_more_arguments_are_for_one_part(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        publish.main(["memory", "linking", "--", "--rounds", "2"])
    assert "are for one part; name it" in capsys.readouterr().err


def test_slots_are_compared_by_the_larger_size() -> None:
    # A start of 20 s CPU for each slot, and 30 s on the clock; 100 µs an event.
    found = {
        count: [
            (n, Timing(30 + n * 1e-4 / count, 20 * count + n * 1e-4, 100, 9, "a"))
            for n in (10_000, 800_000)
        ]
        for count in slots.SLOTS
    }
    assert slots.table(found)[2:] == [
        "| 1 | 10,000 | 21 | 31 | 476 | 323 | 100 |",
        "| 1 | 800,000 | 100 | 110 | 8,000 | 7,273 | 100 |",
        "| 2 | 10,000 | 41 | 30 | 244 | 328 | 100 |",
        "| 2 | 800,000 | 120 | 70 | 6,667 | 11,429 | 100 |",
        "",
        "Over 800,000 events 2 slots keep 83% of the events/s/core of 1.",
    ]
