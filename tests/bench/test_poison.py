"""Poisoned indicators of a lab that is fully trusted flag nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.poison import measure
from tests.pipelines.test_share_commands import SETTINGS


@pytest.mark.slow
@pytest.mark.usefixtures("labs_are_forked")
def test_poisoned_indicators_flag_no_benign_account(tmp_path: Path) -> None:
    found: dict[str, Any] = measure(tmp_path, 160, 7_000, SETTINGS)
    assert found["benign_groups"] >= 3
    poisons = found["poisons"]
    assert len(poisons) == 9
    alike = list(poisons)[5:]
    for name, poison in poisons.items():
        assert poison["indicators"] >= 1, name
        assert poison["benign_newly_flagged"] == 0, (name, found)
        # What is equal touches at most twenty accounts of a small window for any one lab.
        assert name in alike or poison["accounts_sighted"] <= 20, name
    for name in ("network of many", "popular framework"):
        assert poisons[name]["sightings"] == 0, name
    assert poisons["all that benign groups share"]["sightings"] > 0
    # It does match: who knows a group as we do is alike to it. That it flags nobody is not that.
    assert any(poisons[name]["sightings"] > 0 for name in alike), poisons
