"""One folder of keys for the tests of transforms: what one of them signs, all of them trust."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def signing_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of keys for the whole session; no test touches the user's own."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILWATCH_HOME", str(home))
        yield home
