"""The window protocol on a tiny folder of corpora."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.console import Console
from pipelines.protocol.power import BENIGN, powers
from pipelines.protocol.report import Results, as_csv, write
from pipelines.protocol.scorers import OURS
from pipelines.protocol.windows import (
    LEVELS,
    WindowOptions,
    conformal_p,
    draw,
    run_windows,
)
from schemas.errors import DistilwatchError

TINY = WindowOptions(
    sizes=(60,), mixtures=(0.1, 1.0), seeds=(1,), draws=200, benign=80, attack=12, refits=4,
    cells=64, least=100,
)  # fmt: skip
DATA = Path(
    os.environ.get("DISTILWATCH_DATA", Path(__file__).resolve().parents[4] / "shared" / "data")
)


def test_conformal_p_counts_ties_against_the_window() -> None:
    found = conformal_p(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.0, 2.0, 4.0]))
    assert found == pytest.approx([1.0, 0.8, 0.2])


def test_a_window_has_no_prompt_twice() -> None:
    windows = draw(np.arange(40, 60), 15, 30, np.random.default_rng(1))
    assert windows.shape == (30, 15)
    assert all(len(set(w)) == 15 and min(w) >= 40 for w in windows.tolist())


def test_all_attack_is_found_benign_is_not_and_the_same_seed_gives_the_same(
    corpora: Path, tmp_path: Path
) -> None:
    rows = run_windows(corpora, "report", TINY, Console(as_json=True))
    assert {r.source for r in rows} == {"ben_mmlu", "ben_restaurant8k"}
    assert {r.attack for r in rows} == {BENIGN, "atk_alpaca_5k", "atk_belle_zh"}
    [ours] = [p for p in powers(rows) if p.method == OURS and p.level == LEVELS[1]]
    assert ours.benign < 0.05
    assert ours.detected[1.0] == 1.0
    assert ours.windows == 160

    again = run_windows(corpora, "report", TINY, Console(as_json=True))
    assert as_csv(Results("", "report", rows)) == as_csv(Results("", "report", again))
    wrote = write(Results("command", "report", rows), tmp_path / "out")
    assert {path.name for path in wrote} == {"protocol.csv", "protocol.md", "power-60.svg"}
    page = (tmp_path / "out" / "protocol.md").read_text()
    assert "MMD" in page
    assert "as published" not in page


def test_a_corpus_too_small_for_a_window_is_left_out(corpora: Path) -> None:
    options = replace(TINY, sizes=(60, 400), baselines=False)
    rows = run_windows(corpora, "report", options, Console(as_json=True))
    assert {r.size for r in rows} == {60}


def test_what_is_missing_is_said(tmp_path: Path, corpora: Path) -> None:
    (tmp_path / "ben_mmlu.jsonl").write_text('{"text": "a word"}\n')
    with pytest.raises(DistilwatchError, match="no benign corpus of another part"):
        run_windows(tmp_path, "report", TINY, Console(as_json=True))
    with pytest.raises(DistilwatchError, match="with at least 5000 prompts"):
        run_windows(corpora, "report", replace(TINY, least=5_000), Console(as_json=True))


@pytest.mark.corpora
@pytest.mark.slow
@pytest.mark.skipif(
    not (DATA / "prompts").is_dir(), reason="no corpora: set DISTILWATCH_DATA to their folder"
)
def test_real_corpora_are_told_apart() -> None:
    # From a few divisions nobody learns how much divisions differ.
    several = replace(TINY, refits=25, draws=600)
    options = replace(several, sizes=(500,), mixtures=(0.25,), baselines=False, cells=512)
    rows = run_windows(DATA / "prompts", "choose", options, Console(as_json=True))
    [ours] = [p for p in powers(rows) if p.method == OURS and p.level == 0.01]
    assert ours.detected[0.25] > 0.9
    assert ours.benign < 0.05
