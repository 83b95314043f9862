"""A desk of its own for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.desk import Office


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Callable[..., Office]]:
    made: list[Office] = []

    def make(**rules: Any) -> Office:
        made.append(Office(tmp_path / "book", **rules))
        return made[-1]

    yield make
    for one in made:
        one.book.__exit__()
