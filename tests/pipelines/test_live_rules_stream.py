"""Policies and allowlist that change while `detect` goes on: a real broker, Prism, the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.services import KafkaBroker
from tests.support.events import START_MS
from tests.support.kafka import new_topic
from tests.support.sketches import small_bundle
from tests.support.small_world import as_lines, requests, settings_file
from tests.support.stream import Stream
from transforms.scoring.bundle import save_bundle

HOUR = 3_600_000
POLICY: dict[str, Any] = {
    "name": "pairs", "description": "Clusters of several accounts, for tests.",
    "when": {"account_count": {"at_least": 2}}, "severity": {"at_least": "high"},
    "audience": "on-call", "owner": "team one", "runbook": "runbook.md#a-storm",
    "check": ["Look at the map."], "false_positives": ["A reseller."],
    "known_gaps": ["Single accounts."], "budget": {"alerts_per_day": 1000, "storm_alerts": 1000},
}  # fmt: skip
ENTRY = {"name": "nile", "kind": "contract", "owner": "legal", "reason": "licence 17",
         "expires": "2099-01-01", "accounts": ["first-*"]}  # fmt: skip
_OF = """ SEMI JOIN (SELECT cluster_id FROM cluster_members WHERE account_id LIKE '{}%')
    USING (cluster_id) WHERE policy = 'pairs'"""
STEPS = "SELECT step, severity, policy_version, reason FROM alerts" + _OF
OPEN = "SELECT alert_id FROM current_alerts" + _OF + " AND state <> 'resolved'"


@pytest.mark.kafka
@pytest.mark.prism
@pytest.mark.slow
def test_changed_rules_count_while_a_stream_runs_and_bad_ones_are_refused(
    kafka: KafkaBroker, prism: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    save_bundle(small_bundle(1), tmp_path / "bundle")  # of another world: everybody stands out
    policies, allow = tmp_path / "policies", tmp_path / "allow.yaml"
    policies.mkdir()
    own = policies / "own.yaml"
    own.write_text(yaml.safe_dump(POLICY))
    allow.write_text(yaml.safe_dump({"allow": []}))
    topic = new_topic(kafka, 2)

    rules = {"max_p": 0.05, "pages_per_day": 1000, "false_discovery_rate": 0.9,
             "policies": str(policies), "allow": str(allow)}  # fmt: skip
    settings = settings_file(tmp_path)
    settings.write_text(yaml.safe_dump(yaml.safe_load(settings.read_text()) | {"alerts": rules}))

    def send(prefix: str, hour: int) -> None:
        made = requests(20, 8, HOUR, START_MS + hour * HOUR, hour, prefix)
        made = [e | {"payment_fingerprint": f"{prefix}-{e['payment_fingerprint']}"} for e in made]
        topic.produce((i % 2, line) for i, line in enumerate(as_lines(made)))

    def opened(prefix: str) -> set[tuple[Any, ...]]:
        """Severity and version of the policy of alerts about some accounts."""
        return {row[1:3] for row in stream.rows(STEPS.format(prefix)) if row[0] == "opened"}

    with Stream(tmp_path, prism, f"{topic.uri}?bounded=false", tmp_path / "bundle", settings) as (
        stream
    ):
        send("first", 0)
        stream.until(lambda: bool(opened("first")))
        ((severity, version),) = opened("first")
        assert severity == "high"

        # A bad one is refused with a word, and what is flagged now falls under the old one.
        own.write_text(yaml.safe_dump(POLICY | {"severity": {"at_least": "grave"}}))
        stream.until_said("policies or allowlist cannot be used")
        send("second", 2)
        stream.until(lambda: bool(opened("second")))
        assert opened("second") == {("high", version)}
        (said,) = (x for x in stream.log.read_text().splitlines() if "cannot be used" in x)
        assert "own.yaml" in said
        assert "stays in force until that is mended" in said

        # A good one counts for what is flagged from now on, the allowlist for what is open.
        own.write_text(yaml.safe_dump(POLICY | {"severity": {"at_least": "critical"}}))
        allow.write_text(yaml.safe_dump({"allow": [ENTRY]}))
        stream.until_said("policies and allowlist were read anew")
        stream.until(lambda: not stream.rows(OPEN.format("first")))
        over = [row[3] for row in stream.rows(STEPS.format("first")) if row[0] == "resolved"]
        assert over
        assert all("licence 17" in why for why in over)
        assert stream.rows(OPEN.format("second"))
        send("third", 4)
        stream.until(lambda: bool(opened("third")))
        ((severity, newer),) = opened("third")
        assert severity == "critical"
        assert newer != version
        stream.stop()
    assert "Traceback" not in stream.errors()
