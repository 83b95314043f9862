"""What other labs report enters where clusters are scored, and nowhere else."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipelines.detect.sightings import sightings_of
from tests.support.sketches import small_bundle
from tests.transforms.clusters import test_find_clusters as world
from transforms.alerts.policy import AlertPolicy
from transforms.clusters.reports import REPORTED, Watching
from transforms.clusters.rows import finding_of
from transforms.coverage.layout import Items
from transforms.embedding.labels import CapabilityTable
from transforms.embedding.space import space_name
from transforms.scoring.bundle import load_bundle, save_bundle
from transforms.sharing.coverage import contributions, noisy_coverage
from transforms.sharing.payloads import Behaviour, rounded_score
from transforms.sharing.watch.listing import LIVE, QUARANTINED, Watched, write_watch_list
from transforms.sharing.watch.matching import WatchOptions

LAB = "lab-b"
POLICY = AlertPolicy(0.05, high_exposure_usd=0.1, critical_exposure_usd=1_000, high_accounts=50)


def thing(sketch: Any, kind: Items = Items.PAYMENT) -> str:
    hashes, _ = sketch.items(kind)
    return f"{int(hashes[0]):014x}"


def watched(value: str, state: str = LIVE, kind: str = "payment", source: str = LAB) -> Watched:
    return Watched(f"indicator--{kind}-{value}", kind, value, source, 1.0, 1 << 42, None, state)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with benign groups to compare signatures with: those of the small one were drawn at
    random, and count as linked here."""
    made = small_bundle()
    groups = made.models["cluster"]
    models = {**made.models, "cluster": replace(groups, linked=len(groups.benign))}
    folder = tmp_path_factory.mktemp("reports") / "bundle"
    save_bundle(replace(made, models=models), folder)
    return folder


@pytest.fixture(scope="module")
def profiles(saved: Path) -> list[Any]:
    return world.scored(saved, world.sketches())


def run(saved: Path, profiles: list[Any], watched: list[Watched], tmp_path: Path):
    """Clusters and singles by the accounts in them."""
    path = tmp_path / "watch.json"
    write_watch_list(path, watched)
    # The small bundle knows 48 benign groups: nothing can be rarer than one in 49.
    watching = Watching(str(path), 0, WatchOptions({LAB: 1.0}, likeness_max_p=0.05))
    clusters, singles = world.run(saved, profiles, watching)
    return {frozenset(m.account for m in c.item.members): c for c in clusters}, singles


PLANTED = frozenset(world.PLANTED)
COUPLE = frozenset({"wife", "husband"})


def test_a_match_lowers_the_p_value_within_bounds_and_says_so(
    saved: Path, profiles: list[Any], tmp_path: Path
) -> None:
    bare, _ = run(saved, profiles, [], tmp_path)
    card = thing(world.sketches()["wife"])
    found, _ = run(saved, profiles, [watched(card)], tmp_path)
    before, after = bare[COUPLE], found[COUPLE]
    assert before.p_value / 10 <= after.p_value < before.p_value
    assert after.item.p_value_alone == before.p_value
    assert after.reasons[0].feature == REPORTED
    assert (after.reasons[0].value, after.score) == (1.0, before.score)
    row = finding_of(after, POLICY, "r", CapabilityTable()).cluster
    assert row["p_value_alone"] == before.p_value
    assert row["reported_by"] == [LAB]
    assert "what other labs report: 100 %" in row["reasons"][0]["words"]
    # Who does not carry it is scored as before.
    assert found[PLANTED].p_value == bare[PLANTED].p_value
    assert finding_of(found[PLANTED], POLICY, "r", CapabilityTable()).cluster["reported_by"] == []


def test_quarantined_and_unknown_sources_are_sighted_and_change_nothing(
    saved: Path, profiles: list[Any], tmp_path: Path
) -> None:
    bare, _ = run(saved, profiles, [], tmp_path)
    card = thing(world.sketches()["wife"])
    for one in (watched(card, QUARANTINED), watched(card, source="stranger")):
        found, _ = run(saved, profiles, [one], tmp_path)
        assert found[COUPLE].p_value == bare[COUPLE].p_value
        rows = list(sightings_of(found[COUPLE], "r"))
        assert {row["account_id"] for row in rows} == COUPLE
        assert {row["cluster_id"] for row in rows} == {found[COUPLE].item.cluster_id}
        assert all(row["match_count"] > 0 for row in rows)


def test_an_account_alone_is_sighted_and_never_flagged(
    saved: Path, profiles: list[Any], tmp_path: Path
) -> None:
    network = thing(world.sketches()["b0003"], Items.NETWORK)
    _, bare = run(saved, profiles, [], tmp_path)
    _, singles = run(saved, profiles, [watched(network, kind="network")], tmp_path)
    assert {s.item.account: s.p_value for s in singles} == {s.item.account: s.p_value for s in bare}
    rows = [row for s in singles for row in sightings_of(s, "r")]
    assert [row["account_id"] for row in rows] == ["b0003"]
    assert rows[0]["cluster_id"] is None


