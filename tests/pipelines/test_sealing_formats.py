"""Sealing reads what `detect` reads, and says what it could not read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import load_config
from pipelines.sealing import SealCounts, own_sealer, seal
from schemas.errors import DistilwatchError
from tests.support import gateways
from transforms.sharing.private.identifiers import PAYMENT
from transforms.sharing.private.sealed import read_sealed


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))


def an_event(i: int, account: str) -> dict[str, Any]:
    return {
        "event_id": f"e{i}", "event_time": "2026-06-01T00:00:00Z", "account_id": account,
        "payment_fingerprint": f"pm_{i}", "client_fingerprint": "ja4", "prompt_text": "hello there",
    }  # fmt: skip


def sealed_of(tmp_path: Path, lines: list[Any], settings: str, *accounts: str) -> SealCounts:
    requests, file = tmp_path / "live.jsonl", tmp_path / "settings.yaml"
    requests.write_text(
        "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines)
    )
    file.write_text(settings)
    return seal([str(requests)], accounts, tmp_path / "own.sealed", load_config(file))


@pytest.mark.parametrize("form", ["events", "litellm", "kong"])
def test_records_of_a_gateway_are_read_as_detect_reads_them(tmp_path: Path, form: str) -> None:
    events = [an_event(0, "a-1"), an_event(1, "a-2"), an_event(2, "b-1")]
    lines = [e if form == "events" else getattr(gateways, form)(e) for e in events]
    done = sealed_of(
        tmp_path, [*lines, "spoilt"], f"ingest: {{format: {form}}}", "a-1", "a-2", "a-3"
    )
    assert (done.accounts, done.unread) == (2, 1)
    sealer = own_sealer()
    found = {one.point for one in read_sealed(tmp_path / "own.sealed", sealer)}
    assert {sealer.seal(PAYMENT, card) for card in ("pm_0", "pm_1")} <= found
    assert sealer.seal(PAYMENT, "pm_2") not in found
    assert done.sealed == len(found) == 3


def test_an_input_without_the_accounts_is_no_success(tmp_path: Path) -> None:
    lines = [gateways.litellm(an_event(0, "a-1"))]
    with pytest.raises(DistilwatchError, match=r"none of the 1 accounts.*1 records could not"):
        sealed_of(tmp_path, lines, "{}", "a-1")
    with pytest.raises(DistilwatchError, match=r"none of the 1 accounts has a request in it \("):
        sealed_of(tmp_path, [an_event(0, "a-1")], "{}", "a-2")
