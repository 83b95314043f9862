"""Two labs, for all tests of private matching."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.two_labs import Two


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)
