"""The benches run and say what they should; one test compares times, of two jobs in one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from bench import detectors, guard, memory, throughput, zipf
from bench.case import Case, prepare, prepare_zipf
from bench.jobs import JOBS, NEEDS_KAFKA, run
from bench.stages import stage_rates
from bench.stages import table as stage_table
from pipelines.config import load_config
from pipelines.simulate.scenario import Scenario, parse_attack
from transforms.scoring.evidence import ACCOUNT_LINES

EVENTS = 300
NEEDS_NOTHING = [name for name in JOBS if name not in {*NEEDS_KAFKA, "bytewax", "detect-prism"}]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keys of this module's own, for the runs in other processes, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILWATCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "distilwatch.yaml"
    path.write_text(guard.FAST)
    return path


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return guard.small_case(tmp_path_factory.mktemp("bench"))


def test_all_jobs_find_the_same_sessions_and_scores(case: Case) -> None:
    timings = {name: run(name, case) for name in NEEDS_NOTHING}
    assert {t.digest for t in timings.values()} == {timings["detect"].digest}
    assert timings["detect"].sessions > 30


@pytest.mark.parametrize("dim", [384, 0])
def test_zipf_traffic_is_scored_alike_by_all(dim: int, tmp_path: Path, settings: Path) -> None:
    traffic = zipf.Traffic(4_000, 200, exponent=0.6, hours=6, dim=dim)
    made = [orjson.loads(record) for record in zipf.records(traffic)]
    counts = Counter(event["account_id"] for event in made)
    assert len(made) == 4_000
    assert 100 < len(counts) <= 200
    assert counts["acct-0000000"] == max(counts.values()) > 5 * min(counts.values())
    case = prepare_zipf(tmp_path, traffic, load_config(settings, zipf.settings(traffic)))
    found = {name: run(name, case) for name in ("per-event", "batched", "batched-singly", "limit")}
    assert len({timing.digest for timing in found.values()}) == 1
    assert found["limit"].sessions > 200


def test_our_share_of_the_limit_has_not_fallen_by_more_than_a_third(
    case: Case, tmp_path: Path
) -> None:
    """Against the figure that is kept; `python -m bench.guard --keep` keeps a new one."""
    known = guard.kept()
    share = guard.measured_share(guard.guard_case(case, tmp_path / "many.jsonl"), known.least)
    assert share >= known.least, f"{share:.2f} of the limit's speed; it was {known.share:.2f}"


def test_the_guard_takes_more_pairs_only_when_the_first_ones_are_slow(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def shares(_: Case, pairs: int) -> list[float]:
        asked.append(pairs)
        return [0.1, 0.5, 0.2][:pairs] if len(asked) % 2 else [0.5] * pairs

    monkeypatch.setattr(guard, "run", lambda name, case: None)
    monkeypatch.setattr(guard, "shares", shares)
    assert guard.measured_share(case, 0.15) == pytest.approx(0.2)
    assert asked == [3]
    asked.clear()
    assert guard.measured_share(case, 0.3) == pytest.approx(0.5)
    assert asked == [3, 4]


def test_a_job_runs_in_a_process_of_its_own(case: Case, settings: Path) -> None:
    (timing,) = throughput.measure(case, ["batched"], 1, settings)["batched"]
    assert timing.digest == run("batched", case).digest
    assert timing.wall_s > 0


def test_different_sessions_are_no_comparison() -> None:
    one = throughput.Timing(1.0, 1.0, 1.0, 10, "a")
    other = throughput.Timing(1.0, 1.0, 1.0, 9, "b")
    with pytest.raises(AssertionError, match="different sessions"):
        throughput.check_same({"batched": [one], "per-event": [other]})


def test_the_table_has_the_median_ratio_of_the_pairs() -> None:
    ours = [throughput.Timing(2.0, cpu, 100.0, 10, "a") for cpu in (1.0, 2.0, 4.0)]
    theirs = [throughput.Timing(9.0, 8.0, 100.0, 10, "a")] * 3
    lines = throughput.job_table({"batched": ours, "per-event": theirs}, 1_000)
    assert any("4.0 times as fast as per-event (2.0 to 8.0 over 3 pairs" in x for x in lines)


def test_the_table_has_our_share_of_the_limit() -> None:
    ours = [throughput.Timing(2.0, cpu, 100.0, 10, "a") for cpu in (2.0, 4.0, 8.0)]
    limit = [throughput.Timing(9.0, 2.0, 100.0, 10, "a")] * 3
    lines = throughput.job_table({"batched": ours, "limit": limit}, 1_000)
    assert any("batched reaches 50% of the limit (25% to 100% over 3 pairs" in x for x in lines)


def test_stage_rates_cover_the_way_of_an_event(case: Case) -> None:
    stages = stage_rates(case)
    assert [s.name.split()[0] for s in stages] == [
        "read", "decode,", "embed", "deduplicate", "fold,", "fold,", "encode", "decode", "carry",
        "merge", "features", "score", "tell",
    ]  # fmt: skip
    assert stages[0].count == EVENTS
    assert len(stage_table(stages)) == len(stages) + 1


def test_a_sketch_stops_growing_while_a_list_of_vectors_does_not() -> None:
    assert memory.largest() < 64_000
    small, large, larger = memory.sizes([1_000, 10_000, 40_000])
    assert larger.vectors == 40 * small.vectors
    for size in (small, large, larger):
        assert size.memory <= memory.largest()
        assert max(size.encoded, size.shuffled, size.pickled) <= memory.largest()
    # From here on only the numbers in it get longer.
    assert larger.encoded < 1.4 * large.encoded


def test_the_memory_bench_prints_a_line_a_size(capsys: pytest.CaptureFixture[str]) -> None:
    memory.main(["--most", "2000"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:-1]] == ["100", "1,000", "2,000"]
    assert "56,656" in lines[-1]


def test_a_bench_without_enough_traffic_says_so(tmp_path: Path) -> None:
    scenario = Scenario(accounts=5, days=2, history_days=1, events=50)
    with pytest.raises(ValueError, match="live events, not 100000"):
        prepare(tmp_path, scenario, 100_000, load_config(None))


def test_the_command_line_takes_a_number_of_events() -> None:
    args = throughput.parser().parse_args(["--events", "1000", "--rounds", "2"])
    assert (args.events, args.rounds, args.run) == (1_000, 2, None)


def test_detectors_are_compared_on_populations_of_their_own() -> None:
    campaigns = (parse_attack("hydra-random:m=10,rate=40"), parse_attack("bulk:rate=200"))
    small = Scenario(3, days=8, history_days=5, accounts=120, events=8_000, campaigns=campaigns)
    population = detectors.measure(small)
    assert population.attack.any()
    assert not population.attack.all()
    assert len(population.live) == len(population.attack)
    head, _, *rows = detectors.table({"small": population})
    assert head.split("|")[2:4] == [" small ", " mean "]
    values = {row.split("|")[1].strip(): float(row.split("|")[2]) for row in rows}
    assert values["lines, ensemble"] > 0.55
    assert {f"line {line.name}" for line in ACCOUNT_LINES} <= set(values)
