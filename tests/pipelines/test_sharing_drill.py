"""The federation drill: three labs with brokers, stores and keys of their own, one campaign that is
too thin at each, and one exchange through a real TAXII server.

DISTILWATCH_DRILL_REPORT names a file for the figures, DISTILWATCH_DRILL_SEED is another world;
docs/sharing_drill.md has the figures of several.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from infra.local.services import KafkaBroker, ServiceError, kafka_libs
from pipelines.sharing_drill.attacks import chance_of_advantage, chance_of_auc
from pipelines.sharing_drill.drill import DrillOptions, lines, run_drill
from tests.support.taxii import OPEN, PASSWORD, USER, taxii_server

SETTINGS: dict[str, Any] = {
    "scoring": {
        "detectors": [
            {"name": "KNN", "params": {"n_neighbors": 5}},
            {"name": "IForest", "params": {"n_estimators": 30}},
        ]
    },
    "coverage": {"cells": 256, "codebook_sample": 3000},
}
CHANCE = 1e-4  # of each comparison below, that chance alone makes it fail


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, labs_are_forked: None) -> dict[str, Any]:
    try:
        kafka_libs()
    except ServiceError as missing:
        pytest.skip(str(missing))
    folder = tmp_path_factory.mktemp("drill")
    (folder / "forum").mkdir()
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILWATCH_HOME", str(folder / "home"))
        patch.setenv("DRILL_USER", USER)
        patch.setenv("DRILL_PASSWORD", PASSWORD)
        brokers = [stack.enter_context(KafkaBroker()).address for _ in range(3)]
        url = stack.enter_context(taxii_server(folder / "forum"))
        found = run_drill(
            DrillOptions(
                folder / "labs", f"{url}/{OPEN}/", "DRILL_USER", "DRILL_PASSWORD", brokers,
                settings=SETTINGS, seed=int(os.environ.get("DISTILWATCH_DRILL_SEED", "99")),
            )
        )  # fmt: skip
    print("\n".join(lines(found)))
    if os.environ.get("DISTILWATCH_DRILL_REPORT"):
        Path(os.environ["DISTILWATCH_DRILL_REPORT"]).write_text(
            json.dumps(found, indent=1, default=str)
        )
    return found


pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def test_labs_that_do_not_flag_the_campaign_alone_do_after_one_exchange(
    report: dict[str, Any],
) -> None:
    for lab in report["labs"]:
        assert lab["recall_before"] == 0, lab
        assert lab["recall_after"] >= 0.5, lab


def test_the_exchange_flags_no_customer(report: dict[str, Any]) -> None:
    for lab in report["labs"]:
        assert lab["benign_flagged_after"] <= lab["benign_flagged_before"], lab


def test_what_is_flagged_says_who_reported_it(report: dict[str, Any]) -> None:
    names = {lab["lab"] for lab in report["labs"]}
    for lab in report["labs"]:
        changed = [c for c in lab["clusters"] if c["by"]]
        assert changed, lab
        for cluster in changed:
            assert set(cluster["by"]) <= names - {lab["lab"]}
            assert cluster["alone"] / 10 <= cluster["p"] < cluster["alone"]
            assert "what other labs report" in cluster["reasons"][0]


def test_no_name_leaves_in_clear(report: dict[str, Any]) -> None:
    assert report["learnt"]["secrets_looked_for"] > 500
    assert report["learnt"]["secrets_found_in_clear"] == 0


def test_membership_in_a_coverage_sketch_stays_within_what_was_promised(
    report: dict[str, Any],
) -> None:
    for found in report["learnt"]["membership"].values():
        by_chance = chance_of_advantage(found["rounds"], CHANCE)
        assert found["advantage"] <= found["advantage_allowed"] + by_chance
        # What (ε, δ) allows, and the less that this noise does.
        for allowed in (found["auc_allowed"], found["auc_of_the_noise"]):
            most = allowed + chance_of_auc(found["rounds"], CHANCE)
            assert found["auc_who_knows_all_others"] <= most
            assert found["auc_who_knows_the_account"] <= most


def test_no_hash_of_a_network_leaves(report: dict[str, Any]) -> None:
    """All of them could be tried: tests/pipelines/sharing/test_attacks.py does."""
    assert report["learnt"]["networks"]["network_hashes"] == 0
    assert report["learnt"]["networks"]["seconds_for_all_networks"] < 3_600
