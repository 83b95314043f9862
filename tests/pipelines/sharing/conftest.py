"""A TAXII server for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.taxii import PASSWORD, USER, taxii_server


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the collections of a server with pages of twenty."""
    folder: Path = tmp_path_factory.mktemp("taxii")
    with pytest.MonkeyPatch.context() as patch, taxii_server(folder) as url:
        patch.setenv("FORUM_USER", USER)
        patch.setenv("FORUM_PASSWORD", PASSWORD)
        yield url
