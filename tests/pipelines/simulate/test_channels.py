"""What members of a campaign share can be chosen, and is then all that they share."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from pipelines.sharing_drill.labs import campaign_events, command
from pipelines.simulate.scenario import parse_attack
from schemas.errors import DistilwatchError

FIELDS = ("payment_fingerprint", "ip_prefix", "client_fingerprint")


def test_channels_are_read_and_mistakes_told() -> None:
    assert parse_attack("hydra-disjoint:m=6,by=client+scaffold").channels == ("client", "scaffold")
    assert parse_attack("hydra-disjoint:m=6").channels == ()
    with pytest.raises(DistilwatchError, match="by names cards"):
        parse_attack("hydra-disjoint:by=cards+client")


def test_who_has_no_card_to_share_is_told_of(tmp_path: Path) -> None:
    """One account in 25 sends no fingerprint of a card, and shares a wording instead."""

    def notes(by: str) -> list[str]:
        found = command(
            tmp_path, "simulate", "--out", tmp_path / "out.jsonl", "--accounts", 0, "--days", 2,
            "--history-days", 1, "--attack", f"hydra-disjoint:m=60,rate=20,links=1,by={by}",
        )  # fmt: skip
        return list(found["notes"])

    [note] = notes("payment")
    paying: dict[str, bool] = defaultdict(bool)
    for event in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines()):
        paying[event["account_id"]] |= bool(event.get("payment_fingerprint"))
    alone = [account for account, pays in paying.items() if not pays]
    assert len(alone) >= 1
    assert f"campaign-001 (hydra-disjoint): {len(alone)} of 60 members" in note
    assert "by=payment share a wording" in note
    assert notes("scaffold") == []


def test_a_campaign_that_shares_a_wording_shares_no_more(tmp_path: Path) -> None:
    parts = campaign_events(tmp_path, "hydra-disjoint:m=6,rate=20,links=1,by=scaffold", 5, 3)
    assert [len(part) for part in parts] == [2, 2, 2]
    having: dict[tuple[str, str], set[str]] = defaultdict(set)
    openings: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        for account, lines in part.items():
            for event in map(json.loads, lines):
                for field in FIELDS:
                    if event.get(field):
                        having[field, event[field]].add(account)
                if event.get("prompt_text"):
                    openings[" ".join(event["prompt_text"].split()[:3])].add(account)
    accounts = {account for part in parts for account in part}
    assert max(map(len, openings.values())) == len(accounts)
    cards = [who for (field, _), who in having.items() if field == "payment_fingerprint"]
    assert cards
    assert max(map(len, cards)) == 1
