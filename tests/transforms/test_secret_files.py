"""Keys of this user's own: one for all, however many processes begin at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from transforms.ingest.pseudonyms import load_key
from transforms.scoring import signing
from transforms.secret_files import made_once
from transforms.sharing.private.sealed import load_seal_key


def test_the_first_to_make_a_secret_makes_it_for_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    assert made_once(path, b"one")
    assert not made_once(path, b"other")
    assert path.read_bytes() == b"one"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["key"]


def test_a_file_system_without_links_has_secrets_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_link)
    assert made_once(tmp_path / "key", b"one")
    assert not made_once(tmp_path / "key", b"other")
    assert (tmp_path / "key").read_bytes() == b"one"


def test_who_is_overtaken_takes_the_others_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILWATCH_HOME", str(tmp_path))
    monkeypatch.delenv("KEY", raising=False)
    first = signing.signing_key(), load_key("KEY", None, tmp_path), load_seal_key("KEY", tmp_path)
    exists, looked = Path.exists, set()

    def not_yet(path: Path) -> bool:
        """The others' files come just after the first look."""
        return exists(path) and (path in looked or looked.add(path) is not None)

    monkeypatch.setattr(Path, "exists", not_yet)
    assert signing.signing_key().private_bytes_raw() == first[0].private_bytes_raw()
    assert (load_key("KEY", None, tmp_path), load_seal_key("KEY", tmp_path)) == first[1:]
    assert len(looked) == 3
