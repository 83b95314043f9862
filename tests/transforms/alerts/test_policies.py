"""Policies are data, so their content is tested; and what is wrong with a file is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.errors import DistilwatchError
from transforms.alerts.allowlist import Allowlist
from transforms.alerts.paging import PACKAGED, Policy, read_policies
from transforms.alerts.part import read_part
from transforms.alerts.policy import SEVERITIES
from transforms.alerts.routing import Channels

POLICIES = read_policies(None).policies
_RUNBOOK = PACKAGED / "runbook.md"


def _anchors() -> set[str]:
    """Anchors of the runbook's headings, as GitHub makes them."""
    headings = [
        line.lstrip("#").strip()
        for line in _RUNBOOK.read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    ]
    kept = ("".join(c for c in h.lower() if c.isalnum() or c in " -") for h in headings)
    return {text.replace(" ", "-") for text in kept}


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
def test_a_policy_says_what_people_need(policy: Policy) -> None:
    page, _, heading = policy.runbook.partition("#")
    assert page == "runbook.md"
    assert heading in _anchors(), f"{_RUNBOOK} has no heading for {policy.runbook}"
    assert policy.description.endswith(".")
    for line in (*policy.false_positives, *policy.known_gaps):
        assert len(line) > 20
    assert all(len(line) < 120 for line in policy.check), "messages are short"
    rank = SEVERITIES.index
    assert rank(policy.severity.at_least) <= rank(policy.severity.at_most)
    wakes = policy.audience == "on-call"
    assert policy.budget.alerts_per_day <= (20 if wakes else 100)
    assert policy.budget.storm_alerts <= policy.budget.alerts_per_day


def test_whom_a_policy_is_for_fits_its_severity() -> None:
    for policy in POLICIES:
        if policy.audience == "review":
            assert policy.severity.at_most == "low", f"{policy.name} would wake nobody at {policy}"


def _row(severity: str, accounts: int, *tactics: str) -> dict[str, Any]:
    return {
        "severity": severity, "account_count": accounts, "tactics": list(tactics),
        "exposure_usd": 1.0, "p_value": 0.01, "capabilities": [], "links": [], "known_texts": [],
    }  # fmt: skip


def test_whatever_is_flagged_falls_under_a_policy() -> None:
    names = set()
    for severity in SEVERITIES:
        for accounts in (1, 2, 500):
            for tactics in ((), ("benchmark_evaluation",), ("replay",), ("bulk", "replay")):
                match = read_policies(None).of(_row(severity, accounts, *tactics))
                assert match is not None, (severity, accounts, tactics)
                names.add(match[0].name)
    assert names == {policy.name for policy in POLICIES}


@pytest.mark.parametrize(
    ("row", "name", "severity"),
    [
        (_row("critical", 40), "coordinated-campaign", "critical"),
        (_row("critical", 1), "lone-harvester", "high"),
        (_row("low", 5), "worth-a-look", "low"),
        (_row("low", 5, "replay"), "known-extraction-replayed", "high"),
        (_row("low", 5, "benchmark_evaluation"), "public-evaluation", "low"),
    ],
)
def test_which_policy_makes_the_alert(row: dict[str, Any], name: str, severity: str) -> None:
    match = read_policies(None).of(row)
    assert match is not None
    assert (match[0].name, match[1]) == (name, severity)


def _packaged(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PACKAGED / name).read_text(encoding="utf-8"))
    return loaded


def test_own_policies_replace_packaged_ones_by_name(tmp_path: Path) -> None:
    own = _packaged("campaign.yaml") | {"severity": {"at_most": "low"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own))
    found = read_policies(tmp_path).of(_row("critical", 40))
    assert found is not None
    assert found[1] == "low"
    assert len(read_policies(tmp_path).policies) == len(POLICIES)
    own = own | {"makes": "nothing"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own))
    assert read_policies(tmp_path).of(_row("critical", 40)) is None


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"runbook": None}, "runbook"),
        ({"known_gaps": []}, "known_gaps"),
        ({"when": {"acounts": {"at_least": 1}}}, "acounts"),
        ({"severity": {"at_least": "urgent"}}, "severity.at_least"),
        ({"budget": {"alerts_per_day": 0}}, "alerts_per_day"),
        ({"name": "Has Spaces"}, "name"),
    ],
)
def test_what_is_wrong_with_a_policy_is_said(
    tmp_path: Path, change: dict[str, Any], what: str
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(_packaged("campaign.yaml") | change))
    with pytest.raises(DistilwatchError, match=what) as caught:
        read_policies(tmp_path)
    assert str(path) == caught.value.where


def test_two_files_cannot_hold_the_same_policy(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text((PACKAGED / "campaign.yaml").read_text())
    with pytest.raises(DistilwatchError, match=r"a\.yaml as well"):
        read_policies(tmp_path)


@pytest.mark.parametrize(
    ("text", "model", "what"),
    [
        ("allow: [{name: all-of-it, kind: other, owner: me, reason: because, "
         "expires: 2027-01-01, accounts: ['*']}]", Allowlist, "every account"),
        ("allow: [{name: no-end, kind: contract, owner: me, reason: because, accounts: [a]}]",
         Allowlist, "expires"),
        ("routes: [{channels: [pagr]}]\nchannels: {pager: {kind: pagerduty, routing_key: "
         "{env: K}}}", Channels, "did you mean pager"),
        ("channels: {s: {kind: slack}}", Channels, "either webhook or token"),
        ("channels: {s: {kind: webhook, url: x, secret: hunter2}}", Channels, "secret"),
        ("channels: {s: {kind: webhook, url: 'https://hunter2@[x', secret: {env: K}}}", Channels,
         "webhook.url: is no address such as"),
        ("channels: {s: {kind: webhook, url: 'ftp://h/x', secret: {env: K}}}", Channels,
         "is no address"),
        ("channels: {s: {kind: pagerduty, url: 'h:99999', routing_key: {env: K}}}", Channels,
         "is no address"),
        ("channels: {s: {kind: kafka, uri: 'kafka://[x/t'}}", Channels, "no host and port"),
        ("channels: {s: {kind: kafka, uri: 'kafka://h:9092/'}}", Channels, "no topic"),
        ("quiet_hours: [{severity: [low], begin: '20:00', end: '08:00', zone: Mars/X}]",
         Channels, "no time zone"),
        (": : :", Channels, "not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_channels_and_allowlists_is_said(
    tmp_path: Path, text: str, model: Any, what: str
) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(DistilwatchError, match=what) as caught:
        read_part(path, model)
    assert "hunter2" not in str(caught.value)
