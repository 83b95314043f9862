"""A bundle is used whole and unchanged, or not at all."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import joblib
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from schemas.errors import DistilwatchError
from tests.support.sketches import harvester, person, sketch_of, small_bundle, verified
from transforms.scoring import signing
from transforms.scoring.bundle import Bundle, load_bundle, save_bundle, verify_bundle
from transforms.scoring.rows import PeerGroups, sketch_rows

LEVELS = ("profile", "session_account", "cluster")
FILES = (
    "manifest.json",
    "manifest.sig",
    "capabilities.npz",
    "links.npz",
    "space.npz",
    "past.npz",
    "peers.npz",
    *(f"{level}.{kind}" for level in LEVELS for kind in ("npz", "joblib")),
)


class Marker:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(saved, tmp_path / "bundle"))


def sign(folder: Path, changes: dict[str, object]) -> None:
    """Changes the manifest and signs it again with this user's own, trusted key."""
    manifest = json.loads((folder / "manifest.json").read_bytes()) | changes
    data = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(data)
    (folder / "manifest.sig").write_bytes(signing.signing_key().sign(data))


def private_pem(key: Ed25519PrivateKey | RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def scores(bundle: Bundle, level: str = "profile") -> list[bytes]:
    sketches = [sketch_of(person(f"t{i}", 9)) for i in range(20)]
    sketches += [sketch_of(harvester(f"t{i}", 9)) for i in range(5)]
    peers = PeerGroups(bundle.references)
    rows = sketch_rows(sketches, [peers.of(s) for s in sketches], bundle.references)
    model = bundle.models[level]
    found = model.score(rows)
    reasons = repr(model.explain(rows, found)).encode()
    return [
        found.score.tobytes(), found.p_value.tobytes(), found.z.tobytes(), found.low.tobytes(),
        found.high.tobytes(), reasons,
    ]  # fmt: skip


def test_the_made_up_bundle_tells_harvesters_from_people() -> None:
    p = np.frombuffer(scores(small_bundle())[1])
    assert p[20:].max() < 0.02 < np.median(p[:20])


@pytest.mark.parametrize("level", ["profile", "session_account"])
def test_saved_and_loaded_it_scores_the_same_to_the_bit(saved: Path, level: str) -> None:
    assert scores(load_bundle(saved), level) == scores(small_bundle(), level)


def test_saved_and_loaded_everything_else_is_the_same_too(saved: Path) -> None:
    loaded, bundle = load_bundle(saved), small_bundle()
    assert np.array_equal(loaded.space.codebook, bundle.space.codebook)
    assert np.array_equal(loaded.space.centre, bundle.space.centre)
    assert loaded.space.embedding_model == bundle.space.embedding_model
    assert np.array_equal(loaded.common, bundle.common)
    assert loaded.references.keys() == bundle.references.keys()
    assert loaded.training == bundle.training
    assert loaded.models.keys() == bundle.models.keys() == set(LEVELS)
    assert len(loaded.version) == 12


def test_the_version_names_the_contents(saved: Path, tmp_path: Path) -> None:
    bundle = small_bundle()
    same = save_bundle(bundle, tmp_path / "same")
    other = save_bundle(replace(bundle, common=np.array([7], np.uint64)), tmp_path / "other")
    assert same == load_bundle(saved).version
    assert other != same


def test_the_folder_holds_what_the_tests_below_spoil(saved: Path) -> None:
    assert {p.name for p in saved.iterdir()} == set(FILES)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [0.0, 0.5, 1.0], ids=["first", "middle", "last"])
def test_one_flipped_byte_in_any_file_is_refused(folder: Path, name: str, at: float) -> None:
    data = bytearray((folder / name).read_bytes())
    data[round(at * (len(data) - 1))] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(DistilwatchError, match="bundle refused") as caught:
        load_bundle(folder)
    assert caught.value.where == str(folder)
    assert caught.value.mend


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DistilwatchError, match=r"no bundle there|not signed|is missing"):
        load_bundle(folder)


def test_a_file_that_does_not_belong_is_refused(folder: Path) -> None:
    (folder / "more.joblib").write_bytes(b"x")
    with pytest.raises(DistilwatchError, match=r"more\.joblib does not belong"):
        load_bundle(folder)


@pytest.mark.parametrize("resign", [False, True], ids=["manifest kept", "hash put in, unsigned"])
def test_nothing_is_unpickled_before_the_bundle_is_found_good(
    folder: Path, tmp_path: Path, resign: bool
) -> None:
    marker = tmp_path / "marker"
    joblib.dump((Marker(marker),), folder / "profile.joblib")
    if resign:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        data = (folder / "profile.joblib").read_bytes()
        manifest["files"]["profile.joblib"] = sha256(data).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DistilwatchError, match="bundle refused"):
        load_bundle(folder)
    assert not marker.exists()
    joblib.load(folder / "profile.joblib")
    assert marker.exists()  # it would have been noticed


