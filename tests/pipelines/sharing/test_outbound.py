"""Nothing leaves by default; what leaves was looked at, approved by another person, and logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import stix2
import yaml
from stix2validator import ValidationOptions, validate_parsed_json

from pipelines.sharing import outbound, signoff
from pipelines.sharing.policy import read_policy
from schemas.errors import DistilwatchError
from tests.support.leaks import every_text
from tests.support.sharing import (
    CLUSTER,
    COMMON,
    WORDING,
    Lab,
    add_cluster,
    make_lab,
    taken_back,
    write_policy,
)
from transforms.alerts.decision_store import DispositionStore
from transforms.alerts.dispositions import decide
from transforms.sharing.canonical import digest
from transforms.sharing.indicators import Kind, Marking
from transforms.sharing.log import ShareLog
from transforms.sharing.payloads import decode_behaviour, decode_coverage
from transforms.sharing.privacy import epsilon_of, rho_of, sigma_for


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return make_lab("lab-a", tmp_path / "a", None)


def propose(lab: Lab) -> outbound.Proposed:
    return outbound.propose(lab.policy, lab.store, lab.output, CLUSTER[:6], "forum", "ana")


def leave(lab: Lab, file: Path) -> bytes:
    made = propose(lab).proposal
    assert made is not None
    signoff.approve(lab.policy, lab.store, made.name, made.digest, "ben")
    signoff.publish(lab.policy, lab.store, made.name, "ben", file)
    return file.read_bytes()


def test_without_a_policy_nothing_may_leave(tmp_path: Path) -> None:
    with pytest.raises(DistilwatchError, match="nothing may leave"):
        read_policy(tmp_path / "none.yaml")


def test_the_policy_in_the_documentation_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "sharing.md").read_text(encoding="utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]
    (tmp_path / "p.yaml").write_text(example, encoding="utf-8")
    policy = read_policy(tmp_path / "p.yaml")
    assert policy.terms("forum").valid_ms == 30 * 86_400_000
    assert policy.settings.feeds["forum"].trusted == {"lab-b": "keys/lab-b.pem"}


def test_every_mistake_of_a_policy_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "lab: '<x>'\nrecipients: {forum: {kinds: [payment], epsilon: 99, more: 1}}\n"
    )
    with pytest.raises(DistilwatchError) as caught:
        read_policy(tmp_path / "p.yaml")
    for part in ("lab", "kinds", "epsilon", "more: is no setting"):
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["lab: 2026-13-45", "[" * 3_000, "lab: [", "\udcff"])
def test_what_is_no_yaml_is_told_in_one_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DistilwatchError, match="cannot be read"):
        read_policy(tmp_path / "p.yaml")


def test_only_confirmed_clusters_are_told_of(lab: Lab) -> None:
    names = add_cluster(lab, confirm=False)
    with pytest.raises(DistilwatchError, match="nobody has confirmed"):
        propose(lab)
    store = DispositionStore(lab.tables)
    for verdict in ("confirm", "dismiss"):
        store.append(
            decide({"cluster_id": CLUSTER}, names, verdict, by="a", why="b", at_ms=lab.now_ms)
        )
        lab.now_ms += 1
    with pytest.raises(DistilwatchError, match="dismiss"):
        propose(lab)
    assert lab.store.proposals() == []


def test_a_cluster_that_was_split_is_not_told_of(lab: Lab) -> None:
    names = add_cluster(lab)
    DispositionStore(lab.tables).append(
        decide({"cluster_id": CLUSTER}, names, "split", by="a", why="b", at_ms=lab.now_ms + 1,
               split_accounts=names[:1])
    )  # fmt: skip
    with pytest.raises(DistilwatchError, match="taken out"):
        propose(lab)
    add_cluster(lab, accounts=len(names) - 1, first=1, revision=901)  # detection has run again
    assert propose(lab).proposal is not None


def test_only_named_recipients_get_anything(lab: Lab) -> None:
    add_cluster(lab)
    with pytest.raises(DistilwatchError, match="nothing may leave to press"):
        outbound.propose(lab.policy, lab.store, lab.output, CLUSTER, "press", "ana")


def test_what_stays_says_why(lab: Lab) -> None:
    add_cluster(lab)
    made = propose(lab)
    told = {(c.kind, c.indicator is not None): c.why for c in made.candidates}
    assert (Kind.PREFIX_SCAFFOLD, True) in told
    assert (Kind.BEHAVIOUR, True) in told
    assert (Kind.COVERAGE, True) in told
    assert told[Kind.NETWORK, False] == "forum may not have this kind"
    assert "below 60" in told[Kind.CLIENT, False]  # half of those who have it are others


@pytest.mark.parametrize("end", ["opening", "closing"])
def test_a_wording_that_customers_use_is_told_of_by_its_sentence(
    lab: Lab, tmp_path: Path, end: str
) -> None:
    words = {"opening": Kind.PREFIX_SCAFFOLD, "closing": Kind.SUFFIX_SCAFFOLD}[end]
    add_cluster(lab, others={words.value: 3, f"{end}_sentence": 0})
    found = {c.kind: c for c in propose(lab).candidates}
    assert found[words].indicator is None
    assert found[words].why == "3 accounts that are not of the cluster have it, too"
    data = leave(lab, tmp_path / "left.json")
    patterns = [one["pattern"] for one in orjson.loads(data)["objects"] if "pattern" in one]
    assert [WORDING in one and f"{end}_sentence" in one for one in patterns].count(True) == 1
    assert not any(words.value in one for one in patterns)


def test_small_clusters_tell_nothing_at_all(lab: Lab) -> None:
    add_cluster(lab, accounts=4)
    made = propose(lab)
    assert made.proposal is None
    assert {c.why for c in made.candidates} == {"the cluster has 4 accounts, fewer than 5"}
    assert lab.store.spent() == {}


def test_what_was_seen_long_ago_stays_and_says_so(lab: Lab) -> None:
    add_cluster(lab)
    lab.now_ms += 30 * 86_400_000  # confirmed, and then forgotten for as long as indicators hold
    made = propose(lab)
    assert made.proposal is None
    [why] = {c.why for c in made.candidates}
    assert why.startswith("it was last seen on 2026-09-21, and what forum gets holds for 30 days")
    assert lab.store.spent() == {}  # no noise was drawn for what stays


def test_what_is_over_when_somebody_approves_it_does_not_leave(lab: Lab) -> None:
    add_cluster(lab)
    made = propose(lab).proposal
    assert made is not None
    lab.now_ms += 30 * 86_400_000
    with pytest.raises(DistilwatchError, match="it is over since 2026-10-21"):
        signoff.approve(lab.policy, lab.store, made.name, made.digest, "ben")


def test_networks_need_two_words_to_leave_in_clear(lab: Lab) -> None:
    given = ["network", "behaviour"]
    write_policy(lab, None, kinds=given)
    with pytest.raises(DistilwatchError, match="forum would get networks") as refused:
        assert lab.policy
    for way in ("share match --kind network", "limits.networks_in_clear"):
        assert way in str(refused.value)
    policy = yaml.safe_load(lab.folder.joinpath("sharing.yaml").read_text())
    policy.setdefault("limits", {})["networks_in_clear"] = True
    lab.folder.joinpath("sharing.yaml").write_text(yaml.safe_dump(policy))
    assert Kind.NETWORK in lab.policy.terms("forum").kinds


def test_nothing_leaves_before_somebody_else_has_approved_those_very_bytes(
    lab: Lab, tmp_path: Path
) -> None:
    add_cluster(lab)
    made = propose(lab).proposal
    assert made is not None
    file = tmp_path / "out.json"
    with pytest.raises(DistilwatchError, match="approve"):
        signoff.publish(lab.policy, lab.store, made.name, "ana", file)
    with pytest.raises(DistilwatchError, match="somebody else"):
        signoff.approve(lab.policy, lab.store, made.name, made.digest, "Ana")
    with pytest.raises(DistilwatchError, match="is not what"):
        signoff.approve(lab.policy, lab.store, made.name, "0" * 12, "ben")
    with pytest.raises(DistilwatchError, match="is not what"):
        signoff.approve(lab.policy, lab.store, made.name, made.digest[:11], "ben")
    with pytest.raises(DistilwatchError, match="nobody is named"):
        signoff.approve(lab.policy, lab.store, made.name, made.digest, " ")
    assert not file.exists()
    signoff.approve(lab.policy, lab.store, made.name, made.digest[:12], "ben")
    done = signoff.publish(lab.policy, lab.store, made.name, "ben", file)
    assert done.state == "sent"
    assert digest(file.read_bytes()) == made.digest
    assert [e["action"] for e in lab.store.log.entries()] == [
        "draw", "propose", "approve", "send", "sent",
    ]  # fmt: skip
    with pytest.raises(DistilwatchError, match="is sent"):
        signoff.publish(lab.policy, lab.store, made.name, "ben", file)


def test_bytes_that_were_changed_after_they_were_approved_do_not_leave(
    lab: Lab, tmp_path: Path
) -> None:
    add_cluster(lab)
    made = propose(lab).proposal
    assert made is not None
    signoff.approve(lab.policy, lab.store, made.name, made.digest, "ben")
    kept = lab.store.folder / "objects" / made.digest
    kept.write_bytes(kept.read_bytes().replace(b"lab-a", b"lab-b"))
    with pytest.raises(DistilwatchError, match="were changed"):
        signoff.publish(lab.policy, lab.store, made.name, "ben", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_a_policy_that_became_stricter_stops_what_was_approved(lab: Lab, tmp_path: Path) -> None:
    add_cluster(lab)
    made = propose(lab).proposal
    assert made is not None
    signoff.approve(lab.policy, lab.store, made.name, made.digest, "ben")
    write_policy(lab, None, kinds=["behaviour"])
    with pytest.raises(DistilwatchError, match="stopped at the gate"):
        signoff.publish(lab.policy, lab.store, made.name, "ben", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("by", ["ana", " Ana ", "ANA", "\uff41\uff4e\uff41"])
def test_the_same_person_by_another_spelling_is_nobody_else(lab: Lab, by: str) -> None:
    add_cluster(lab)
    made = propose(lab).proposal
    assert made is not None
    with pytest.raises(DistilwatchError, match="ana has proposed it, and somebody else must"):
        signoff.approve(lab.policy, lab.store, made.name, made.digest, by)


def test_a_policy_that_wants_two_people_by_now_stops_what_one_has_approved(
    lab: Lab, tmp_path: Path
) -> None:
    write_policy(lab, None, two_people=False)
    add_cluster(lab)
    made = propose(lab).proposal
    assert made is not None
    signoff.approve(lab.policy, lab.store, made.name, made.digest, "ana")
    write_policy(lab, None, two_people=True)
    with pytest.raises(DistilwatchError, match=r"two_people.*reject"):
        signoff.publish(lab.policy, lab.store, made.name, "ben", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
    write_policy(lab, None, two_people=False)
    signoff.publish(lab.policy, lab.store, made.name, "ben", tmp_path / "out.json")
    write_policy(lab, None, two_people=True)  # taking back needs one person under any policy
    [back] = taken_back(lab, CLUSTER, "ours")
    assert signoff.publish(lab.policy, lab.store, back.name, "ana", tmp_path / "b.json").state == (
        "sent"
    )


@pytest.mark.parametrize("what", ["", "c", "i", "indicator--", "p", "campaign-"])
def test_what_is_taken_back_for_ever_is_never_guessed(lab: Lab, tmp_path: Path, what: str) -> None:
    other = "c-" + "f" * 16
    for name in (CLUSTER, other):
        add_cluster(lab, cluster=name)
        made = outbound.propose(lab.policy, lab.store, lab.output, name, "forum", "ana").proposal
        assert made is not None
        signoff.approve(lab.policy, lab.store, made.name, made.digest, "ben")
        signoff.publish(lab.policy, lab.store, made.name, "ben", tmp_path / "out.json")
    before = lab.store.log.entries()
    with pytest.raises(DistilwatchError, match=r"begin with|begins with nothing"):
        taken_back(lab, what, "why")
    assert lab.store.log.entries() == before
    [back] = taken_back(lab, "c-f", "why")
    assert back.about == f"revoke {other}"


def test_a_rejected_proposal_is_at_its_end(lab: Lab) -> None:
    add_cluster(lab)
    made = propose(lab).proposal
    assert made is not None
    assert signoff.reject(lab.store, made.name, "too early", "ben").state == "rejected"
    with pytest.raises(DistilwatchError, match="is rejected"):
        signoff.approve(lab.policy, lab.store, made.name, made.digest, "ben")


@pytest.mark.parametrize("other", ["reject", "approve", "send"])
def test_a_decision_does_not_undo_one_that_was_made_meanwhile(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Two people at once: between looking at a proposal and the log, somebody else writes there."""
    add_cluster(lab)
    made = propose(lab).proposal
    assert made is not None
    append_if = ShareLog.append_if
    done: list[str] = []

    def late(self: ShareLog, known: int, action: str, at_ms: int, **what: Any) -> Any:
        if not done:
            done.append(action)
            self.append(other, at_ms, proposal=made.name, by="cem")
        return append_if(self, known, action, at_ms, **what)

    monkeypatch.setattr(ShareLog, "append_if", late)
    with pytest.raises(DistilwatchError, match="cannot be rejected"):
        signoff.reject(lab.store, made.name, "too early", "ben")
    assert lab.store.log.entries()[-1]["action"] == other


