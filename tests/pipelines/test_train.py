"""What a history is measured by, and what a small one is told."""

from __future__ import annotations

import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import orjson
import pytest

from pipelines.config import Config
from pipelines.train import TrainOptions, _fit_space, _sketch_history, too_few
from tests.pipelines.conftest import SmallRun
from transforms.alerts.dispositions import decide
from transforms.coverage.layout import Sum
from transforms.embedding.left_out import LeftOut
from transforms.scoring.fit import PROFILE


def test_a_history_of_few_accounts_is_told_what_it_cannot_tell() -> None:
    # At max_p 0.01, with two fifths that calibrate: 99 of 248.
    config = Config()
    assert (config.alerts.max_p, config.scoring.calibration_share) == (0.01, 0.4)
    assert too_few(99, config) == ""
    assert "98 of them calibrate" in too_few(98, config)
    assert "1 of 99" in too_few(98, config)
    assert "about 248 accounts" in too_few(98, config)


@pytest.mark.slow
def test_the_history_is_measured_without_itself(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its accounts look nearer to what is usual than they will a week later."""
    monkeypatch.setenv("DISTILWATCH_HOME", str(small_run.home))
    inputs = [str(small_run.inputs / "history.jsonl")]
    options = TrainOptions(inputs, tmp_path / "bundle", Config(), "direct", [])
    (tmp_path / "sample").mkdir()
    fitted, left_out = _fit_space(options, str(tmp_path / "sample"))
    near = []
    for name, left in (("without", left_out), ("with", LeftOut())):
        (tmp_path / name).mkdir()
        levels, *_ = _sketch_history(options, fitted, left, str(tmp_path / name))
        sums = sum(key.sketch.sums for key in levels[PROFILE])
        near.append(sums[Sum.NEARNESS] / sums[Sum.VECTORS])
    without, itself = near
    assert without < itself - 20  # thousandths of a cosine


@pytest.mark.slow
def test_the_space_does_not_know_what_was_confirmed(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(small_run.home))
    history = small_run.inputs / "history.jsonl"
    lines, account = history.read_bytes().splitlines(), {}
    for line in lines:
        with suppress(orjson.JSONDecodeError, LookupError, TypeError):  # some are broken
            account[line] = orjson.loads(line)["account_id"]
    gone = set(sorted(name for name in set(account.values()) if isinstance(name, str))[::3])
    rest = tmp_path / "rest.jsonl"
    rest.write_bytes(b"\n".join(line for line in lines if str(account.get(line)) not in gone))
    confirmed = decide({"cluster_id": "c-1"}, sorted(gone), "confirm", by="ann", why="so", at_ms=1)
    fitted = []
    for name, path, decisions in (("a", history, (confirmed,)), ("b", rest, ())):
        (tmp_path / name).mkdir()
        options = TrainOptions(
            [str(path)], tmp_path / "bundle", Config(), "direct", [], decisions=decisions
        )
        fitted.append(_fit_space(options, str(tmp_path / name))[0])
    assert np.array_equal(fitted[0].space.codebook, fitted[1].space.codebook)
    assert pickle.dumps(fitted[0].capabilities) == pickle.dumps(fitted[1].capabilities)


@pytest.mark.slow
def test_in_the_space_of_another_bundle_nothing_is_left_out(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(small_run.home))
    inputs = [str(small_run.inputs / "history.jsonl")]
    of = small_run.made / "bundle"
    options = TrainOptions(inputs, tmp_path / "bundle", Config(), "direct", [], of)
    _, left_out = _fit_space(options, str(tmp_path))
    assert not len(left_out.events)
