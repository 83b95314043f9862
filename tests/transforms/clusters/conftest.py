"""One small bundle for all tests of this folder, signed with a key of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sketches import small_bundle
from transforms.scoring.bundle import save_bundle


@pytest.fixture(scope="session")
def signing_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of keys for the whole session; no test touches the user's own."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILWATCH_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def saved(signing_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a saved bundle; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    save_bundle(small_bundle(), folder)
    return folder
