"""A small bundle, signed with the key of the test session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.sketches import small_bundle
from transforms.scoring.bundle import save_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a bundle that nobody changes."""
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    save_bundle(small_bundle(), folder)
    return folder
