"""The store of sharing on a full disk, and with files that are not what they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipelines.sharing import outbound, signoff
from pipelines.sharing.store import ShareStore, write_whole
from schemas.errors import DistilwatchError
from tests.support.sharing import CLUSTER, add_cluster, make_lab
from tests.support.small_disk import CannotMountError, SmallDisk, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with ExitStack() as stack:
        try:
            made = stack.enter_context(small_disk(tmp_path / "disk", 2))
        except CannotMountError as problem:
            pytest.skip(str(problem))
        yield made


def test_a_full_disk_ends_in_a_word_and_what_was_begun_goes_on_with_room(
    disk: SmallDisk, tmp_path: Path
) -> None:
    lab = make_lab("lab-a", tmp_path / "a", None)
    add_cluster(lab)
    store = ShareStore(disk.folder / "store", lambda: lab.now_ms / 1000)

    def propose() -> outbound.Proposed:
        return outbound.propose(lab.policy, store, lab.output, CLUSTER, "forum", "ana")

    disk.fill()
    with pytest.raises(DistilwatchError, match=r"No space left.*make room"):
        propose()
    # A name under a key that is empty would be no pseudonym.
    assert not (disk.folder / "store" / "secret.key").exists()
    disk.free()
    made = propose().proposal
    assert made is not None
    before = store.log.entries()

    disk.fill()
    for _ in range(2):
        with pytest.raises(DistilwatchError, match=r"log of sharing cannot be written .No space"):
            signoff.approve(lab.policy, store, made.name, made.digest, "b" * 8_000)
        assert store.log.entries() == before
    with pytest.raises(DistilwatchError, match=r"file cannot be written .No space"):
        write_whole(disk.folder / "bundle.json", bytes(9_000))
    disk.free()
    assert not (disk.folder / "bundle.json").exists()
    assert signoff.approve(lab.policy, store, made.name, made.digest, "ben").state == "approved"
    signoff.publish(lab.policy, store, made.name, "ben", disk.folder / "bundle.json")
    assert (disk.folder / "bundle.json").read_bytes() == store.read(made.digest)


def test_a_key_that_was_lost_names_nobody(tmp_path: Path) -> None:
    store = ShareStore(tmp_path / "store")
    name = store.campaign(CLUSTER)
    assert ShareStore(tmp_path / "store").campaign(CLUSTER) == name
    (tmp_path / "store" / "secret.key").write_bytes(b"")
    with pytest.raises(
        DistilwatchError, match=r"has 0 bytes, not 32.*privacy budgets is forgotten"
    ):
        store.campaign(CLUSTER)


def test_a_store_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    store = ShareStore(tmp_path / "store")
    (tmp_path / "store" / "log.jsonl").mkdir()
    with pytest.raises(DistilwatchError, match="log of sharing cannot be read"):
        store.proposals()
    with pytest.raises(DistilwatchError, match="no proposal begins with nothing"):
        ShareStore(tmp_path / "other").proposal("")