def compared(kind: str, payload: bytes, state: str = LIVE, source: str = LAB) -> Watched:
    data = base64.b64encode(payload).decode()
    return Watched(f"indicator--{kind}", kind, "", source, 1.0, 1 << 42, None, state, data)


@pytest.fixture(scope="module")
def told(saved: Path, profiles: list[Any]) -> dict[str, bytes]:
    """What a lab tells that has confirmed six hundred accounts like the planted ones: so many that
    the noise of no draw makes a benign group as like them as they are."""
    [planted] = [c for c in world.run(saved, profiles)[0] if len(c.item.members) == len(PLANTED)]
    scores = rounded_score(planted.z).tolist()
    behaviour = Behaviour(dict(zip(planted.columns, scores, strict=True)))
    total = 100 * contributions(m.scored.item.sketch for m in planted.item.members)
    name = space_name(load_bundle(saved).space)
    sketch = noisy_coverage(total, name, "made-up", 2.0, 1e-6)
    return {"behaviour": behaviour.encode(), "coverage": sketch.encode()}


@pytest.mark.parametrize("kind", ["behaviour", "coverage"])
def test_a_likeness_lowers_the_p_value_within_bounds_and_says_so(
    saved: Path, profiles: list[Any], tmp_path: Path, told: dict[str, bytes], kind: str
) -> None:
    bare, _ = run(saved, profiles, [], tmp_path)
    found, singles = run(saved, profiles, [compared(kind, told[kind])], tmp_path)
    before, after = bare[PLANTED], found[PLANTED]
    assert before.p_value / 10 <= after.p_value < before.p_value
    assert after.item.p_value_alone == before.p_value
    assert after.reasons[0].feature == REPORTED
    row = finding_of(after, POLICY, "r", CapabilityTable()).cluster
    assert row["reported_by"] == [LAB]
    assert "what other labs report: 100 %" in row["reasons"][0]["words"]
    rows = list(sightings_of(after, "r"))
    assert {row["account_id"] for row in rows} == PLANTED
    assert all(0.95 <= row["similarity"] < 1 for row in rows)
    requests = {m.account: m.scored.item.sketch.events for m in after.item.members}
    assert {row["account_id"]: row["match_count"] for row in rows} == requests
    # Who is not like it, and who is alone, is as before.
    assert found[COUPLE].p_value == bare[COUPLE].p_value
    assert not list(sightings_of(found[COUPLE], "r"))
    assert not [row for s in singles for row in sightings_of(s, "r")]
    assert not any(hasattr(s.item, "alike") for s in singles)


@pytest.mark.parametrize("kind", ["behaviour", "coverage"])
def test_a_likeness_to_what_a_stranger_reports_is_seen_and_changes_nothing(
    saved: Path, profiles: list[Any], tmp_path: Path, told: dict[str, bytes], kind: str
) -> None:
    bare, _ = run(saved, profiles, [], tmp_path)
    for one in (
        compared(kind, told[kind], QUARANTINED),
        compared(kind, told[kind], source="stranger"),
    ):
        found, _ = run(saved, profiles, [one], tmp_path)
        assert found[PLANTED].p_value == bare[PLANTED].p_value
        assert found[PLANTED].reasons == bare[PLANTED].reasons
        assert {row["account_id"] for row in sightings_of(found[PLANTED], "r")} == PLANTED
    over = msgspec.structs.replace(compared(kind, told[kind]), valid_from_ms=0, valid_until_ms=1)
    found, _ = run(saved, profiles, [over], tmp_path)
    assert found[PLANTED].p_value == bare[PLANTED].p_value
    assert not list(sightings_of(found[PLANTED], "r"))


def test_what_is_equal_and_what_is_alike_count_once_for_each_lab(
    saved: Path, profiles: list[Any], tmp_path: Path, told: dict[str, bytes]
) -> None:
    card = watched(thing(world.sketches()["x0"]))
    alone = run(saved, profiles, [card], tmp_path)[0][PLANTED].item.reported
    every = [card, *(compared(kind, payload) for kind, payload in told.items())]
    together = run(saved, profiles, every, tmp_path)[0][PLANTED].item.reported
    assert [one.source for one in together.said] == [LAB]
    assert together.weight == alone.weight
    # What is equal has nine tenths of the chances; a likeness may be the better evidence.
    assert together.p_value <= alone.p_value / 0.9 * (1 + 1e-9)


def test_sightings_have_the_same_names_in_every_run(
    saved: Path, profiles: list[Any], tmp_path: Path
) -> None:
    card = thing(world.sketches()["wife"])

    def rows(order: list[Any]) -> list[dict[str, Any]]:
        found, _ = run(saved, order, [watched(card)], tmp_path)
        return sorted(sightings_of(found[COUPLE], "r"), key=lambda row: row["sighting_id"])

    assert rows(profiles) == rows(profiles[::-1])
