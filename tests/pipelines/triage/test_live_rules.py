"""Policies and allowlist that change while something runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config import Config
from pipelines.live_rules import LiveRules
from pipelines.oncall import OnCall, rules_of
from pipelines.settings import AlertsConfig
from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.triage.house import House
from pipelines.triage.queue import Queue
from pipelines.triage.queue_page import QueueFilter
from tests.support.desk import ACCOUNTS, cluster
from tests.support.triage import client_of
from transforms.alerts.book import Book

POLICY: dict[str, Any] = {
    "name": "coordinated-campaign", "description": "Clusters of several accounts, for tests.",
    "when": {"account_count": {"at_least": 2}}, "audience": "on-call", "owner": "team one",
    "runbook": "runbook.md#a-storm", "check": ["Look at the map."],
    "false_positives": ["A reseller."], "known_gaps": ["Single accounts."],
    "budget": {"alerts_per_day": 50},
}  # fmt: skip
ENTRY = {"name": "nile", "kind": "contract", "owner": "legal", "reason": "licence 17",
         "expires": "2099-01-01", "accounts": ["a[0-9c]*", "b[0-9]"]}  # fmt: skip


class Files:
    """Those that settings name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "policies"
        self.folder.mkdir()
        self.allow, self.channels = folder / "allow.yaml", folder / "channels.yaml"
        self.policy()
        self.allowlist()
        self.channels.write_text("channels: {}")
        self.settings = AlertsConfig(
            policies=str(self.folder), allow=str(self.allow), channels=str(self.channels)
        )

    def policy(self, **change: Any) -> None:
        (self.folder / "own.yaml").write_text(yaml.safe_dump(POLICY | change))

    def allowlist(self, *entries: dict[str, Any]) -> None:
        self.allow.write_text(yaml.safe_dump({"allow": list(entries)}))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def live_of(files: Files, told: list[str] | None = None) -> LiveRules:
    tell = (told if told is not None else []).append
    return LiveRules(files.settings, rules_of(files.settings), tell, every_s=0)


def owner(live: LiveRules) -> str:
    policy = live.look().rules.policies.named("coordinated-campaign")
    assert policy is not None
    return policy.owner


def test_a_changed_policy_counts_and_is_told_once(files: Files) -> None:
    told: list[str] = []
    live = live_of(files, told)
    first = live.look()
    assert (owner(live), told) == ("team one", [])
    files.policy(owner="team two")
    assert owner(live) == "team two"
    now = live.look()
    assert now.version != first.version
    assert now.since_ms >= first.since_ms
    assert told == [f"policies and allowlist were read anew; version {now.version} is in force"]
    files.policy(owner="team one")
    assert live.look().version == first.version  # the same words, the same version


@pytest.mark.parametrize("change", [{"budget": 3}, {"when": {"colour": {"at_least": 2}}}])
def test_a_bad_one_is_refused_with_a_word_and_the_old_one_stays(
    files: Files, change: dict[str, Any]
) -> None:
    told: list[str] = []
    live = live_of(files, told)
    before = live.look()
    files.policy(owner="team two", **change)
    now = live.look()
    assert now.rules is before.rules
    assert now.refused is not None
    assert now.refused.where.endswith("own.yaml")
    live.look()
    assert len(told) == 1  # once, however often one looks
    assert f"version {before.version} stays in force" in told[0]
    assert "own.yaml" in told[0]
    files.policy(owner="team three")
    assert live.look().refused is None
    assert owner(live) == "team three"


def test_files_that_come_and_go(files: Files) -> None:
    live = live_of(files)
    more = files.folder / "more.yml"
    more.write_text(yaml.safe_dump(POLICY | {"name": "another-one"}))
    assert live.look().rules.policies.named("another-one") is not None
    more.unlink()
    assert live.look().rules.policies.named("another-one") is None
    files.allow.unlink()
    refused = live.look().refused
    assert refused is not None
    assert "cannot be read" in refused.what
    files.allowlist(ENTRY)
    assert [e.name for e in live.look().rules.allowlist.allow] == ["nile"]


