"""One small bundle for all tests of this folder, signed with the key of the test session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.sketches import small_bundle
from transforms.scoring.bundle import save_bundle


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a saved bundle; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    save_bundle(small_bundle(), folder)
    return folder
