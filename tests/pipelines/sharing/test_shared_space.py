"""Two labs in one embedding space: what one tells of a campaign's coverage is found at the other.

The labs agree on a space as docs/sharing.md says: one trains, the other takes its space over
(`train --space-of`), which it does only from a lab whose key it trusts.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipelines.sharing_drill.exchange import FORUM, HUNT, hear, tell, watching
from pipelines.sharing_drill.labs import Lab, campaign_events, query, together
from tests.support.taxii import OPEN, PASSWORD, USER, taxii_server
from transforms.sharing.taxii import Place

SETTINGS: dict[str, Any] = {
    "scoring": {"detectors": [{"name": "KNN", "params": {"n_neighbors": 5}}]},
    "coverage": {"cells": 256, "codebook_sample": 3000},
    "clusters": {"null_groups": 600},
    # A history of some hundred accounts cannot say of anything that it is rarer than one in them.
    "watch": {"likeness_max_p": 0.02},
}
ATTACK = "reasoning:m=32,rate=46,links=1,by=scaffold"


@pytest.mark.slow
@pytest.mark.usefixtures("labs_are_forked")
def test_a_coverage_sketch_of_one_lab_finds_the_campaign_at_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPACE_USER", USER)
    monkeypatch.setenv("SPACE_PASSWORD", PASSWORD)
    *three, last = campaign_events(tmp_path, ATTACK, 8, 4)
    here = Lab("lab-a", tmp_path / "lab-a", SETTINGS, campaign=three[0] | three[1] | three[2])
    here.build(130, 6_000, 9)
    there = Lab("lab-b", tmp_path / "lab-b", SETTINGS, campaign=last, space_of=here.bundle)
    with pytest.raises(RuntimeError, match="not signed by a key that is trusted here"):
        there.build(130, 6_000, 10)
    (there.home / "trusted").mkdir(parents=True, exist_ok=True)
    shutil.copy(here.home / "trusted" / "own.pem", there.home / "trusted" / "lab-a.pem")
    there.build(130, 6_000, 10)

    keys = {lab.name: Ed25519PrivateKey.generate() for lab in (here, there)}
    (tmp_path / "forum").mkdir()
    with taxii_server(tmp_path / "forum") as url:
        place = Place(FORUM, f"{url}/{OPEN}/", "SPACE_USER", "SPACE_PASSWORD")
        told = tell(here, here.detect("hunt", HUNT), place, keys["lab-a"])
        hear(there, place, keys)
    assert "coverage" in {one.kind.value for one in told.indicators}

    # Only the sketch is live, so that nothing else brings a cluster to mind.
    listed = json.loads(there.watch_list.read_text())
    listed["watched"] = [one for one in listed["watched"] if one["kind"] == "coverage"]
    there.watch_list.write_text(json.dumps(listed))
    after = there.detect("after", together(HUNT, watching(there, keys)))
    sighted = query(after, "SELECT account_id, similarity FROM sightings")
    found = {account for account, _ in sighted}
    # Members that are linked to nobody are not compared. The noise is drawn anew each time, and by
    # chance a benign group is as like the sketch as likeness_max_p says: of five seldom one, and
    # hardly two.
    members = query(after, "SELECT DISTINCT cluster_id, account_id FROM cluster_members")
    of_customers = {cluster for cluster, account in members if account in found - there.members}
    assert len(of_customers) <= 1
    assert len(found & there.members) >= len(there.members) / 2
    assert all(0.98 <= similarity < 1 for _, similarity in sighted)
    changed = query(
        after,
        "SELECT cluster_id, p_value_alone, p_value, reported_by FROM current_clusters "
        "WHERE p_value < p_value_alone",
    )
    told_of = [row for row in changed if row[0] not in of_customers]
    [(cluster, alone, p_value, by)] = told_of
    assert alone / 10 <= p_value < alone
    assert by == ["lab-a"]
    assert {a for c, a in members if c == cluster} == found & there.members