def test_other_channels_wait_for_a_restart_and_that_is_said(files: Files) -> None:
    live = live_of(files)
    assert not live.look().channels_changed
    files.channels.write_text("channels: {}\nroutes: []\n")
    assert live.look().channels_changed


def test_what_changed_while_the_first_ones_were_read_is_found(files: Files) -> None:
    rules = rules_of(files.settings)
    files.policy(owner="team two")
    told: list[str] = []
    live = LiveRules(files.settings, rules, told.append, every_s=0)
    assert owner(live) == "team two"
    assert owner(live) == "team two"
    assert len(told) == 1


def test_it_looks_now_and_then_only(files: Files) -> None:
    live = LiveRules(files.settings, rules_of(files.settings), every_s=3_600)
    files.policy(owner="team two")
    assert owner(live) == "team one"


def test_the_desk_of_a_run_goes_by_what_is_in_force(files: Files, tmp_path: Path) -> None:
    config = Config(alerts=files.settings)
    with Book(tmp_path / "book") as book:
        desk = OnCall(config, [], book, rules_of(files.settings), "r")
        desk._live._every_s = 0
        files.policy(when={"account_count": {"at_least": 100}})
        assert desk.look_at([cluster("c-1", severity="low")], ACCOUNTS)[0]["policy"] == (
            "worth-a-look"  # ours would have been the gravest, of four accounts
        )
        files.policy(severity={"at_least": "high"})
        (made,) = desk.look_at([cluster("c-2", revision=11)], {"c-2": ["b1", "b2"]})
        assert (made["policy"], made["severity"]) == ("coordinated-campaign", "high")
        files.allowlist(ENTRY)
        steps = desk.look_at([], {})  # nothing new: the allowlist alone
        assert {(row["step"], row["cluster_id"]) for row in steps} == {
            ("resolved", "c-1"), ("resolved", "c-2"),
        }  # fmt: skip


def test_pages_show_what_counts_and_what_was_refused(files: Files, tables: Path) -> None:
    rules = rules_of(files.settings)
    house = House(rules, None, LiveRules(files.settings, rules, every_s=0))
    client = client_of(tables, house=house)
    policies = client.get("/policies").text
    assert house.in_force.version in policies
    assert "team one" in policies
    files.policy(owner="team two")
    changed = client.get("/policies").text
    assert "team two" in changed
    assert house.in_force.version in changed
    assert house.in_force.version not in policies
    files.policy(owner="team three", budget="none")
    refused = client.get("/policies").text
    assert "The changed files are not in force" in refused
    assert "own.yaml" in refused
    assert "team two" in refused
    assert "team three" not in refused
    files.policy(owner="team two")
    assert "not in force" not in client.get("/policies").text


def test_the_allowlist_quiets_clusters_without_a_restart(files: Files, tables: Path) -> None:
    rules = rules_of(files.settings)
    house = House(rules, None, LiveRules(files.settings, rules, every_s=0))
    queue = Queue(DuckDBStore(tables), 0, house.quiet)
    queue.refresh()
    assert queue.page(QueueFilter(), 5).total > 0
    files.allowlist(ENTRY)
    queue.refresh()
    assert queue.page(QueueFilter(), 5).total == 0
    client = client_of(tables, house=house)
    assert "licence 17" in client.get("/quiet").text


def test_a_case_follows_the_policies(files: Files, tables: Path) -> None:
    rules = rules_of(files.settings)
    house = House(rules, None, LiveRules(files.settings, rules, every_s=0))
    client = client_of(tables, house=house)
    queue = Queue(DuckDBStore(tables), 0)
    queue.refresh()
    name = next(r for r in queue.page(QueueFilter(), 50).rows if r.accounts > 1).cluster_id
    assert "Look at the map." in client.get(f"/case/{name}").text
    files.policy(check=["Look out of the window."])
    assert "Look out of the window." in client.get(f"/case/{name}").text
