"""What is taken back reaches everybody who had it, sooner or later."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pipelines.commands.share import share
from pipelines.sharing import outbound, signoff
from pipelines.sharing.store import Proposal
from schemas.errors import DistilwatchError
from tests.support.sharing import CLUSTER, Lab, add_cluster, make_lab, taken_back
from transforms.sharing import taxii

OTHER = "c-" + "f" * 16


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A lab with two recipients, neither of which has a server that answers."""
    made = make_lab("lab-a", tmp_path / "a", {"url": "http://127.0.0.1:9/x/"})
    change(made, lambda to: to.update(press=dict(to["forum"])))
    return made


def change(lab: Lab, edit: Any) -> None:
    file = lab.folder / "sharing.yaml"
    policy = yaml.safe_load(file.read_text())
    edit(policy["recipients"])
    file.write_text(yaml.safe_dump(policy))


def leave(lab: Lab, to: str, cluster: str = CLUSTER, output: str = "") -> Proposal:
    made = outbound.propose(
        lab.policy, lab.store, output or lab.output, cluster, to, "ana"
    ).proposal
    assert made is not None
    signoff.approve(lab.policy, lab.store, made.name, made.digest, "ben")
    return signoff.publish(lab.policy, lab.store, made.name, "ben", lab.folder / f"{to}.json")


def command(lab: Lab, *arguments: str) -> tuple[int, dict[str, Any], str]:
    where = ["--store", str(lab.folder / "store"), "--policy", str(lab.folder / "sharing.yaml")]
    done = CliRunner().invoke(share, [*arguments, *where, "--json"])
    return done.exit_code, json.loads(done.stdout), done.stderr


def test_a_server_that_was_down_is_told_by_the_same_command(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(lab, lambda to: to.pop("press"))
    add_cluster(lab)
    leave(lab, "forum")
    reached: list[list[str]] = []
    working = {"now": False}

    def publish(_: object, objects: list[dict[str, Any]]) -> int:
        if not working["now"]:
            raise DistilwatchError("it does not answer", "there", "try again")
        reached.append([o["id"] for o in objects if o.get("revoked")])
        return len(objects)

    monkeypatch.setattr(taxii, "publish", publish)
    revoke = ("revoke", CLUSTER, "--why", "ours", "--by", "ana")
    code, first, said = command(lab, *revoke)
    assert code == 2
    [name] = first["proposals"]
    assert first["failed"] == [name]
    assert f"`distilwatch share publish {name}`" in said
    code, second, _ = command(lab, *revoke)  # still down, and it is not said that nothing is left
    assert (code, second["proposals"]) == (2, [name])
    working["now"] = True
    code, third, _ = command(lab, *revoke)
    assert (code, third["proposals"], third["sent"]) == (0, [name], ["sent"])
    assert len(reached[0]) == 3
    assert all(one.revoked for one in lab.shared.indicators("shared"))
    with pytest.raises(DistilwatchError, match="was taken back"):
        taken_back(lab, CLUSTER, "again")


def test_one_that_waits_is_finished_and_none_is_made_beside_it(lab: Lab) -> None:
    add_cluster(lab)
    leave(lab, "forum")
    lab.now_ms += 1_000
    [back] = taken_back(lab, CLUSTER, "ours")
    lab.now_ms += 1_000
    [again] = taken_back(lab, CLUSTER, "ours")
    assert again == back
    # One that takes back less leaves the rest to another.
    assert signoff.reject(lab.store, back.name, "anew", "ana").state == "rejected"
    one = lab.shared.indicators("shared")[0].indicator_id
    [part] = taken_back(lab, one, "ours")
    lab.now_ms += 1_000
    both = taken_back(lab, CLUSTER, "ours")
    assert [p.objects for p in both] == [2, 3]  # with whose they are
    assert both[0] == part


def test_a_recipient_that_has_left_the_policy_keeps_nobody_from_being_told(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_cluster(lab)
    for to in ("forum", "press"):
        leave(lab, to)
    told: list[str] = []
    monkeypatch.setattr(taxii, "publish", lambda place, _: told.append(place.name))
    change(lab, lambda to: to.pop("forum"))
    revoke = ("revoke", CLUSTER, "--why", "ours", "--by", "ana")
    code, done, said = command(lab, *revoke)
    assert (code, told, done["sent"], done["not_told"]) == (2, ["press"], ["sent"], ["forum"])
    assert "forum had it and was not told: nothing may leave to forum" in said
    change(lab, lambda to: to.update(forum=dict(to["press"])))
    code, done, _ = command(lab, *revoke)
    assert (code, told, done["not_told"]) == (0, ["press", "forum"], [])


def test_the_tables_that_something_left_from_know_that_it_was_taken_back(
    lab: Lab, tmp_path: Path
) -> None:
    second = replace(lab, folder=tmp_path / "second")  # another run's tables, the same store
    second.folder.mkdir()
    second.put({})
    add_cluster(lab)
    add_cluster(second, cluster=OTHER, others={"prefix_scaffold": 0, "suffix_scaffold": 0})
    leave(lab, "forum")
    leave(lab, "forum", OTHER, second.output)
    count = len(second.shared.indicators("shared"))
    assert count
    lab.now_ms += 60_000
    [back] = taken_back(lab, OTHER, "ours")
    signoff.publish(lab.policy, lab.store, back.name, "ana", tmp_path / "back.json")
    assert [one.revoked for one in second.shared.indicators("shared")] == [True] * count
    # What both had told of is taken back in both; what only the first had is as it was.
    both = {one.indicator_id for one in second.shared.indicators("shared")}
    for one in lab.shared.indicators("shared"):
        assert one.revoked == (one.indicator_id in both)
