"""A small bundle, signed with a key of the test session's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sketches import small_bundle
from transforms.scoring.bundle import save_bundle


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of keys; no test touches the user's own."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILWATCH_HOME", str(folder))
        yield folder


@pytest.fixture(scope="package")
def bundle(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a bundle that nobody changes."""
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    save_bundle(small_bundle(), folder)
    return folder