def test_a_bundle_of_an_unknown_signer_is_refused_until_the_key_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "home"))
    key = Ed25519PrivateKey.generate()
    pem = tmp_path / "colleague.pem"
    pem.write_bytes(private_pem(key))
    save_bundle(small_bundle(), tmp_path / "bundle", pem)
    with pytest.raises(DistilwatchError, match="not signed by a key that is trusted here"):
        load_bundle(tmp_path / "bundle")
    load_bundle(tmp_path / "bundle", [key.public_key()])
    trusted = tmp_path / "home" / "trusted"
    trusted.mkdir(parents=True)
    (trusted / "colleague.pem").write_bytes(public_pem(key))
    load_bundle(tmp_path / "bundle")


def test_trusting_nobody_refuses_everything(saved: Path) -> None:
    with pytest.raises(DistilwatchError, match="not signed"):
        verify_bundle(saved, [])


def test_other_library_versions_are_refused_by_name(folder: Path) -> None:
    libraries = json.loads((folder / "manifest.json").read_bytes())["libraries"]
    sign(folder, {"libraries": libraries | {"scikit-learn": "0.1"}})
    with pytest.raises(DistilwatchError, match=r"made with scikit-learn 0\.1 \(here"):
        load_bundle(folder)


@pytest.mark.parametrize("changes", [{"format": 99}, {"layout": 99}, {"format": None}])
def test_another_format_or_sketch_layout_is_refused(
    folder: Path, changes: dict[str, object]
) -> None:
    sign(folder, changes)
    with pytest.raises(DistilwatchError, match="another version of distilwatch"):
        load_bundle(folder)


@pytest.mark.parametrize("level", LEVELS)
def test_other_features_than_this_version_computes_are_refused(folder: Path, level: str) -> None:
    levels = json.loads((folder / "manifest.json").read_bytes())["levels"]
    sign(folder, {"levels": levels | {level: levels[level][::-1]}})
    with pytest.raises(DistilwatchError, match=f"{level} features are not those"):
        load_bundle(folder)


def test_where_there_is_no_bundle_the_command_to_make_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(DistilwatchError, match="distilwatch train"):
        load_bundle(tmp_path)


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", [1, 4, len(FILES)])
def test_a_save_that_fails_half_way_leaves_the_old_bundle(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    before = scores(load_bundle(folder))
    write, count = Path.write_bytes, 0

    def full_disk(path: Path, data: bytes) -> int:
        nonlocal count
        count += 1
        if count == failing:
            write(path, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(DistilwatchError, match="No space left"):
        save_bundle(replace(small_bundle(), common=np.array([7], np.uint64)), folder)
    monkeypatch.undo()
    assert scores(load_bundle(folder)) == before
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_a_save_that_cannot_be_put_in_place_brings_the_old_bundle_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, count = os.rename, 0

    def second_fails(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise OSError(1, "Operation not permitted")
        rename(source, target)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(DistilwatchError, match="not permitted"):
        save_bundle(small_bundle(), folder)
    monkeypatch.undo()
    load_bundle(folder)
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_a_new_bundle_replaces_the_old_one_and_leaves_nothing_else(folder: Path) -> None:
    fresh = replace(small_bundle(), common=np.array([7], np.uint64))
    version = save_bundle(fresh, folder)
    assert load_bundle(folder).version == version
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_what_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DistilwatchError, match="something else than a bundle"):
        save_bundle(small_bundle(), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


# --- keys and workers ---------------------------------------------------------------------------


def test_the_first_save_makes_a_private_key_that_only_its_owner_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "new"))
    first = signing.signing_key()
    assert (tmp_path / "new" / "bundle-signing.pem").stat().st_mode & 0o777 == 0o600
    assert private_pem(signing.signing_key()) == private_pem(first)
    assert signing.is_signed(b"m", first.sign(b"m"), signing.trusted_keys())


def test_keys_that_cannot_be_used_are_refused_with_their_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path))
    bad = tmp_path / "bad.pem"
    with pytest.raises(DistilwatchError, match="no signing key there"):
        signing.signing_key(bad)
    bad.write_text("nonsense")
    with pytest.raises(DistilwatchError, match=r"cannot be read \(.*bad\.pem"):
        signing.signing_key(bad)
    bad.write_bytes(private_pem(generate_private_key(65537, 2048)))
    with pytest.raises(DistilwatchError, match="not Ed25519"):
        signing.signing_key(bad)
    (tmp_path / "trusted").mkdir()
    (tmp_path / "trusted" / "x.pem").write_text("nonsense")
    with pytest.raises(DistilwatchError, match="trusted key cannot be read"):
        signing.trusted_keys()


def test_a_worker_needs_no_keys_for_what_the_launcher_verified(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = verified(saved)
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path / "worker"))
    assert scores(handed.load()) == scores(small_bundle())


def test_a_worker_refuses_a_bundle_that_was_replaced_changed_or_lost(folder: Path) -> None:
    handed = verified(folder)
    data = bytearray((folder / "profile.joblib").read_bytes())
    data[-1] ^= 1
    (folder / "profile.joblib").write_bytes(data)
    with pytest.raises(DistilwatchError, match="changed after it was signed"):
        handed.load()
    save_bundle(replace(small_bundle(), common=np.array([7], np.uint64)), folder)
    with pytest.raises(DistilwatchError, match="replaced after the job had started"):
        handed.load()
    shutil.rmtree(folder)
    with pytest.raises(DistilwatchError, match="every worker finds it"):
        handed.load()
