"""Whose identifiers are sealed: of what somebody has confirmed, as it is by now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.commands.share.match import match
from pipelines.matching import accounts_of
from schemas.errors import DistilwatchError
from tests.support.sharing import CLUSTER, Lab, add_cluster, make_lab
from transforms.alerts.decision_store import DispositionStore
from transforms.alerts.dispositions import decide


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return make_lab("lab-a", tmp_path / "a", None)


def say(lab: Lab, names: list[str], verdict: str, split: list[str] | None = None) -> None:
    DispositionStore(lab.tables).append(
        decide(
            {"cluster_id": CLUSTER}, names, verdict, by="a", why="b", at_ms=lab.now_ms,
            split_accounts=split or (),
        )
    )  # fmt: skip
    lab.now_ms += 1


def test_only_what_is_confirmed_is_sealed(lab: Lab) -> None:
    names = add_cluster(lab, accounts=6, confirm=False)
    with pytest.raises(DistilwatchError, match="nobody has confirmed"):
        accounts_of(lab.output, [CLUSTER], None)
    assert accounts_of(lab.output, [CLUSTER], None, suspects=True) == set(names)
    say(lab, names, "confirm")
    assert accounts_of(lab.output, [CLUSTER], None) == set(names)
    say(lab, names, "dismiss")
    with pytest.raises(DistilwatchError, match="what holds of it is dismiss"):
        accounts_of(lab.output, [CLUSTER], None)


def test_who_was_taken_out_or_has_left_is_not_sealed(lab: Lab) -> None:
    names = add_cluster(lab, accounts=8)
    say(lab, names, "split", names[:1])
    assert accounts_of(lab.output, [CLUSTER], None) == set(names[1:])
    later = add_cluster(lab, accounts=6, first=0, revision=901)  # two have left it
    assert accounts_of(lab.output, [CLUSTER], None) == set(later[1:])
    assert accounts_of(lab.output, [CLUSTER], None, suspects=True) == set(later[1:])


def test_a_folder_keeps_no_decisions(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(DistilwatchError, match="there is no such"):
        accounts_of(f"parquet:///{tmp_path / 'none'}", [CLUSTER], None)


def test_suspects_are_for_asking_only(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    names = add_cluster(lab, accounts=6, confirm=False)
    lines = [
        {"event_id": str(i), "event_time": "2026-06-01T00:00:00Z", "account_id": name,
         "payment_fingerprint": f"pm_{i}"}
        for i, name in enumerate(names)
    ]  # fmt: skip
    requests, sealed = tmp_path / "live.jsonl", tmp_path / "own.sealed"
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def call(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(match, [*arguments, "--json"])
        return done.exit_code, f"{done.output}{done.exception or ''}"

    seal = ("seal", "--input", str(requests), "--tables", lab.output, "--cluster", CLUSTER)
    out = ("--out", str(sealed))
    confirm = ("confirm", "--sealed", str(sealed), "--state", str(tmp_path / "m.sqlite"))
    code, said = call(*seal, *out)
    assert code != 0
    assert "nobody has confirmed" in said
    assert not sealed.exists()
    code, said = call(*seal, "--suspects", *out)
    assert code == 0, said
    code, said = call(*confirm)
    assert code != 0
    assert "nobody has confirmed" in said
    # What is added later does not make the rest of the file confirmed.
    say(lab, names, "confirm")
    assert call(*seal, *out)[0] == 0
    assert call(*confirm)[0] != 0
    assert call(*confirm, "--withdraw")[0] == 0
    own = ("--out", str(tmp_path / "confirmed.sealed"))
    assert call(*seal, *own)[0] == 0
    code, said = call("confirm", "--sealed", own[1], *confirm[3:])
    assert code == 0, said