def test_what_others_log_meanwhile_stops_nobody(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_cluster(lab)
    made = propose(lab).proposal
    assert made is not None
    append_if = ShareLog.append_if

    def late(self: ShareLog, known: int, action: str, at_ms: int, **what: Any) -> Any:
        if self.entries()[-1]["action"] != "poll":
            self.append("poll", at_ms, feed="forum")
        return append_if(self, known, action, at_ms, **what)

    monkeypatch.setattr(ShareLog, "append_if", late)
    signoff.approve(lab.policy, lab.store, made.name, made.digest, "ben")
    done = signoff.publish(lab.policy, lab.store, made.name, "ben", tmp_path / "out.json")
    assert done.state == "sent"


def test_what_leaves_names_nobody_and_is_valid_stix(lab: Lab, tmp_path: Path) -> None:
    accounts = add_cluster(lab)
    data = leave(lab, tmp_path / "out.json")
    text = data.decode()
    assert not any(name in text for name in [*accounts, CLUSTER, COMMON])
    assert WORDING in text
    bundle = stix2.parse(text, allow_custom=False)
    assert validate_parsed_json(orjson.loads(data), ValidationOptions(version="2.1")).is_valid
    kinds = {o["type"] for o in bundle["objects"]}
    assert kinds == {
        "identity", "extension-definition", "marking-definition", "campaign", "indicator",
        "relationship",
    }  # fmt: skip
    indicators = [o for o in orjson.loads(data)["objects"] if o["type"] == "indicator"]
    times = {o["valid_from"] for o in indicators}
    assert times == {"2026-09-21T13:00:00Z"}  # the last request, to the hour
    shared = {one.kind: one for one in lab.shared.indicators("shared")}
    assert set(shared) == {Kind.PREFIX_SCAFFOLD, Kind.BEHAVIOUR, Kind.COVERAGE}
    assert all(one.marking is Marking.AMBER_STRICT for one in shared.values())
    assert decode_behaviour(shared[Kind.BEHAVIOUR].payload).features == {
        "complementarity": 7.5, "overlap": -10.0,
    }  # fmt: skip
    sketch = decode_coverage(shared[Kind.COVERAGE].payload)
    strength = sketch.sums()[:30].sum() / (sketch.sigma * 30**0.5)
    assert strength > 4
    assert abs(sketch.sums()[30:].std() / sketch.sigma - 1) < 0.15


def test_the_noise_is_drawn_once_and_the_budget_is_kept(lab: Lab) -> None:
    add_cluster(lab)
    first, second = propose(lab), propose(lab)
    assert first.proposal == second.proposal
    spent = lab.store.spent()
    assert len(spent) == 40
    assert not any("acct" in tag for tag in spent)
    results = []
    for revision in range(901, 910):
        lab.now_ms += 1000
        add_cluster(lab, revision=revision, confirm=False)
        [coverage] = [c for c in propose(lab).candidates if c.kind is Kind.COVERAGE]
        results.append(coverage.indicator is not None)
    # Variances add up, not ε: four of ε = 2 would fit into ε = 4 if δ were free, three do.
    rho = rho_of(sigma_for(2.0, 1e-6))
    fit = max(n for n in range(1, 10) if epsilon_of(n * rho, 1e-6) <= 4.0)
    assert fit == 3
    assert results == [True] * (fit - 1) + [False] * (10 - fit)
    assert "budget is used up" in coverage.why


def test_the_same_again_is_no_news_and_a_change_is_a_version(lab: Lab, tmp_path: Path) -> None:
    add_cluster(lab)
    leave(lab, tmp_path / "one.json")
    lab.now_ms += 60_000
    again = propose(lab)
    assert again.proposal is None
    assert {c.why for c in again.candidates if c.kind is Kind.BEHAVIOUR} == {"forum has it already"}
    write_policy(lab, None, marking="green")
    data = leave(lab, tmp_path / "two.json")
    indicators = [o for o in orjson.loads(data)["objects"] if o["type"] == "indicator"]
    before = [
        o for o in orjson.loads((tmp_path / "one.json").read_bytes())["objects"]
        if o["type"] == "indicator"
    ]  # fmt: skip
    assert {o["id"] for o in indicators} == {o["id"] for o in before}
    assert {o["created"] for o in indicators} == {o["created"] for o in before}
    assert min(o["modified"] for o in indicators) > max(o["modified"] for o in before)
    assert {one.revision for one in lab.shared.indicators("shared")} == {2}


def test_what_was_taken_back_never_leaves_again(lab: Lab, tmp_path: Path) -> None:
    add_cluster(lab)
    leave(lab, tmp_path / "one.json")
    lab.now_ms += 60_000
    [back] = taken_back(lab, CLUSTER, "it was a test of ours")
    assert back.state == "approved"
    signoff.publish(lab.policy, lab.store, back.name, "ana", tmp_path / "two.json")
    objects = orjson.loads((tmp_path / "two.json").read_bytes())["objects"]
    assert {o["revoked"] for o in objects if o["type"] == "indicator"} == {True}
    assert "it was a test of ours" not in (tmp_path / "two.json").read_text()
    assert all(one.revoked for one in lab.shared.indicators("shared"))
    lab.now_ms += 60_000
    assert propose(lab).proposal is None
    with pytest.raises(DistilwatchError, match="has left"):
        taken_back(lab, CLUSTER, "again")


def test_what_has_left_can_be_taken_back_under_a_policy_that_became_stricter(
    lab: Lab, tmp_path: Path
) -> None:
    add_cluster(lab)
    leave(lab, tmp_path / "one.json")
    lab.now_ms += 60_000
    write_policy(lab, None, kinds=["client"], marking="red", least_confidence=95)
    [back] = taken_back(lab, CLUSTER, "ours")
    assert signoff.publish(lab.policy, lab.store, back.name, "ana", tmp_path / "2").state == "sent"


def test_one_indicator_can_be_taken_back_by_itself(lab: Lab, tmp_path: Path) -> None:
    add_cluster(lab)
    leave(lab, tmp_path / "one.json")
    lab.now_ms += 60_000
    [one] = [i for i in lab.shared.indicators("shared") if i.kind is Kind.PREFIX_SCAFFOLD]
    [back] = taken_back(lab, one.indicator_id, "common after all")
    signoff.publish(lab.policy, lab.store, back.name, "ana", tmp_path / "two.json")
    revoked = {i.kind: i.revoked for i in lab.shared.indicators("shared")}
    assert revoked == {Kind.PREFIX_SCAFFOLD: True, Kind.BEHAVIOUR: False, Kind.COVERAGE: False}
    assert "campaign--" not in (tmp_path / "two.json").read_text()


def test_a_campaign_has_another_name_at_each_lab(lab: Lab, tmp_path: Path) -> None:
    other = make_lab("lab-b", tmp_path / "b", None)
    name = lab.store.campaign(CLUSTER)
    assert name == lab.store.campaign(CLUSTER) != other.store.campaign(CLUSTER)
    assert CLUSTER not in name


def test_no_file_of_the_store_names_an_account(lab: Lab, tmp_path: Path) -> None:
    """So that `distilwatch forget` need not touch a log that only grows; it has keyed hashes."""
    accounts = add_cluster(lab)
    leave(lab, tmp_path / "out.json")
    entries = lab.store.log.entries()
    [draw] = [entry for entry in entries if entry["action"] == "draw"]
    assert draw["accounts"] == lab.store.account_tags(accounts)
    files = [path for path in lab.store.folder.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in [*files, tmp_path / "out.json"]:
        for place, text in every_text(path):
            assert not [name for name in accounts if name.encode() in text], place
