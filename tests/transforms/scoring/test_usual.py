"""What accounts of a kind usually ask, beside which a cluster's map is drawn."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from tests.support.sketches import sketch_of_cells, small_bundle
from tests.transforms.scoring.test_bundle import sign
from transforms.coverage.layout import Items
from transforms.coverage.sketch import CoverageSketch, empty, merge
from transforms.embedding.labels import CapabilityTable
from transforms.scoring.bundle import load_bundle, save_bundle
from transforms.scoring.rows import peer_hash
from transforms.scoring.usual import Usual, usual_of, usual_of_everyone

CELLS = 8


def asking(cell: int, requests: int, peer: str = "") -> CoverageSketch:
    """An account of a peer group that asks in one cell only."""
    sketch = sketch_of_cells({cell: requests})
    if not peer:
        return sketch
    key = np.array([(int(Items.PEER) << 56) | peer_hash(peer)], np.uint64)
    return replace(sketch, item_key=key, item_count=np.array([requests], np.int64))


def test_a_map_is_compared_with_accounts_of_the_same_kind() -> None:
    history = [asking(0, 50, "api"), asking(1, 50, "api"), asking(2, 100, "consumer")]
    usual = usual_of(history, ["", "api", "consumer"], CELLS, 0)
    assert usual.names == ("", "api", "consumer")
    assert usual.shares.sum(axis=1) == pytest.approx(1)
    assert usual.of(asking(5, 10, "api")) == pytest.approx([0.5, 0.5, *[0] * 6])
    assert usual.of(asking(5, 10, "consumer")) == pytest.approx([0, 0, 1, *[0] * 5])


def test_a_cluster_of_several_kinds_is_compared_with_all_of_them_in_its_parts() -> None:
    usual = usual_of(
        [asking(0, 50, "api"), asking(2, 50, "consumer")], ["api", "consumer"], CELLS, 0
    )
    pool = merge([asking(5, 30, "api"), asking(6, 10, "consumer")])
    assert usual.of(pool) == pytest.approx([0.75, 0, 0.25, *[0] * 5])


@pytest.mark.parametrize("peer", ["", "a-kind-that-nobody-knows"])
def test_whose_kind_is_not_known_is_compared_with_everyone(peer: str) -> None:
    usual = usual_of([asking(0, 50, "api"), asking(2, 150, "consumer")], ["api"], CELLS, 0)
    assert usual.of(asking(5, 9, peer)) == pytest.approx([0.25, 0, 0.75, *[0] * 5])


def test_the_busiest_is_not_the_norm() -> None:
    usual = usual_of([asking(0, 1_000_000), *(asking(1, 200) for _ in range(3))], [""], CELLS)
    assert usual.of(asking(5, 9)) == pytest.approx([0.25, 0.75, *[0] * 6])


def test_a_small_group_borrows_from_everyone() -> None:
    def usual(accounts: int) -> np.ndarray:
        history = [asking(0, 50, "api") for _ in range(accounts)]
        others = [asking(1, 50, "consumer") for _ in range(accounts)]
        return usual_of([*history, *others], ["api", "consumer"], CELLS).of(asking(5, 9, "api"))

    assert usual(60) == pytest.approx([0.75, 0.25, *[0] * 6])  # as much its own as everyone's
    assert usual(20)[0] < usual(60)[0] < usual(600)[0]


def test_of_a_history_without_vectors_nothing_is_known() -> None:
    usual = usual_of([empty()], ["", "api"], CELLS)
    assert usual.names == ()
    assert len(usual.of(asking(0, 9, "api"))) == 0
    assert len(usual_of_everyone(np.zeros(CELLS, np.int64)).of(asking(0, 9))) == 0


def test_a_bundle_keeps_it_and_an_older_one_knows_everyone(tmp_path: Path) -> None:
    counts = np.zeros((CELLS, 17), np.int64)
    counts[3] = 2
    own = Usual(("", "api"), np.array([[0.5, 0.5, *[0.0] * 6], [1.0, *[0.0] * 7]]))
    bundle = replace(small_bundle(), usual=own, capabilities=CapabilityTable(counts))
    folder = tmp_path / "bundle"
    save_bundle(bundle, folder)
    found = load_bundle(folder).usual
    assert found.names == own.names
    assert np.array_equal(found.shares, own.shares)

    _as_older(folder)
    older = load_bundle(folder).usual
    assert older.names == ("",)
    assert older.of(asking(0, 9, "api")) == pytest.approx([0, 0, 0, 1, *[0] * 4])


def _as_older(folder: Path) -> None:
    """Takes away what older versions did not write."""
    path = folder / "peers.npz"
    with np.load(io.BytesIO(path.read_bytes())) as stored:
        kept = {name: stored[name] for name in stored.files if not name.startswith("usual")}
    np.savez(path, **kept)
    files = json.loads((folder / "manifest.json").read_bytes())["files"]
    sign(folder, {"files": files | {"peers.npz": sha256(path.read_bytes()).hexdigest()}})
