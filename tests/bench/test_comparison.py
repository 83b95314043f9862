"""The comparison: other engines find the same sessions; table, plot and what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import __main__ as comparison
from bench import guard, needs, throughput, usage, zipf
from bench.case import Case, prepare_zipf
from bench.jobs import Timing, run
from bench.topics import in_topics
from infra.local.services import KafkaBroker
from pipelines.config import load_config


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """An event every nine seconds, so that a batch of lines spans hours, and several a session."""
    folder = tmp_path_factory.mktemp("comparison")
    settings = folder / "settings.yaml"
    settings.write_text(guard.FAST)
    traffic = zipf.Traffic(2_400, 60, hours=6, exponent=0.8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILWATCH_HOME", str(folder))
        yield prepare_zipf(folder, traffic, load_config(settings, zipf.settings(traffic)))


def test_a_bytewax_dataflow_finds_the_same_sessions(case: Case) -> None:
    pytest.importorskip("bytewax", reason="Bytewax is not installed; make bench installs it")
    ours, theirs = run("batched", case), run("bytewax", case)
    assert theirs.digest == ours.digest
    assert ours.sessions > 100


@pytest.mark.kafka
def test_a_topic_brings_the_same_sessions(case: Case, kafka: KafkaBroker) -> None:
    served = in_topics(case, kafka, "bench-topic")
    ours = run("batched", case)
    assert run("detect-kafka", served).digest == ours.digest
    if needs.missing_packages(["quixstreams"]):
        pytest.skip("Quix Streams is not installed here; make bench installs it")
    assert run("quix", served).digest == ours.digest


def test_a_processs_children_count() -> None:
    spin = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spin!r}])"
    before = usage.cpu_seconds(os.getpid())
    with (
        subprocess.Popen([sys.executable, "-c", script]) as child,
        usage.watched(child.pid) as peak,
    ):
        child.wait()
    assert usage.cpu_seconds(os.getpid()) - before >= 0.3
    assert peak.mb > 1


def test_a_living_descendant_counts_and_ends_with_the_watch() -> None:
    script = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert usage.cpu_seconds(child.pid) >= 0.29
        assert child.pid in usage.family(os.getpid())
        child.communicate(b"\n")
    deadline = time.monotonic() + 60
    while child.pid in usage.family(os.getpid()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert child.pid not in usage.family(os.getpid())


def test_the_page_has_rates_ratios_and_memory(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    timings = {
        "limit": [Timing(1, 1.0, 100, 9, "a"), Timing(1, 1.2, 110, 9, "a")],
        "batched": [Timing(1, 2.0, 200, 9, "a"), Timing(1, 2.0, 220, 9, "a")],
        "per-event": [Timing(1, 20.0, 300, 9, "a"), Timing(1, 24.0, 300, 9, "a")],
    }
    part = comparison.Part("text", 1_000, 10_000, 512.3, timings)
    lines = comparison.report([part], 2, ["quix: not installed"])
    assert "| `batched` | 2 | 5,000 | 5,000 to 5,000 | 11 | 0.55 | 220 |" in lines
    assert any("10,000 events of 512 bytes with text, 1,000 keys" in line for line in lines)
    assert "Left out: quix: not installed" in lines
    files = comparison.save([part], lines, tmp_path)
    assert [file.name for file in files] == [
        "comparison.md", "comparison.json", "comparison.svg",
    ]  # fmt: skip
    assert all(file.stat().st_size > 100 for file in files)
    assert "per-event" in files[2].read_text()
    kept = json.loads(files[1].read_text())
    assert kept["parts"][0]["timings"]["limit"][1]["cpu_s"] == 1.2


def test_a_slow_job_is_run_once_and_compared_in_that_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run_apart(name: str, case: Case, settings: Path | None) -> Timing:
        asked.append(name)
        return Timing(1, {"batched": 2.0, "quix": 90.0}[name], 100, 9, "a")

    monkeypatch.setattr(throughput, "run_apart", run_apart)
    case = Case(Path(__file__), 10, Path("bundle"), load_config(None, {}))
    timings = throughput.measure(case, ["batched", "quix"], 3, patience_s=60)
    assert asked == ["batched", "quix", "batched", "batched"]
    assert throughput.ratios(timings["batched"], timings["quix"]) == [45.0]


def test_without_matplotlib_table_and_figures_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    part = comparison.Part("text", 10, 10, 512.3, {"limit": [Timing(1, 1.0, 100, 9, "a")]})
    files = comparison.save([part], comparison.report([part], 1, []), tmp_path)
    assert [file.name for file in files] == ["comparison.md", "comparison.json"]
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_more_keys_are_for_our_own_jobs_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any of these there is nothing to say of the other numbers of keys."""
    asked = []

    def measure(
        case: Case, names: list[str], rounds: int, settings: Path, patience_s: float
    ) -> dict[str, list[Timing]]:
        asked.append(names)
        return {name: [Timing(1, 1.0, 100, 9, "a")] for name in names}

    monkeypatch.setattr(comparison, "measure", measure)
    monkeypatch.setattr(
        comparison,
        "prepare_zipf",
        lambda place, traffic, config: Case(Path(__file__), 10, place, config),
    )
    options = ["--kinds", "text", "--keys", "10", "20", "--jobs", "per-event"]
    parts = comparison.compare(comparison.parser().parse_args(options), tmp_path)
    assert asked == [["per-event"]]
    assert [part.keys for part in parts] == [10]
    assert comparison.report(parts, 1, [])


def test_what_is_missing_is_said_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISTILWATCH_LOCAL", str(tmp_path))
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    assert comparison.main(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "bytewax: the package bytewax is not installed here: `make bench` installs it" in said
    assert "detect-flink-2: Flink is not installed" in said
    assert "--skip-missing" in said
    assert not (tmp_path / "out").exists()
    left = ["--jobs", "bytewax", "quix", "--skip-missing", "--out", str(tmp_path / "out")]
    assert comparison.main(left) == 2
    assert "Nothing is left to compare" in capsys.readouterr().err
